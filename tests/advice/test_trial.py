import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_layerscope.advice import find_targets, parameters, trial_run
from lightning_layerscope.advice.evidence import drift, gather_evidence, gradient_norms, neighbour_similarity
from lightning_layerscope.advice.rules import NAMES, select
from lightning_layerscope.advice.short_training import trained_adapter
from lightning_layerscope.advice.trial_file import TrialLine, append_line, read_lines
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.advice.trial_run import TrialSetting, held_out_rows, run_trial
from lightning_layerscope.comparison.weight_updates import adapter_updates
from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.functional import linear_cka, relative_update
from lightning_layerscope.training.encoding import collate
from lightning_layerscope.training.loss import answer_loss, mean_loss

pytest.importorskip("peft")
pytest.importorskip("pytorch_lightning")

RECIPE = TrialRecipe(
    budget_layers=2,
    rank=4,
    train_rows=6,
    test_rows=4,
    retention_rows=4,
    max_length=64,
    batch_size=6,
    learning_rate=1e-2,
)
LINE = TrialLine("all", 0, (1, 2), {"2": 4}, 128, {"a": 0.1234567}, {"facts": 2.0})


@pytest.fixture(scope="module")
def setting(toy):
    model, tokenizer, tasks = toy
    targets = find_targets(model, RECIPE.kinds)
    evidence = gather_evidence(model, tokenizer, tasks, targets, RECIPE, prompts=8)
    rows = held_out_rows(tasks, tokenizer, RECIPE.test_rows, RECIPE.max_length)
    return TrialSetting(model, tokenizer, tasks, targets, RECIPE, evidence, rows, rows)


def test_evidence_has_a_value_for_every_layer(setting):
    curves = vars(setting.evidence) | setting.evidence.signal_to_noise
    curves.pop("signal_to_noise")
    assert set(curves.pop("condition_ranking")) == {module.name for module in setting.targets.modules}
    assert {name: len(curve) for name, curve in curves.items()} == dict.fromkeys(curves, 4)
    assert np.isfinite([curve[1:] for curve in curves.values()]).all()
    # The toy prompts all end in a line break: the embeddings of the last token do not vary.
    assert np.isnan(setting.evidence.neighbour_similarity[0])


def test_every_rule_spends_the_same_parameters(setting):
    from lightning_layerscope.advice import equal_ranks

    for name in NAMES:
        selection = select(name, setting.evidence, setting.targets, RECIPE, seed=0)
        ranks = equal_ranks(setting.targets, selection, setting.budget)
        assert abs(parameters(setting.targets, ranks) - setting.budget) <= 0.01 * setting.budget, name
    with pytest.raises(ValueError, match="unknown selector 'best'"):
        setting.selection("best", 0)


