"""Every architecture we can build: structure for all, exactness for all that padding does not touch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from lightning_layerscope.extraction import extract_hidden_states, find_layers
from lightning_layerscope.probes import Probe, ProbeSet

BASE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
KV = {"num_key_value_heads": 2}
HEAD = {**KV, "head_dim": 8}
MOE = {**KV, "num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
DEEPSEEK = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
}
SSM = {"state_size": 4, "time_step_rank": 4}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": KV,
    "mistral": KV,
    "qwen2": KV,
    "qwen3": HEAD,
    "gemma": HEAD,
    "gemma2": HEAD,
    "gemma3_text": HEAD,
    "phi": {},
    "phi3": KV,
    "gpt2": {},
    "gpt_neox": {},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]], "num_layers": 3, "num_heads": 4},
    "gptj": {"rotary_dim": 4},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3},
    "falcon": {},
    "codegen": {"rotary_dim": 4},
    "stablelm": KV,
    "starcoder2": KV,
    "gpt_bigcode": {},
    "cohere": KV,
    "olmo": KV,
    "olmo2": KV,
    "granite": KV,
    "glm": HEAD,
    "nemotron": KV,
    "biogpt": {},
    "xglm": {"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 48},
    "persimmon": {},
    "mixtral": MOE,
    "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 1},
    "qwen3_moe": {**MOE, "head_dim": 8},
    "olmoe": MOE,
    "phimoe": MOE,
    "deepseek_v3": DEEPSEEK,
}
STATE_SPACE: dict[str, dict[str, Any]] = {
    "mamba": SSM,
    "mamba2": {"state_size": 4, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 4, "expand": 2},
    "falcon_mamba": SSM,
    "rwkv": {"attention_hidden_size": 32, "rescale_every": 0},
    "recurrent_gemma": {**HEAD, "lru_width": 32, "attention_window_size": 32},
    "jamba": {
        **MOE,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
    },
}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "electra": {"embedding_size": 32},
    "deberta": {},
    "deberta-v2": {},
    "mpnet": {},
    "modernbert": {},
    "roformer": {},
    "xlm-roberta": {},
}
_T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4}
T5 = {**_T5, "decoder_start_token_id": 0, "pad_token_id": 0}
BART = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": T5,
    "umt5": T5,
    "switch_transformers": {**T5, "num_experts": 4, "expert_capacity": 64},
    "bart": BART,
    "mbart": BART,
    "pegasus": BART,
    "m2m_100": BART,
    "marian": BART,
}
ALL = {**DECODERS, **STATE_SPACE, **ENCODERS, **ENCODER_DECODERS}


def build(kind: str) -> Any:
    torch.manual_seed(0)
    settings = ENCODER_DECODERS.get(kind) or {**BASE, **ALL[kind]}
    config = transformers.AutoConfig.for_model(kind, **settings)
    if kind in ENCODER_DECODERS:
        return transformers.AutoModelForSeq2SeqLM.from_config(config)
    maker = transformers.AutoModel if kind in ENCODERS else transformers.AutoModelForCausalLM
    return maker.from_config(config)


def encoder_name(kind: str) -> str | None:
    if kind not in ENCODER_DECODERS:
        return None
    return "encoder.block" if ENCODER_DECODERS[kind].get("d_kv") else "encoder.layers"


def make_probes() -> ProbeSet:
    generator = torch.Generator().manual_seed(1)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 90, (count,), generator=generator).tolist())

    prefix = draw(12)
    shared = tuple(prefix + draw(n) for n in (3, 7, 1, 5))
    mixed = (draw(4), draw(20), draw(1))
    return ProbeSet(
        [
            Probe("shared", "a", ("s0", "s1", "s2", "s3"), ("p", "q", "r", "s"), shared),
            Probe("mixed", "b", ("m0", "m1", "m2"), ("t", "u", "v"), mixed),
        ]
    )


PROBES = make_probes()


def alone(model: Any, kind: str, ids: tuple[int, ...]) -> Tensor:
    """Independent of the package's batching: one unpadded prompt, one plain hook per layer, (layers, width)."""
    kept: list[Tensor] = []
    stack = find_layers(model, encoder_name(kind))
    hooks = [
        layer.register_forward_hook(lambda m, i, o: kept.append((o if isinstance(o, Tensor) else o[0])[0, -1]))
        for layer in stack.modules
    ]
    call = model.get_encoder() if kind in ENCODER_DECODERS else model
    model.eval()
    with torch.no_grad():
        call(input_ids=torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack(kept)


def test_the_sweep_is_wide_enough() -> None:
    assert len(ALL) >= 40


@pytest.mark.parametrize("kind", ALL)
def test_states_of_every_architecture_equal_the_single_prompt(kind: str) -> None:
    model = build(kind)
    model.train()
    name = encoder_name(kind)
    hooks = {key: len(m._forward_hooks) + len(m._forward_pre_hooks) for key, m in model.named_modules()}

    states = extract_hidden_states(model, PROBES, layer_modules=name)

    assert states.num_layers == 3
    assert states.layers == (1, 2, 3)
    assert {task: tuple(tensor.shape) for task, tensor in states.items()} == {"shared": (3, 4, 32), "mixed": (3, 3, 32)}
    assert {key: len(m._forward_hooks) + len(m._forward_pre_hooks) for key, m in model.named_modules()} == hooks
    assert all(module.training for module in model.modules())
    middle = extract_hidden_states(model, PROBES, layers=[2], layer_modules=name)
    late = extract_hidden_states(model, PROBES, layer_modules=name, early_exit=False)
    for task, probe in PROBES.items():
        torch.testing.assert_close(middle[task][0], states[task][1], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(late[task], states[task], atol=1e-6, rtol=1e-6)
        for row, ids in enumerate(probe.input_ids):
            torch.testing.assert_close(states[task][:, row], alone(model, kind, ids), atol=1e-5, rtol=1e-5)


def test_a_model_that_reads_its_padding_gets_prompts_of_equal_length() -> None:
    # Its convolutions run over what stands behind the prompt.
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model("convbert", **BASE)).eval()
    with pytest.warns(RuntimeWarning, match="ConvBertModel gives other hidden states when a prompt is padded"):
        states = extract_hidden_states(model, PROBES)
    again = extract_hidden_states(model, PROBES)  # known by now: no warning
    for task, probe in PROBES.items():
        torch.testing.assert_close(again[task], states[task])
        for row, ids in enumerate(probe.input_ids):
            torch.testing.assert_close(states[task][:, row], alone(model, "convbert", ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_decoder_layers_are_read_at_the_start_token(kind: str) -> None:
    model = build(kind).eval()
    name = "decoder.block" if kind == "t5" else "decoder.layers"
    states = extract_hidden_states(model, PROBES, layer_modules=name)
    assert states.num_layers == 2
    ids = PROBES["mixed"].input_ids[1]
    start = torch.tensor([[model.config.decoder_start_token_id]])
    with torch.no_grad():
        output = model(torch.tensor([ids]), decoder_input_ids=start, output_hidden_states=True)
    torch.testing.assert_close(states["mixed"][0, 1], output.decoder_hidden_states[1][0, 0], atol=1e-5, rtol=1e-5)


def test_an_encoder_decoder_asks_which_stack() -> None:
    with pytest.raises(ValueError, match=r"several layer stacks: encoder\.block, decoder\.block"):
        extract_hidden_states(build("t5"), PROBES)


def test_a_model_that_rescales_its_weights_is_refused() -> None:
    model = build("rwkv")
    model.config.rescale_every = 2
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="rescale_every = 0"):
        extract_hidden_states(model, PROBES)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
