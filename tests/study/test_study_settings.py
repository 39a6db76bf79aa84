"""Which stages each setting of a plan makes new, and no others: what is not named here is kept."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lightning_layerscope.study.engine.store import AnyStage
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.study.study import Study

from .conftest import save_model

NOTHING: set[str] = set()
RESULTS = {"results"}
COMPARISONS = {"compare", *RESULTS}
STATES = {"states of base", "states of multitask", "states of control", *COMPARISONS}
PROMPTS = {"probes", *STATES}
CONTROLS = {"control", "states of control", *COMPARISONS}
MULTITASK = {"multitask", "states of multitask", *COMPARISONS}
TRAININGS = MULTITASK | CONTROLS
ROWS = {"data", *TRAININGS}
TRAININGS_AND_STATES = TRAININGS | STATES

# Setting to (its other value, the stages that are new with it).
SETTINGS: dict[str, tuple[Any, set[str]]] = {
    "name": ("another", RESULTS),
    "output_dir": ("elsewhere", NOTHING),
    "model": ("other", TRAININGS_AND_STATES | {"probes"}),
    "tasks.source": ("other_tasks", ROWS | PROMPTS),
    "tasks.columns": ({"input": "note"}, ROWS | PROMPTS),
    "tasks.clusters": ({"first": "third cluster", "second": "second cluster"}, PROMPTS),
    "tasks.select": (["first", "second", "third"], {*ROWS, *PROMPTS}),
    "tasks.train_split": ("spare", ROWS),
    "tasks.test_split": ("spare", PROMPTS),
    "held_out": (["first cluster"], MULTITASK),
    "template.text": ("{input}\n", TRAININGS | PROMPTS),
    "template.chat": (True, TRAININGS | PROMPTS),
    "template.system": ("Be brief.", TRAININGS | PROMPTS),
    "training.method": ("full", TRAININGS),
    "training.target_modules": (["q_proj"], TRAININGS),
    "training.rank": (4, TRAININGS),
    "training.alpha": (4, TRAININGS),
    "training.dropout": (0.1, TRAININGS),
    "training.learning_rate": (1e-3, TRAININGS),
    "training.warmup": (0.1, TRAININGS),
    "training.weight_decay": (0.1, TRAININGS),
    "training.epochs": (2, TRAININGS),
    "training.batch_size": (2, TRAININGS),
    "training.accumulate": (2, TRAININGS),
    "training.max_length": (64, TRAININGS_AND_STATES),
    "training.max_examples_per_cluster": (8, ROWS),
    "training.max_examples_per_task": (4, ROWS),
    "training.precision": ("bf16-mixed", TRAININGS),
    "training.seed": (1, ROWS),
    "training.control_seeds": ([0, 1], CONTROLS),
    "training.control_budget": ("equal_steps", CONTROLS),
    "training.control_max_epochs": (5, NOTHING),
    "training.monitor_every_n_steps": (4, TRAININGS),
    "training.monitor_examples": (6, TRAININGS),
    "training.accelerator": ("cpu", TRAININGS_AND_STATES),
    "training.strategy": ("ddp_spawn", TRAININGS),
    "probes.examples_per_task": (10, PROMPTS),
    "probes.max_length": (64, PROMPTS),
    "probes.token_choice": ("mean_prompt", PROMPTS),
    "probes.min_examples": (6, NOTHING),
    "probes.seed": (1, PROMPTS),
    "probes.scored_rows": (8, PROMPTS),
    "extra_controls": ([{"tasks": ["first"], "seeds": [1], "budget": "equal_steps"}], CONTROLS),
    "estimator": ("biased", COMPARISONS),
    "measures": (["cka", "rsa"], COMPARISONS),
    "confidence": (0.8, COMPARISONS),
    "layer_check": ({"rows_per_task": 8}, {"check"} | RESULTS),
    "map_layers": ([2], RESULTS),
    "executor": ("ray", NOTHING),
    "ray.address": ("auto", NOTHING),
    "ray.workers": (1, NOTHING),
    "ray.cpus_per_stage": (2, NOTHING),
    "ray.gpus_per_stage": (1, NOTHING),
    "ray.retries": (0, NOTHING),
    "threads": (2, TRAININGS_AND_STATES),
    "max_tokens_per_batch": (4096, STATES),
    "dtype": ("bfloat16", TRAININGS_AND_STATES),
    "bank_dtype": ("float32", STATES),
    "wandb": ({"project": "p"}, NOTHING),
}
# Cannot stand alone, or beside trainings; see the tests below.
ELSEWHERE = {"training.devices", "tuned", "controls"}


def settings_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Dotted names of all settings; groups are named by what is in them."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{before}{name}.")
        else:
            yield before + name


def test_every_setting_is_thought_of() -> None:
    assert {*settings_of(StudyPlan)} == {*SETTINGS, *ELSEWHERE}


def write_tasks(folder: Path, word: str) -> None:
    folder.mkdir()
    for name in ("first", "second", "third"):
        rows = [
            {
                "split": split,
                "instruction": "Say it.",
                "input": f"{word} {split} {number}",
                "note": f"note {split} {number}",
                "output": f"{number}",
            }
            for split in ("train", "test", "spare")
            for number in range(30)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("settings")
    write_tasks(root / "tasks", "word")
    write_tasks(root / "other_tasks", "other")
    for seed, name in enumerate(("model", "other", "tuned")):
        save_model(root / name, seed=seed)
    return root


def settings(root: Path) -> dict[str, Any]:
    return {
        "model": str(root / "model"),
        "output_dir": str(root / "study"),
        "tasks": {
            "source": str(root / "tasks"),
            "select": ["first", "second"],
            "clusters": {"first": "first cluster", "second": "second cluster"},
        },
        "training": {"epochs": 1, "control_budget": "same_examples"},
        "probes": {"examples_per_task": 12, "min_examples": 5},
        "threads": 1,
    }


def with_setting(content: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(content)
    *groups, last = name.split(".")
    inner = content
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[last] = value
    return content


def stages(content: dict[str, Any]) -> dict[str, AnyStage]:
    return dict(Study(StudyPlan.model_validate(content)).graph.stages)


def new_stages(before: dict[str, Any], after: dict[str, Any]) -> list[AnyStage]:
    known = {stage.fingerprint for stage in stages(before).values()}
    return [stage for stage in stages(after).values() if stage.fingerprint not in known]


def group_of(stage: AnyStage) -> str:
    return f"states of {stage.role.kind}" if isinstance(stage, StatesStage) else stage.kind


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_setting_makes_new(root: Path, name: str) -> None:
    value, expected = SETTINGS[name]
    if name in ("model", "output_dir", "tasks.source"):
        value = str(root / value)
    before = settings(root)
    after = with_setting(before, name, value)
    new = new_stages(before, after)
    assert {group_of(stage) for stage in new} == expected
    if name == "tasks.select":
        # The multi-task model is trained on the further task, too; every other stage is the further task's own.
        others = [stage for stage in new if stage.kind not in ("multitask", "results")]
        assert all("third" in stage.name or "multitask" in stage.name for stage in others if stage.kind != "compare")
        assert not [stage for stage in new if stage.kind == "control" and "third" not in stage.name]
    elif name == "training.control_seeds":
        assert all("@1" in stage.name for stage in new if stage.kind in ("control", "states"))
    elif name == "extra_controls":
        assert {stage.name for stage in new if stage.trains} == {"control:first@1+equal_steps"}
        assert {stage.task for stage in new if stage.kind != "results"} == {"first"}
    elif name == "tasks.clusters":
        assert {stage.task for stage in new if isinstance(stage, StatesStage)} == {"first"}


def test_the_bound_of_convergence_concerns_controls_that_converge(root: Path) -> None:
    converged = with_setting(settings(root), "training.control_budget", "converged")
    bounded = with_setting(converged, "training.control_max_epochs", 5)
    assert {group_of(stage) for stage in new_stages(converged, bounded)} == CONTROLS
    # Rows beyond a task's share serve to judge by, so that the multi-task model stays as it is.
    few = with_setting(settings(root), "training.max_examples_per_cluster", 10)
    new = new_stages(few, with_setting(few, "training.control_budget", "converged"))
    assert {group_of(stage) for stage in new} == {"validation", *CONTROLS}


def test_devices_with_their_strategy(root: Path) -> None:
    one = with_setting(settings(root), "training.strategy", "ddp_spawn")
    assert {group_of(stage) for stage in new_stages(one, with_setting(one, "training.devices", 2))} == TRAININGS


def test_another_tuned_model_is_measured_anew_and_nothing_else(root: Path) -> None:
    content = {key: value for key, value in settings(root).items() if key != "training"}
    one, two = (with_setting(content, "tuned", str(root / name)) for name in ("tuned", "other"))
    new = new_stages(one, two)
    assert {group_of(stage) for stage in new} == {"states of tuned", "compare", "results"}
    assert not [stage for stage in new if stage.trains]


def test_controls_that_are_taken_over_change_the_comparisons_alone(
    finished: Study, tmp_path: Path, model: Path
) -> None:
    content = finished.plan.model_dump()
    for name in ("control_seeds", "control_budget", "control_max_epochs"):
        del content["training"][name]
    taken = with_setting(content, "controls", str(finished.results / "controls"))
    new = new_stages(finished.plan.model_dump(), taken)
    assert {group_of(stage) for stage in new} == {"import", "compare", "results"}


def test_half_the_rows_train_again_and_half_the_prompts_train_nothing(root: Path) -> None:
    before = settings(root)
    fewer_rows = new_stages(before, with_setting(before, "training.max_examples_per_cluster", 10))
    assert {stage.name for stage in fewer_rows if stage.trains} == {
        "multitask",
        "control:first@0",
        "control:second@0",
    }
    assert not [stage for stage in fewer_rows if group_of(stage) in ("probes", "states of base")]
    fewer_prompts = new_stages(before, with_setting(before, "probes.examples_per_task", 6))
    assert not [stage for stage in fewer_prompts if stage.trains or stage.kind == "data"]


def test_a_row_more_in_a_task_concerns_that_task(root: Path, tmp_path: Path) -> None:
    before, after = settings(root), settings(root)
    write_tasks(tmp_path / "tasks", "word")
    after["tasks"]["source"] = str(tmp_path / "tasks")
    assert new_stages(before, after) == []
    with (tmp_path / "tasks" / "first.jsonl").open("a") as file:
        row = {"split": "test", "instruction": "Say it.", "input": "more", "output": "1"}
        file.write(json.dumps(row) + "\n")
    new = new_stages(before, after)
    # A held-out row more: nothing is trained, and only the task itself is measured.
    assert not [stage for stage in new if stage.trains]
    assert {stage.task for stage in new if stage.kind != "results"} == {"first"}