def test_a_training_leaves_the_base_model_as_it_was_and_repeats_itself(setting):
    ranks = {module.name: 2 for module in setting.targets.modules}
    before = {name: value.clone() for name, value in setting.model.state_dict().items()}
    wanted = [parameter.requires_grad for parameter in setting.model.parameters()]
    generator = torch.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        with trained_adapter(*_of(setting), ranks, RECIPE, seed) as tuned:
            found.append(torch.cat([p.detach().flatten() for n, p in tuned.named_parameters() if "lora_B" in n]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert found[0].abs().max() > 0
    assert all(torch.equal(value, before[name]) for name, value in setting.model.state_dict().items())
    assert list(before) == list(setting.model.state_dict())
    assert wanted == [parameter.requires_grad for parameter in setting.model.parameters()]
    assert torch.equal(generator, torch.get_rng_state())
    assert not hasattr(setting.model, "peft_config")


def test_updates_of_adapters_are_those_of_merged_weights(setting):
    ranks = {module.name: 2 for module in setting.targets.in_layers((2, 3))}
    with trained_adapter(*_of(setting), ranks, RECIPE, 0) as tuned:
        found = adapter_updates(tuned)
        before = [_matrices(layer) for layer in setting.model.model.layers]
        tuned.merge_adapter()
        after = [_matrices(layer) for layer in setting.model.model.layers]
        tuned.unmerge_adapter()
    expected = torch.stack([relative_update(*pair) for pair in zip(before, after, strict=True)])
    assert torch.allclose(found, expected, atol=1e-6)
    assert found[0] == found[3] == 0
    assert found[1] > 0


def _matrices(layer):
    kept = {n: p for n, p in layer.named_parameters() if p.ndim == 2 and "lora" not in n}
    return [p.detach().clone() for p in kept.values()]


def _of(setting):
    return setting.model, setting.tokenizer, setting.tasks, setting.targets


def test_finished_trainings_are_not_made_again(setting, tmp_path):
    path = tmp_path / "lines.jsonl"
    first = [line.key for line in run_trial(setting, ["all", "last"], [0], path)]
    assert first == [("all", 0), ("last", 0)]
    made = list(run_trial(setting, ["all", "first", "last"], [0], path))
    assert [line.key for line in made] == [("first", 0)]
    lines = read_lines(path)
    base = lines.pop(("base", 0))
    assert base.parameters == 0
    assert base.loss != lines["all", 0].loss
    assert {line.parameters for line in lines.values()} == {setting.budget}
    assert set(lines["all", 0].loss) == {"last_word", "parity", "to_lumi"}
    assert lines["all", 0].loss != lines["last", 0].loss


def test_rules_that_name_the_same_layers_share_a_training(setting, tmp_path, monkeypatch):
    alike = replace(setting.evidence, drift=tuple(range(4)))  # the last layers moved most
    setting = replace(setting, evidence=alike)
    assert setting.ranks("pilot-drift", 0) == setting.ranks("last", 0) != setting.ranks("first", 0)
    trained = []

    def count(setting, name, seed, inspect=None):
        trained.append((name, seed))
        return replace(LINE, selector=name, seed=seed)

    monkeypatch.setattr(trial_run, "train_line", count)
    path = tmp_path / "lines.jsonl"
    made = list(run_trial(setting, ["last", "first", "pilot-drift"], [0, 1], path))
    assert trained == [("last", 0), ("first", 0), ("last", 1), ("first", 1)]
    assert [line.key for line in made][2::3] == [("pilot-drift", 0), ("pilot-drift", 1)]
    assert read_lines(path)["pilot-drift", 1] == replace(read_lines(path)["last", 1], selector="pilot-drift")


def test_shards_share_the_trainings(setting, tmp_path):
    keys = [
        [line.key for line in run_trial(setting, ["all", "last"], [0], tmp_path / f"{i}.jsonl", shard=(i, 2))]
        for i in (0, 1)
    ]
    assert keys == [[("all", 0)], [("last", 0)]]


def test_lines_come_back_as_written(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_line(path, LINE)
    assert read_lines(path) == {("all", 0): TrialLine(**{**vars(LINE), "loss": {"a": 0.12346}})}
    assert read_lines(tmp_path / "none.jsonl") == {}


@pytest.mark.filterwarnings("error")
def test_a_line_that_was_cut_off_is_made_again_and_harms_no_other(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_line(path, LINE)
    path.write_text(path.read_text() + '{"selector":"la', encoding="utf-8")
    append_line(path, TrialLine(**{**vars(LINE), "seed": 1}))
    with pytest.warns(UserWarning, match="line 2 is cut off"):
        assert list(read_lines(path)) == [("all", 0), ("all", 1)]
    path.write_text(json.dumps({"selector": "all"}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1 is no finished training"):
        read_lines(path)


def test_gradient_norms_are_those_of_backward(toy, setting):
    model = toy[0]
    rows = [row for part in setting.test_rows.values() for row in part]
    found = gradient_norms(model, setting.targets, rows, batch_size=6)
    assert all(parameter.grad is None for parameter in model.parameters())
    expected = torch.zeros(4, dtype=torch.float64)
    plain = copy.deepcopy(model).requires_grad_(True)  # other tests share the model, and may have frozen it
    for start in (0, 6):
        plain.zero_grad()
        mean_loss(answer_loss(plain, collate(rows[start : start + 6]))).backward()
        for layer in range(4):
            block = plain.model.layers[layer].self_attn
            gradients = [block.q_proj.weight.grad, block.v_proj.weight.grad]
            expected[layer] += torch.cat([g.flatten() for g in gradients]).double().norm() / 2
    assert torch.allclose(found, expected, rtol=1e-5)


def states(seed):
    tensors = {
        task: torch.randn(3, 12, 6, generator=torch.Generator().manual_seed(seed + i)) for i, task in enumerate("ab")
    }
    ids = {task: tuple(map(str, range(12))) for task in tensors}
    return HiddenStates(tensors, (0, 1, 2), 2, {}, ids)


def test_neighbours_and_drift_are_means_of_cka_over_tasks():
    one, two = states(0), states(7)
    expected = [np.mean([float(linear_cka(one[t][k], one[t][k + 1])) for t in one]) for k in (0, 1)]
    np.testing.assert_allclose(neighbour_similarity(one).numpy(), expected, atol=1e-6)
    expected = [1 - np.mean([float(linear_cka(one[t][k], two[t][k])) for t in one]) for k in (1, 2)]
    np.testing.assert_allclose(drift(one, two).numpy(), expected, atol=1e-6)
    assert drift(one, one).abs().max() < 1e-6
