"""Logits at the answers alone give the loss and the gradients of all logits, on every kind of head."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_layerscope.training import add_lora
from lightning_layerscope.training.encoding import IGNORED
from lightning_layerscope.training.head import reachable_head, token_losses
from lightning_layerscope.training.loss import answer_loss, mean_loss

VOCABULARY = 97
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64}
PHI = {key: value for key, value in SHAPE.items() if key not in ("head_dim", "num_key_value_heads")}
SMALL = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, **SMALL}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": VOCABULARY}
# name: configuration class, its options; what lies between head and loss differs
MODELS = {
    "llama": ("LlamaConfig", SHAPE),
    "gemma 2, soft-capped": ("Gemma2Config", SHAPE | {"final_logit_softcapping": 3.0}),
    "gemma 3": ("Gemma3TextConfig", SHAPE),
    "gemma 3, soft-capped": ("Gemma3TextConfig", SHAPE | {"final_logit_softcapping": 3.0}),
    "cohere, scaled": ("CohereConfig", SHAPE | {"logit_scale": 0.25, "pad_token_id": 0}),
    "granite, divided": ("GraniteConfig", SHAPE | {"logits_scaling": 4.0}),
    "phi, head with a bias": ("PhiConfig", PHI),
    "gpt-2": ("GPT2Config", GPT2),
    "t5, scaled before the head": ("T5Config", T5 | {"tie_word_embeddings": True}),
    "t5, untied": ("T5Config", T5 | {"tie_word_embeddings": False}),
}


def make(name):
    import transformers

    config, options = MODELS[name]
    kind = transformers.AutoModelForSeq2SeqLM if config == "T5Config" else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    model = kind.from_config(getattr(transformers, config)(**options)).eval()
    with torch.no_grad():  # logits of trained models are large, so that capping and scaling show
        head = model.get_output_embeddings()
        head.weight.mul_(20 / head.weight.std() / 4)
        if head.bias is not None:
            head.bias.normal_()
    return model


def make_batch(name, rows=5):
    """Answers of different lengths at different places; one row has none."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, VOCABULARY, (rows, 12), generator=generator)
    labels = ids.clone()
    for row in range(rows):
        labels[row, : 3 + row] = IGNORED
        labels[row, 7 + row :] = IGNORED
    labels[2] = IGNORED
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    if name.startswith("t5"):
        batch["decoder_input_ids"] = torch.randint(2, VOCABULARY, (rows, 12), generator=generator)
    return batch


def by_all_logits(model, batch):
    """Per row the summed loss, from the model's logits everywhere."""
    labels = batch["labels"]
    logits = model(**{key: value for key, value in batch.items() if key != "labels"}, use_cache=False).logits
    if "decoder_input_ids" not in batch:
        logits, labels = logits[:, -labels.shape[1] : -1], labels[:, 1:]
    losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return losses.sum(dim=1), ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(dim=1)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def seen_by_head(model):
    """Positions of each call of the head, from now on."""
    counts = []
    reachable_head(model).register_forward_hook(lambda module, args, output: counts.append(output[..., 0].numel()))
    return counts


