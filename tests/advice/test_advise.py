"""Advice from a folder: rules, trial, resumption, exports, and the command."""

import copy
import json
import random

import pytest
import torch

from lightning_layerscope import advise
from lightning_layerscope.advice import parameters
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.cli import main

peft = pytest.importorskip("peft")
pytest.importorskip("filelock")

RECIPE = TrialRecipe(rank=4, train_rows=6, test_rows=4, retention_rows=4, max_length=64, batch_size=6)
RULES = ("all", "last", "causal")


@pytest.fixture(scope="module")
def folder(toy, tmp_path_factory):
    model, tokenizer, tasks = toy
    place = tmp_path_factory.mktemp("advise")
    model.save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    (place / "tasks").mkdir()
    for name, task in tasks.items():
        rows = [
            {"split": split, "input": e.input, "instruction": e.instruction, "output": e.output}
            for split, examples in task.splits.items()
            for e in examples
        ]
        (place / "tasks" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def tried(folder, toy):
    seen = []
    options = {"rules": RULES, "trial": True, "seeds": 2, "retention": toy[2], "recipe": RECIPE}
    advice = advise(
        folder / "model",
        toy[2],
        2,
        **options,
        output_dir=folder / "out",
        report=lambda stage, what: seen.append((stage, what)),
    )
    return advice, seen, options


def test_a_trial_trains_every_rule_at_equal_parameters_and_judges(tried):
    advice, seen, _ = tried
    assert [stage for stage, what in seen if what == "done"] == [
        "evidence",
        "training:base@0",
        *(f"training:{rule}@{seed}" for seed in (0, 1) for rule in RULES),
    ]
    spent = {rule: parameters(advice.targets, ranks) for rule, ranks in advice.ranks.items()}
    assert len(set(spent.values())) == 1
    assert {standing.selector for standing in advice.verdict.standings} == set(RULES)
    assert all(standing.seeds == 2 and standing.forgotten is not None for standing in advice.verdict.standings)
    assert advice.chosen == advice.verdict.standings[0].selector
    assert "short trainings" in advice.describe()


def test_what_is_finished_is_kept_and_more_seeds_are_added(tried, folder, toy):
    advice, _, options = tried
    seen = []
    again = advise(
        folder / "model",
        toy[2],
        2,
        **options | {"seeds": 3},
        output_dir=folder / "out",
        report=lambda stage, what: seen.append((stage, what)),
    )
    assert [stage for stage, what in seen if what == "done"] == [f"training:{rule}@2" for rule in RULES]
    assert {s.seeds for s in again.verdict.standings} == {3}
    assert again.selections == advice.selections


def test_exports_are_those_of_the_advised_rule(tried):
    advice, _, _ = tried
    config = advice.lora_config("last", task_type="CAUSAL_LM")
    assert config.layers_to_transform == [2, 3]
    assert advice.unfrozen_parameters("last") == ["^model.layers.(2|3)."]
    assert advice.finetuning_schedule("last") == {0: {"params": [r"model\.model\.layers\.(2|3)\..*"]}}
    assert advice.agreement() == tuple(
        sum(layer in advice.selections[rule].layers for rule in ("last", "causal")) for layer in (1, 2, 3, 4)
    )


def test_without_a_trial_the_default_is_said_to_be_one(folder, toy):
    advice = advise(
        toy[0], toy[2], 2, tokenizer=toy[1], rules=("all", "last"), recipe=RECIPE, output_dir=folder / "two"
    )
    assert advice.verdict is None
    assert advice.chosen == "all"
    assert "not a finding about yours" in advice.describe()


def test_a_model_in_memory_is_as_it_was(folder, toy):
    config = copy.deepcopy(toy[0].config)
    config.attention_dropout = 0.3
    model = type(toy[0])(config).train()
    model.model.layers[0].eval()
    model.model.embed_tokens.weight.requires_grad_(False)
    before = copy.deepcopy(model)
    states = torch.get_rng_state(), random.getstate()
    rules = ("all", "gradient-probe", "pilot-drift")
    seen = [
        advise(model, toy[2], 2, tokenizer=toy[1], rules=rules, recipe=RECIPE, output_dir=folder / name)
        for name in ("memory", "again")
    ]
    assert seen[0].score_table() == seen[1].score_table()  # no dropout in what the rules look at
    assert [each.training for each in model.modules()] == [each.training for each in before.modules()]
    assert all(map(torch.equal, model.state_dict().values(), before.state_dict().values()))
    flags = [[(name, each.requires_grad) for name, each in m.named_parameters()] for m in (model, before)]
    assert flags[0] == flags[1]
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_no_table_of_scores_where_no_rule_scores(folder, toy):
    advice = advise(folder / "model", toy[2], 2, rules=("all", "last"), recipe=RECIPE, output_dir=folder / "out")
    assert advice.score_table() == ""


def test_the_command_prints_layers_scores_and_an_export(folder, capsys):
    arguments = ["advise", folder / "model", "--tasks", folder / "tasks", "--budget", "2", "--rank", "4", "--rows", "6"]
    arguments += ["--rules", "last", "gradient-probe", "--out", folder / "cli", "--export", "axolotl"]
    assert main(list(map(str, arguments))) == 0
    printed = capsys.readouterr().out
    assert "rules that agree" in printed
    assert "  - ^model.layers.(2|3)." in printed
    assert main([*map(str, arguments), "--budget", "9"]) == 2
    assert "between 1 and the model's 4 layers" in capsys.readouterr().err


def test_refuses_what_it_cannot_do(toy, tmp_path):
    with pytest.raises(ValueError, match=r"rules of .*got 3, \['best'\]"):
        advise(toy[0], toy[2], 2, tokenizer=toy[1], rules=["best"], output_dir=tmp_path)
    with pytest.raises(ValueError, match="give its folder for Ray"):
        advise(toy[0], toy[2], 2, tokenizer=toy[1], executor="ray", output_dir=tmp_path)
