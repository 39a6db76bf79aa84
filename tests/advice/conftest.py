"""Random models of five families, by the names that their layers have."""

import pytest
import torch
import transformers

_SIZES = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def llama():
    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=5,
        num_attention_heads=2,
        num_key_value_heads=1,
        **_SIZES,
    )
    return transformers.LlamaForCausalLM(config), ("q_proj", "v_proj"), None


def gemma():
    config = transformers.Gemma3TextConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=5,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=8,
        **_SIZES,
    )
    return transformers.Gemma3ForCausalLM(config), ("q_proj", "v_proj"), None


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=5, n_head=2, n_positions=64, **_SIZES)
    return transformers.GPT2LMHeadModel(config), ("c_attn",), None


def neox():
    config = transformers.GPTNeoXConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=5, num_attention_heads=2, **_SIZES
    )
    return transformers.GPTNeoXForCausalLM(config), ("query_key_value",), None


def t5():
    config = transformers.T5Config(
        d_model=16, d_kv=8, d_ff=24, num_layers=5, num_decoder_layers=5, num_heads=2, decoder_start_token_id=0, **_SIZES
    )
    return transformers.T5ForConditionalGeneration(config), ("q", "v"), "encoder.block"


FAMILIES = {make.__name__: make for make in (llama, gemma, gpt2, neox, t5)}


def build(family):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FAMILIES[family]()


@pytest.fixture(params=FAMILIES)
def family(request):
    """A model, the kinds of matrices that get adapters, and the name of its layers where they have to be named."""
    return build(request.param)


@pytest.fixture
def small_llama():
    return build("llama")[0]


@pytest.fixture(scope="session")
def toy():
    """A small Llama with its tokenizer and three toy tasks."""
    from lightning_layerscope.tasks import toy_tasks
    from lightning_layerscope.training import small_llama, train_tokenizer

    tasks = toy_tasks(train=24, test=8).select(["last_word", "parity", "to_lumi"])
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=400)
    return small_llama(tokenizer, width=16, layers=4, heads=2, max_length=128).eval(), tokenizer, tasks
