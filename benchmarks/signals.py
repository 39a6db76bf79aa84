"""What each signal of the monitor costs, as a share of the measurement it comes with.

    python benchmarks/signals.py [--rounds 5] [--threads 1]

A plain measurement (hidden states of 8 tasks x 64 prompts and their comparison with the reference) and each signal are
timed in turn within every round, on a random Llama with LoRA; medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lightning_layerscope import ReferenceBank, extract_hidden_states, take_measurement
from lightning_layerscope.monitor.signals import measure_signals
from lightning_layerscope.options import Signals
from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.training import add_lora

TASKS, PROMPTS, TOKENS, VOCABULARY = 8, 64, 64, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    model, probes = make_model(options.width, options.layers), make_probes()
    states = extract_hidden_states(model, probes)
    bank = ReferenceBank.from_states(states)

    def plain() -> None:
        take_measurement(extract_hidden_states(model, probes), bank, step=0)

    ratios: dict[str, list[float]] = {name: [] for name in vars(Signals()) if name != "drift_per_update"}
    for _ in range(options.rounds):
        whole = seconds(plain)
        for name, found in ratios.items():
            found.append(
                seconds(lambda n=name: measure_signals(Signals(**{n: True}), model, states, "debiased")) / whole
            )
    print("| signal | share of a plain measurement | by round |\n|---|---|---|")
    for name, found in ratios.items():
        print(f"| `{name}` | {statistics.median(found):.3f} | {min(found):.3f}-{max(found):.3f} |")


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def make_model(width: int, layers: int) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=8,
    )
    return add_lora(LlamaForCausalLM(config))


def make_probes() -> ProbeSet:
    generator = torch.Generator().manual_seed(0)
    probes = []
    for task in range(TASKS):
        ids = torch.randint(3, VOCABULARY, (PROMPTS, TOKENS), generator=generator).tolist()
        names = tuple(f"t{task}/{row}" for row in range(PROMPTS))
        probes.append(Probe(f"t{task}", "c", names, names, tuple(map(tuple, ids))))
    return ProbeSet(probes, tokenizer_name="random", vocab_size=VOCABULARY)


if __name__ == "__main__":
    main()