@pytest.mark.parametrize("most_logits", [None, 5 * VOCABULARY], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_all_logits(name, most_logits):
    model, batch = make(name), make_batch(name)
    expected, right = by_all_logits(model, batch)
    wanted = gradients(model, expected.sum())
    counts = seen_by_head(model)
    losses = answer_loss(model, batch, most_logits=most_logits)
    answers = int((batch["labels"] != IGNORED).sum())
    if most_logits is None:
        assert counts == [answers]
    else:  # a look at what the model does with its logits, then the pieces
        assert counts == [4, *[5] * (answers // 5), *[answers % 5] * (answers % 5 > 0)]
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(losses.exact, right)
    assert losses.tokens.tolist() == (batch["labels"] != IGNORED).sum(dim=1).tolist()
    found = gradients(model, losses.total.sum())
    assert found.keys() == wanted.keys()
    for key, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-5 * max(scale, 1), msg=key)
    with torch.no_grad():
        again = [answer_loss(model, batch, most_logits=most_logits).total for _ in range(2)]
    assert torch.equal(*again)
    torch.testing.assert_close(again[0], losses.total.detach(), rtol=1e-6, atol=1e-6)
    assert not reachable_head(model)._forward_pre_hooks


@pytest.mark.parametrize("most_logits", [None, 5 * VOCABULARY], ids=["at once", "in pieces"])
def test_adapters_train_as_with_all_logits(most_logits):
    model, batch = add_lora(make("gemma 3, soft-capped")), make_batch("gemma 3")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    wanted = gradients(model, by_all_logits(model, batch)[0].sum())
    counts = seen_by_head(model)
    losses = answer_loss(model, batch, most_logits=most_logits).total
    forward = len(counts)
    found = gradients(model, losses.sum())
    assert len(counts) == forward  # a frozen head makes no logits twice
    assert len(wanted) == 8
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0, 1.0), (0.5, 2.0, 1.0, 0.0, 3.0)])
def test_pieces_of_a_frozen_head_pass_on_the_weight_of_each_row(weights):
    model, batch = make("cohere, scaled"), make_batch("cohere")
    model.requires_grad_(False)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    found = [
        gradients(model, answer_loss(model, batch, most_logits=most).total @ torch.tensor(weights))
        for most in (None, 5 * VOCABULARY)
    ]
    (whole,), (pieces,) = (each.values() for each in found)
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


class Unusual(nn.Module):
    """Does with its logits what no configuration says."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings()

    def forward(self, **inputs):
        output = self.inner(**inputs)
        output.logits = output.logits.sin() * 3
        return output


class Twice(Unusual):
    """Calls its head again, for the token after the next."""

    def forward(self, **inputs):
        self.inner(**inputs)
        return super().forward(**inputs)


class Headless(Unusual):
    """Keeps its head to itself."""

    def get_output_embeddings(self):
        return None


@pytest.mark.parametrize("kind", [Unusual, Twice, Headless])
@pytest.mark.parametrize("most_logits", [None, 5 * VOCABULARY], ids=["at once", "in pieces"])
def test_models_that_nobody_knows_have_the_same_loss(kind, most_logits):
    model, batch = kind(make("llama")), make_batch("llama")
    expected, right = by_all_logits(model, batch)
    losses = answer_loss(model, batch, most_logits=most_logits)
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(losses.exact, right)


def test_prompt_tuning_moves_no_position():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model, batch = peft.get_peft_model(make("llama"), config), make_batch("llama")
    torch.testing.assert_close(answer_loss(model, batch).total, by_all_logits(model, batch)[0], rtol=1e-5, atol=1e-5)


def test_a_compiled_model_is_left_to_its_own_code():
    model, batch = make("gemma 3, soft-capped"), make_batch("gemma 3")
    expected = answer_loss(model, batch).total
    compiled = torch.compile(model, backend="eager")
    assert reachable_head(compiled) is None
    torch.testing.assert_close(answer_loss(compiled, batch).total, expected, rtol=1e-5, atol=1e-5)


def test_a_batch_without_answers_has_no_loss():
    model, batch = make("llama"), make_batch("llama")
    batch["labels"] = torch.full_like(batch["labels"], IGNORED)
    losses = answer_loss(model, batch)
    assert losses.total.tolist() == [0.0] * 5
    assert losses.exact.all()


def test_half_precision_takes_its_loss_in_float32():
    model, batch = make("gemma 3, soft-capped").to(torch.bfloat16), make_batch("gemma 3")
    targets = torch.cat([batch.pop("labels")[:, 1:], torch.full((5, 1), IGNORED)], dim=1)
    whole = token_losses(model, batch, targets)
    pieces = token_losses(model, batch, targets, most_logits=5 * VOCABULARY)
    assert whole.loss.dtype == pieces.loss.dtype == torch.float32
    torch.testing.assert_close(whole.loss, pieces.loss, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(mean_loss(answer_loss(model, {**batch, "labels": targets})))
