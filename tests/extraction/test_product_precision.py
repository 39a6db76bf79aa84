"""Models are measured whatever precision of float32 products the caller has asked torch for."""

import subprocess
import sys

from tests.product_settings import WAYS

SETTINGS = (
    WAYS
    + """
from transformers import LlamaConfig, LlamaModel
from lightning_layerscope.extraction import extract_hidden_states
from lightning_layerscope.probes import Probe, ProbeSet

torch.set_num_threads(1)
torch.manual_seed(0)
model = LlamaModel(LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                               num_attention_heads=2)).eval()
prompts = tuple(tuple(torch.randint(1, 40, (3 + n,)).tolist()) for n in range(8))
names = tuple(map(str, range(8)))
probes = ProbeSet([Probe("a", "c", names, names, prompts)])
with torch.no_grad():
    outputs = [model(torch.tensor([ids]), output_hidden_states=True) for ids in prompts]
    expected = torch.stack([each.hidden_states[1][0, -1] for each in outputs])
for setting in ways:
    # Each in a process of its own: torch refuses to go back from some of these.
    child = os.fork()
    if child == 0:
        setting()
        states = extract_hidden_states(model, probes, layers=[1])["a"]
        error = float((states[0] - expected).norm() / expected.norm())
        print(setting.__name__, error, flush=True)
        os._exit(0 if error < 0.03 else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit(setting.__name__)
"""
)


def test_every_way_to_ask_for_less_precision_can_be_measured() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SETTINGS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
