"""Rows behind one copy of their common beginning have the losses and gradients of whole rows, or are not packed."""

import pytest
import torch
import transformers

from lightning_layerscope.training import InstructionModule, add_lora
from lightning_layerscope.training.encoding import EncodedExample, collate
from lightning_layerscope.training.evaluation import row_losses
from lightning_layerscope.training.loss import answer_loss, mean_loss

VOCABULARY = 97
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 1}
GPT2 |= {"vocab_size": VOCABULARY, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
MODELS = {
    "llama": ("LlamaConfig", SHAPE),
    "gemma 2": ("Gemma2Config", SHAPE | {"final_logit_softcapping": 3.0}),
    "gemma 3": ("Gemma3TextConfig", SHAPE | {"sliding_window": 32}),
    "gpt-2": ("GPT2Config", GPT2),
}


def make(name="gemma 3", attention="sdpa", **changes):
    config, options = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, config)(**options | changes)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():  # attention of trained models is far from even, so that wrong masks show
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def make_rows(common=6, lengths=(3, 9, 5, 8, 4, 7)):
    generator = torch.Generator().manual_seed(1)

    def draw(count):
        return tuple(torch.randint(2, VOCABULARY, (count,), generator=generator).tolist())

    beginning = draw(common)
    return [EncodedExample("t", str(n), beginning + draw(length), draw(1 + n % 3)) for n, length in enumerate(lengths)]


def tokens_seen(model):
    """Tokens of each pass through the model from now on."""
    counts = []
    model.get_input_embeddings().register_forward_hook(lambda module, args, output: counts.append(args[0].numel()))
    return counts


def outcome(model, batch, **options):
    losses = answer_loss(model, batch, **options)
    model.zero_grad()
    mean_loss(losses).backward()
    return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model, batch, **options):
    (plain, wanted), (losses, found) = outcome(model, batch), outcome(model, batch, pack=True, **options)
    torch.testing.assert_close(losses.total, plain.total, rtol=1e-5, atol=1e-5)
    assert torch.equal(losses.exact, plain.exact)
    assert torch.equal(losses.tokens, plain.tokens)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * max(scale, 1e-3), msg=name)


@pytest.mark.parametrize(
    ("name", "attention"), [(n, a) for n in MODELS for a in ("sdpa", "eager") if (n, a) != ("gemma 2", "sdpa")]
)
def test_losses_and_gradients_are_those_of_whole_rows(name, attention):
    model, batch = make(name, attention), collate(make_rows())
    counts = tokens_seen(model)
    assert_same(model, batch)
    whole, _, _, together = counts  # two passes of two rows find out whether it is exact
    assert whole == batch["input_ids"].numel()
    rest = sum(map(len, make_rows())) - 6 * 7  # all but the last token of each row, which predicts nothing
    assert together == 6 + rest
    counts.clear()
    once, again = (outcome(model, batch, pack=True) for _ in range(2))
    assert torch.equal(once[0].total, again[0].total)
    assert all(torch.equal(once[1][key], again[1][key]) for key in once[1])
    assert len(counts) == 2  # what is known is not tried again


@pytest.mark.parametrize("most_logits", [None, 5 * VOCABULARY], ids=["at once", "in pieces"])
def test_adapters_train_as_on_whole_rows(most_logits):
    model = add_lora(make())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    assert_same(model.train(), collate(make_rows()), most_logits=most_logits)


def test_rows_without_a_common_beginning_lose_their_padding():
    model, batch = make(), collate(make_rows(common=0, lengths=(20, 3, 3, 3)))
    counts = tokens_seen(model)
    assert_same(model, batch)
    assert counts[-1] < counts[0] * 2 / 3


@pytest.mark.parametrize(
    ("name", "changes"),
    [("gemma 3", {"sliding_window": 8}), ("gpt-2", {"attn_pdrop": 0.1}), ("llama", {"attention_dropout": 0.1})],
    ids=["rows longer than a window", "dropout in modules", "dropout in the configuration"],
)
def test_what_would_change_the_loss_is_not_done(name, changes):
    model, batch = make(name, **changes).train(), collate(make_rows())
    counts, losses = tokens_seen(model), []
    for pack in (False, True):
        torch.manual_seed(3)
        losses.append(answer_loss(model, batch, pack=pack).total)
    assert torch.equal(*losses)
    assert counts[0] == counts[-1]


def test_without_dropout_in_force_rows_are_packed():
    model, batch = make("gpt-2", resid_pdrop=0.1), collate(make_rows())
    counts = tokens_seen(model)
    answer_loss(model, batch, pack=True)
    assert counts[-1] < batch["input_ids"].numel()


def test_models_that_make_positions_of_their_own_get_whole_rows():
    torch.manual_seed(0)
    config = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2)
    model, batch = transformers.BloomForCausalLM(config).eval(), collate(make_rows())
    assert torch.equal(answer_loss(model, batch, pack=True).total, answer_loss(model, batch).total)


def test_observers_are_told_the_places_of_the_batch():
    model, batch = make(), collate(make_rows())
    counts, seen = tokens_seen(model), []
    with torch.no_grad():
        for pack in (False, True):
            pieces = []
            answer_loss(
                model, batch, most_logits=5 * VOCABULARY, pack=pack, observe=lambda *each, to=pieces: to.append(each)
            )
            seen.append([torch.cat(parts) for parts in zip(*pieces, strict=True)])
    (plain, places), (found, told) = seen
    assert torch.equal(told, places)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)
    assert counts[-1] < counts[0]


def test_finding_out_keeps_no_casts_from_the_training_step():
    """Casts made without gradients would cut the step off from the weights."""
    model, batch = make().train(), collate(make_rows())
    counts = tokens_seen(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mean_loss(answer_loss(model, batch, pack=True))
    loss.backward()
    assert counts[-1] < batch["input_ids"].numel()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_training_and_held_out_losses_pack_but_validation_does_not(monkeypatch):
    """A monitor reads the states of validation batches, row by row."""
    model, rows = make(), make_rows()
    batch, counts = collate(rows), tokens_seen(model)
    modules = [InstructionModule(model, pack=pack) for pack in (True, False)]
    for module in modules:
        monkeypatch.setattr(type(module), "log", lambda *_, **__: None)
        module.trainer = type("T", (), {"optimizers": [torch.optim.SGD(model.parameters(), lr=0.1)]})()
        module.trainer.val_dataloaders = {"t": None}
    modules[0].training_step(batch, 0)
    assert counts[-1] < batch["input_ids"].numel()
    modules[1].training_step(batch, 0)
    assert counts[-1] == batch["input_ids"].numel()
    modules[0].validation_step(batch, 0)
    assert counts[-1] == batch["input_ids"].numel()
    counts.clear()
    row_losses(model, rows)
    assert sum(counts) < sum(map(len, rows))
