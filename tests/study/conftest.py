"""A small model on disk, and plans over a few toy tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.study import Study
from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer

PLAN = """
model: {model}
output_dir: {folder}
tasks: {{source: toy, select: [larger_number, parity, last_word, to_lumi]}}
held_out: [translation]
training: {{learning_rate: 1e-2, epochs: 1, batch_size: 32, accumulate: 1, max_examples_per_cluster: 128,
           control_budget: same_examples}}
probes: {{examples_per_task: 24, min_examples: 8}}
threads: 1
"""


def save_model(folder: Path, *, layers: int = 2, width: int = 16, seed: int = 0) -> Path:
    tokenizer = train_tokenizer(toy_tasks(train=16, test=8).texts("train"), vocab_size=400)
    model = small_llama(tokenizer, width=width, layers=layers, heads=2, max_length=256, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


MakePlan = Callable[..., StudyPlan]


@pytest.fixture
def make_plan(tmp_path: Path, model: Path) -> MakePlan:
    def make(text: str = PLAN, **values: Any) -> StudyPlan:
        path = tmp_path / "plan.yaml"
        path.write_text(text.format(**{"model": model, "folder": tmp_path / "study", **values}))
        return StudyPlan.from_yaml(path)

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Study:
    """A study that ran undisturbed from beginning to end."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "plan.yaml"
    path.write_text(PLAN.format(model=model, folder=folder / "study"))
    study = Study.from_yaml(path)
    study.run()
    return study
