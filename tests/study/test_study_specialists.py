"""Is a control a specialist? Trained until it converges; no verdict against one that is worse than what it judges."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.prepare.budgets import task_budgets
from lightning_layerscope.study.results.sentences import read_study
from lightning_layerscope.study.results.study_results import gather
from lightning_layerscope.study.results.table import verdict_of
from lightning_layerscope.study.stages import convergence
from lightning_layerscope.study.stages.compare import AgainstControls
from lightning_layerscope.study.stages.compared_losses import compare_losses
from lightning_layerscope.study.stages.convergence import Convergence
from lightning_layerscope.study.stages.data import TRAIN
from lightning_layerscope.study.stages.gains import GAINED, Gains
from lightning_layerscope.study.stages.guessing import guessing_losses
from lightning_layerscope.study.stages.measured import MeasuredFacts
from lightning_layerscope.study.stages.records import read_record
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.study.study import Study
from lightning_layerscope.tasks import Example, Task, TaskCollection
from lightning_layerscope.training.encoding import encode_examples
from lightning_layerscope.training.evaluation import row_losses
from lightning_layerscope.training.loss import AnswerLoss

from .conftest import PLAN, MakePlan, save_model

CONVERGED = PLAN.replace("same_examples", "converged, control_max_epochs: 6")


def test_a_control_is_trained_until_it_converges_and_the_best_model_is_kept(make_plan: MakePlan) -> None:
    study = Study(make_plan(CONVERGED.replace("learning_rate: 1e-2", "learning_rate: 1")))
    study.run(["control:larger_number"])
    stage = study.graph.stages["control:larger_number@0+converged"]
    trained = stage.load(study.store)
    ending = trained.record.convergence
    assert ending is not None
    assert ending.bound == 6
    assert 2 <= len(ending.losses) - 1 <= 6
    validation = study.graph.stages["validation:larger_number"].load(study.store)
    rows = encode_examples("larger_number", validation.split(TRAIN), study.context.tokenizer, max_length=1024)
    with study.context.models.tuned(trained.folder) as model:
        losses = row_losses(model, rows, max_tokens_per_batch=8192)
    assert float((losses.total.double() / losses.tokens).mean()) == pytest.approx(min(ending.losses), abs=1e-6)
    # The monitor's last measurement is of the model that is kept, not of the last step's.
    folder = study.store.folder(stage)
    kept = LayerProfile.from_parquet(folder / "monitor" / "profile.parquet")
    assert kept.matrix().min() < 0.9999


def test_it_ends_after_two_epochs_without_a_new_best_whose_parameters_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 1.0, 1.5, 1.1, 0.5])
    monkeypatch.setattr(
        convergence, "row_losses", lambda *_, **__: AnswerLoss(*(torch.tensor([x]) for x in (next(losses), 1, True)))
    )
    model = torch.nn.Linear(1, 1)
    module, trainer = SimpleNamespace(model=model), SimpleNamespace(should_stop=False, is_global_zero=True)
    callback = convergence.UntilConverged([], max_tokens_per_batch=1, bound=9, folder=tmp_path)
    callback.on_train_start(trainer, module)
    epochs = 0
    while not trainer.should_stop:
        epochs += 1
        with torch.no_grad():
            model.weight.fill_(float(epochs))
        callback.on_train_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert epochs == 4
    assert float(model.weight.detach()) == 2.0
    ending = read_record(Convergence, tmp_path / "convergence.json")
    assert (ending.bound, ending.losses) == (9, pytest.approx([3.0, 2.0, 1.0, 1.5, 1.1]))


def test_the_bound_ends_a_training_that_still_improves_and_the_results_have_its_losses(
    finished: Study, make_plan: MakePlan
) -> None:
    plan = CONVERGED.replace("1e-2", "1e-4").replace("epochs: 6", "epochs: 2")
    study = Study(make_plan(plan.replace("parity, last_word, to_lumi", "to_lumi")))
    results = study.run()
    ending = study.graph.stages["control:larger_number@0+converged"].load(study.store).record.convergence
    assert len(ending.losses) == 3
    assert ending.at_bound
    assert results is not None
    written = pd.read_csv(results / "convergence.csv")
    assert set(written["task"]) == {"larger_number", "to_lumi"}
    written = written[written["task"] == "larger_number"].reset_index(drop=True)
    control = {"task": "larger_number", "control_seed": 0, "control_budget": "converged"}
    expected = [control | {"epoch": n, "loss": loss, "kept": n == 2} for n, loss in enumerate(ending.losses)]
    pd.testing.assert_frame_equal(written, pd.DataFrame(expected))
    assert not (finished.results / "convergence.csv").exists()  # none of its controls was trained until it converged


@pytest.mark.parametrize(
    ("losses", "best", "at_bound"),
    [
        ([2.0, 1.0, 1.5, 1.6], 1, False),
        ([2.0, 1.0, 0.5], 2, False),
        ([2.0, 1.5, 1.0, 0.9], 3, True),
        ([2.0, 1.5, 1.0, 1.1], 2, False),
        ([1.0, 2.0, 3.0], 0, False),
    ],
)
def test_how_a_training_ended(losses: list[float], best: int, at_bound: bool) -> None:
    ending = Convergence(losses, bound=3)
    assert (ending.best_epoch, ending.at_bound) == (best, at_bound)


def tasks_of(rows: int) -> TaskCollection:
    def examples(split: str, count: int) -> tuple[Example, ...]:
        return tuple(Example("Say it.", f"{split} {n}", "yes", f"{split}-{n}") for n in range(count))

    return TaskCollection([Task("a", "c", {"train": examples("train", rows), "test": examples("test", 40)})])


def plan_of(**training: Any) -> StudyPlan:
    return StudyPlan.model_validate({"model": "m", "tasks": "t", "training": training})


def test_rows_to_judge_by_are_those_that_nobody_trains_on(finished: Study, make_plan: MakePlan) -> None:
    study = Study(make_plan(CONVERGED))
    study.run(["data", "validation", "probes"])
    for task in study.context.tasks:
        kinds = ("data", "validation", "probes")
        train, validation, probes = (study.graph.stages[f"{kind}:{task}"].load(study.store) for kind in kinds)
        trained, judged = ({row.id for row in each.split(TRAIN)} for each in (train, validation))
        assert judged
        assert not judged & trained
        assert not judged & set(probes.probes[task].example_ids)
        # There are rows beyond the cluster's share, so that no training has fewer.
        before = finished.graph.stages[f"data:{task}"].load(finished.store)
        assert [row.id for row in train.split(TRAIN)] == [row.id for row in before.split(TRAIN)]


@pytest.mark.parametrize(
    ("rows", "training", "expected"),
    [
        (100, {"control_budget": "same_examples"}, (100, 0, "same_examples")),
        (100, {"control_budget": "converged"}, (80, 20, "converged")),
        (1000, {"control_budget": "converged"}, (968, 32, "converged")),
        (1000, {"control_budget": "converged", "max_examples_per_cluster": 500}, (500, 32, "converged")),
        (1000, {"control_budget": "converged", "max_examples_per_task": 100}, (100, 32, "converged")),
        # 3 epochs of 4 x 4 rows: 1,000 steps are 5,334 rows.
        (5000, {}, (4968, 32, "converged")),
        (5400, {}, (5400, 0, "same_examples")),
        (20, {}, (20, 0, "same_examples")),
    ],
)
def test_what_a_task_gives_to_its_trainings(
    rows: int, training: dict[str, Any], expected: tuple[int, int, str]
) -> None:
    budget = task_budgets(plan_of(**training), tasks_of(rows))["a"]
    assert (budget.train_rows, budget.validation_rows, budget.controls[0].budget) == expected


def test_too_few_rows_to_judge_by_are_told() -> None:
    with pytest.raises(ValueError, match=r"task 'a' has 20 training rows, .* needs 25, a fifth of which are set aside"):
        task_budgets(plan_of(control_budget="converged"), tasks_of(20))


def test_extra_controls_of_tasks_that_are_not_there() -> None:
    plan = StudyPlan.model_validate({"model": "m", "tasks": "t", "extra_controls": [{"tasks": ["b"]}]})
    with pytest.raises(
        ValueError, match=r"extra_controls names tasks that are not there: \['b'\]; the tasks are \['a'\]"
    ):
        task_budgets(plan, tasks_of(100))


def facts(losses: list[float], rows: str = "same") -> MeasuredFacts:
    return MeasuredFacts([1], 1, 4, len(losses), losses, rows)


BASE, TUNED = [3.0, 4.0, 5.0, 4.5], [1.0, 1.5, 2.0, 1.2]
GAINS = Gains(Interval(0.5, 0.4, 0.6), Interval(0.2, 0.1, 0.3), [1], None, None, GAINED)


@pytest.mark.parametrize(
    ("control", "rows", "expected"),
    [
        ([0.5, 1.0, 1.4, 0.9], "same", GAINED),
        ([1.1, 1.4, 2.1, 1.1], "same", GAINED),  # not worse beyond the rows' chance
        ([2.0, 2.6, 3.1, 2.1], "same", "control under-trained"),
        ([3.2, 4.4, 5.3, 4.6], "same", "control did not learn"),
        ([0.5, 1.0, 1.4, 0.9], "others", "control not checked"),
        ([], "same", "control not checked"),
    ],
)
def test_a_verdict_needs_a_control_that_is_as_good_as_the_model_it_judges(
    control: list[float], rows: str, expected: str
) -> None:
    losses = compare_losses(facts(BASE), facts(TUNED), {"control@0": facts(control, rows)}, None, 0.9)
    assert verdict_of(AgainstControls("converged", ["control@0"], losses, GAINS)) == expected


def test_one_seed_behind_is_enough_to_withhold_the_verdict() -> None:
    controls = {"control@0": facts([0.5, 1.0, 1.4, 0.9]), "control@1": facts([2.0, 2.6, 3.1, 2.1])}
    losses = compare_losses(facts(BASE), facts(TUNED), controls, None, 0.9)
    assert losses.under_trained == ["control@1"]
    assert verdict_of(AgainstControls("converged", list(controls), losses, GAINS)) == "control under-trained"


@pytest.mark.parametrize(
    ("guess", "expected"),
    [
        ([1.4, 2.1, 2.4, 2.0], GAINED),
        ([0.5, 1.1, 1.4, 0.8], "control no better than guessing"),
        ([0.6, 1.8, 1.3, 0.9], "control no better than guessing"),  # better, but not beyond the rows' chance
        (None, GAINED),  # answers do not repeat
    ],
)
def test_no_verdict_by_a_control_that_learned_how_answers_look_alone(guess: list[float] | None, expected: str) -> None:
    controls = {"control@0": facts([0.5, 1.0, 1.4, 0.9])}
    losses = compare_losses(facts(BASE), facts(TUNED), controls, guess, 0.9)
    assert verdict_of(AgainstControls("converged", ["control@0"], losses, GAINS)) == expected
    assert losses.guess == (None if guess is None else pytest.approx(np.mean(guess)))


def test_what_guessing_loses() -> None:
    answers, tokens = ["yes"] * 6 + ["no"] * 3 + ["maybe"], [2] * 9 + [4]
    losses = guessing_losses(answers, tokens)
    assert losses is not None
    # Among the nine other rows, one more for each of three answers.
    expected = [math.log(12 / 6) / 2] * 6 + [math.log(12 / 3) / 2] * 3 + [math.log(12) / 4]
    assert losses == pytest.approx(expected)
    assert guessing_losses(["a", "b", "b"], [1, 1, 1]) is None
    # Of two answers that are equally likely it is near ln 2, and never below it.
    even = guessing_losses(["a", "b"] * 50, [1] * 100)
    assert even is not None
    assert math.log(2) <= np.mean(even) < math.log(2) + 0.02


def test_the_first_words_count_controls_that_are_behind(finished: Study) -> None:
    """After four optimiser steps these controls are hardly better than the base model."""
    rows = pd.read_csv(finished.results / "tasks.csv").set_index("task")
    behind = rows[rows["verdict"] == "control under-trained"]
    assert len(behind)
    assert (behind["control_trained"] == False).all()  # noqa: E712  # a column, None where unknown
    assert (behind["loss_control"] > behind["loss_tuned"]).all()
    stage = finished.graph.results
    first = read_study(gather(stage.comparisons, stage.data, stage.trained, finished.store), {})[0]
    assert first.startswith(f"The controls of {len(behind)} of 4 tasks are under-trained")
    for task, row in behind.iterrows():
        words = f"({row.loss_control:.2f} against {row.loss_tuned:.2f} nats)"
        assert f"{task} {words}" in first
        assert f"control under-trained {words}" in (finished.results / "table.md").read_text()
        assert f"control under-trained {words}" in (finished.results / "report.html").read_text()


def test_further_seeds_and_another_budget_for_some_tasks(finished: Study, make_plan: MakePlan, tmp_path: Path) -> None:
    extra = """extra_controls:
  - {{tasks: [parity], seeds: [1]}}
  - {{tasks: [parity, last_word], budget: equal_steps}}
