"""QLoRA on the CPU, where bitsandbytes is installed: exact states, and the 4-bit weights stay as they are."""

from pathlib import Path

import pytest
import torch
import transformers

import lightning_layerscope as ls
from lightning_layerscope.extraction import no_trace

from .test_architectures import PROBES

pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install bitsandbytes")
peft = pytest.importorskip("peft")


def qlora(folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=96, **shape)).save_pretrained(folder)
    four_bits = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=four_bits, device_map={"": "cpu"}
    )
    model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return peft.get_peft_model(
        model, peft.LoraConfig(target_modules=["q_proj"], lora_dropout=0.1, init_lora_weights=False)
    ).train()


def test_states_are_exact_and_weights_stay(tmp_path: Path) -> None:
    model = qlora(tmp_path)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    states = ls.extract_hidden_states(model, PROBES)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    assert model.training
    for task, probe in PROBES.items():
        for row, ids in enumerate(probe.input_ids):
            with no_trace(model):
                alone = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            for layer in (1, 2):
                torch.testing.assert_close(states[task][layer - 1, row], alone[layer][0, -1], atol=1e-5, rtol=1e-5)
