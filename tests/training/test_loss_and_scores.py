import inspect

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_layerscope.training import InstructionDataModule, add_lora, evaluate_tasks, score_tasks
from lightning_layerscope.training.evaluation import score_rows
from lightning_layerscope.training.loss import answer_loss, mean_loss


@pytest.fixture
def data(tasks, tokenizer):
    return InstructionDataModule(tasks, tokenizer, batch_size=4)


def by_hand(model, row):
    """One row, unpadded, all logits."""
    ids = torch.tensor([row.prompt + row.answer])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].double()
    start = len(row.prompt) - 1
    return cross_entropy(logits[start:], ids[0, 1:][start:], reduction="sum").item()


def test_the_loss_is_that_of_single_rows_and_of_transformers(model, data):
    rows = data.test_rows()["describe_record"][:3] + data.test_rows()["parity"][:2]
    batch = next(iter(data._loader(rows)))
    losses = answer_loss(model, batch)
    expected = torch.tensor([by_hand(model, row) for row in rows[:4]])
    torch.testing.assert_close(losses.total, expected.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mean_loss(losses), model(**batch).loss, rtol=1e-5, atol=1e-5)


def test_models_that_give_all_logits_have_the_same_loss(model, data):
    class WithoutChoice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask, use_cache=None):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    batch = next(iter(data.val_dataloader()["to_lumi"]))
    assert "logits_to_keep" in inspect.signature(model.forward).parameters
    torch.testing.assert_close(answer_loss(model, batch), answer_loss(WithoutChoice(), batch), rtol=1e-5, atol=1e-5)


def test_task_scores_do_not_depend_on_batches_and_leave_the_model_alone(model, data):
    model.train()
    state = torch.get_rng_state()
    few = score_rows(model, data.test_rows(), max_tokens_per_batch=64)
    many = score_rows(model, data.test_rows(), max_tokens_per_batch=10_000)
    assert list(few) == list(data.tasks)
    for task, rows in data.test_rows().items():
        assert few[task].loss == pytest.approx(many[task].loss, rel=1e-5)
        assert few[task].loss == pytest.approx(
            sum(by_hand(model, row) for row in rows) / sum(len(row.answer) for row in rows), rel=1e-5
        )
        assert (few[task].examples, few[task].tokens) == (len(rows), sum(len(row.answer) for row in rows))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluate_tasks_gives_losses_in_order(model, data):
    losses = evaluate_tasks(model, data)
    assert losses == {task: score.loss for task, score in score_tasks(model, data).items()}


def test_exact_is_what_greedy_decoding_gives(model, data, tokenizer):
    rows = data.test_rows()["parity"][:4]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batch = next(iter(data._loader(rows)))
    for _ in range(120):  # until some answers are known by heart
        optimizer.zero_grad()
        mean_loss(answer_loss(model, batch)).backward()
        optimizer.step()
    everything = data.test_rows()["parity"]
    generated = [
        model.generate(torch.tensor([row.prompt]), max_new_tokens=len(row.answer), do_sample=False)[0].tolist()
        for row in everything
    ]
    right = [ids[len(row.prompt) :] == list(row.answer) for ids, row in zip(generated, everything, strict=True)]
    score = score_rows(model, {"parity": everything})["parity"]
    assert score.exact == sum(right) / len(right)
    assert score.exact >= 0.25  # some answers are right, so that the two could differ


def test_lora_trains_adapters_alone_and_starts_as_the_base(model, data):
    before = score_tasks(model, data)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    adapted = add_lora(model, layers=[2], seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert len(trained) == 4
    assert all("layers.1.self_attn" in name and "lora_" in name for name in trained)
    after = score_tasks(adapted, data)
    for task in before:
        assert after[task].loss == pytest.approx(before[task].loss, rel=1e-6)


def test_lora_refuses_what_does_not_fit(model):
    with pytest.raises(ValueError, match=r"no module named \['query'\]; its linear layers are \[.*'q_proj'"):
        add_lora(model, target_modules=["q_proj", "query"])
    with pytest.raises(ValueError, match="rank >= 1"):
        add_lora(model, rank=0)
    with pytest.raises(ValueError, match="numbered from 1"):
        add_lora(model, layers=[0])


@pytest.mark.parametrize("reachable", [True, False])
def test_batches_hold_no_more_logits_than_allowed(model, data, monkeypatch, reachable):
    from lightning_layerscope.training import evaluation, head

    if not reachable:
        monkeypatch.setattr(type(model), "get_output_embeddings", lambda self: None)
    rows = [row for part in data.test_rows().values() for row in part]
    expected = evaluation.row_losses(model, rows)
    counts = []
    model.lm_head.register_forward_hook(lambda module, args, output: counts.append(output[..., 0].numel()))
    for module in (evaluation, head):
        monkeypatch.setattr(module, "most_positions", lambda model, most_logits=None: 24)
    calls = []
    losses = evaluation.row_losses(model, rows, progress=lambda *done: calls.append(done))
    assert len(counts) > 1
    assert max(counts) <= max(24, 1 + max(len(row.answer) for row in rows))
    assert calls[-1] == (len(rows), len(rows))
    torch.testing.assert_close(losses.total, expected.total, rtol=1e-5, atol=1e-5)
    assert torch.equal(losses.tokens, expected.tokens)


@pytest.mark.parametrize("most", [None, 24], ids=["at once", "in pieces"])
@pytest.mark.parametrize("reachable", [True, False])
def test_scoring_shows_the_next_word_behind_every_prompt_once(model, data, monkeypatch, reachable, most):
    from lightning_layerscope.training import evaluation, head

    if not reachable:
        monkeypatch.setattr(type(model), "get_output_embeddings", lambda self: None)
    if most:
        for module in (evaluation, head):
            monkeypatch.setattr(module, "most_positions", lambda model, most_logits=None: most)
    rows = [row for part in data.test_rows().values() for row in part[:3]]
    seen = {}

    def keep(logits, indices):
        for index, row in zip(indices.tolist(), logits, strict=True):
            assert index not in seen
            seen[index] = row

    evaluation.row_losses(model, rows, first_words=keep)
    assert sorted(seen) == list(range(len(rows)))
    for index, row in enumerate(rows):
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([row.prompt])).logits[0, -1]
        torch.testing.assert_close(seen[index], alone, rtol=1e-4, atol=1e-4)