"""
    shutil.copytree(finished.store.root, tmp_path / "study")
    study = Study(make_plan(PLAN + extra))
    done: list[str] = []
    results = study.run(report=lambda stage, what: done.append(f"{stage.name} {what}"))
    assert results is not None
    trained = {each.removesuffix(" done") for each in done if each.startswith("control") and each.endswith(" done")}
    assert trained == {"control:parity@1", "control:parity@0+equal_steps", "control:last_word@0+equal_steps"}
    rows = pd.read_csv(results / "tasks.csv").set_index("task")
    assert rows["noise"].notna().to_dict() == {task: task == "parity" for task in study.context.tasks}
    known = pd.read_csv(finished.results / "tasks.csv").set_index("task")
    assert (rows["gained"] == known["gained"]).to_dict() == {task: task != "parity" for task in study.context.tasks}
    beside = pd.read_csv(results / "budgets.csv")
    assert beside["task"].tolist() == ["parity", "last_word"]
    assert set(beside["control_budget"]) == {"equal_steps"}
    judged = beside[beside["pvalue"].notna()]
    assert (judged["adjusted_pvalue"] >= judged["pvalue"]).all()
    assert "| adjusted p | reading |" in (results / "table.md").read_text().split("beside these:")[1]
    few = f"Intervals over tasks are narrow: only {len(study.context.tasks)} tasks."
    assert few in (results / "report.html").read_text()
    # More steps, a better specialist.
    losses = beside.set_index("task")["loss_control"]
    assert (losses < known.loc[losses.index, "loss_control"]).all()
    assert "Controls of other budgets, beside these:" in (results / "table.md").read_text()
    assert "stand beside the others on 2 tasks" in (results / "report.html").read_text()
    # All of them are there for another plan.
    text = PLAN.replace(",\n           control_budget: same_examples", "") + "controls: {controls}\n"
    taken = Study(make_plan(text, controls=results / "controls"))
    compare = taken.graph.stages["compare:parity"]
    assert [stage.role for stage in compare.controls] == [Control(0), Control(1)]
    assert [stage.role for stage in compare.beside] == [Control(0, "equal_steps")]
    taken.run(["compare:parity"])
    assert compare.load(taken.store).facts == study.graph.stages["compare:parity"].load(study.store).facts


@pytest.mark.parametrize(("scored", "expected"), [("10", 10), ("30", 30), ("all", 40)])
def test_more_or_fewer_held_out_rows_are_scored(make_plan: MakePlan, scored: str, expected: int) -> None:
    text = "tasks: {{source: toy, select: [parity]}}\nmodel: {model}\ntuned: {model}\noutput_dir: {folder}\n"
    study = Study(make_plan(text + f"probes: {{{{examples_per_task: 24, min_examples: 8, scored_rows: {scored}}}}}\n"))
    available = len(study.context.tasks["parity"].split("test"))
    wanted = available if scored == "all" else expected
    assert study.estimate().scored_rows == 2 * wanted
    study.run(["states:base:parity"])
    measured = study.graph.stages["states:base:parity"].load(study.store).facts
    assert (measured.examples, len(measured.losses)) == (24, wanted)
    assert all(torch.isfinite(torch.tensor(measured.losses)))


def test_each_checkpoint_is_loaded_once(
    make_plan: MakePlan, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    tuned = save_model(tmp_path / "tuned", seed=1)
    text = "tasks: {{source: toy, select: [parity, topic]}}\nmodel: {model}\ntuned: {tuned}\noutput_dir: {folder}\n"
    study = Study(make_plan(text + "probes: {{examples_per_task: 8}}\n", tuned=tuned))
    loaded: list[str] = []
    load = AutoModelForCausalLM.from_pretrained

    def counted(name: str, **options: Any) -> Any:
        loaded.append(name)
        return load(name, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    study.run(["states"])
    assert loaded == [str(model), str(tuned)]
