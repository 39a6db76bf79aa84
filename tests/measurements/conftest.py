"""Measurements of made-up states, and records of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_layerscope import HiddenStates, ReferenceBank, RunRecord, take_measurement

LAYERS, TASKS = 8, 10


def random_states(seed=0, *, layers=LAYERS, tasks=TASKS, change=0.0, **changes):
    """States that leave the base from layer 4 on, fully from layer 6 on, by ``change``."""
    base, own = (torch.Generator().manual_seed(s) for s in (0, seed))
    away = change * ((torch.arange(1, layers + 1) - 3) / 3).clamp(0, 1)[:, None, None]
    tensors = {}
    for i in range(tasks):
        start = torch.randn(layers, 20, 12, generator=base)
        tensors[f"task{i}"] = start + away * torch.randn(layers, 20, 12, generator=own)
    known = {
        "layers": tuple(range(1, layers + 1)),
        "num_layers": layers,
        "clusters": {task: "even" if i % 2 == 0 else "odd" for i, task in enumerate(tensors)},
        "example_ids": {task: tuple(str(row) for row in range(20)) for task in tensors},
        "examples_digest": "e" * 64,
        "tokens_digest": "t" * 64,
    }
    return HiddenStates(tensors=tensors, **{**known, **changes})


BANK = ReferenceBank.from_states(random_states(), name="initial")


def measure(step, change=1.0, bank=BANK, **options):
    return take_measurement(random_states(step + 1, change=change), bank, step=step, **options)


def record_of(*steps):
    return RunRecord({"probes": "p.json"}, [measure(step) for step in steps])


def same(first, second):
    assert (first.step, first.transition, first.warnings) == (second.step, second.transition, second.warnings)
    assert (first.seconds, first.overhead) == (second.seconds, second.overhead)
    pd.testing.assert_frame_equal(first.profile.frame, second.profile.frame)
    assert first.profile.meta == second.profile.meta
    np.testing.assert_array_equal(first.layer_x_layer, second.layer_x_layer)
    assert first.task_x_task.keys() == second.task_x_task.keys()
    for layer, matrix in first.task_x_task.items():
        np.testing.assert_array_equal(matrix, second.task_x_task[layer])


def _fixture(value):
    return pytest.fixture(scope="session", name=value.__name__)(lambda: value)


give_random_states, give_measure, give_record_of, give_same = map(_fixture, (random_states, measure, record_of, same))


@pytest.fixture(scope="session")
def initial_bank():
    return BANK


@pytest.fixture
def dies_at(monkeypatch):
    """Let this process die when the file or folder of this name would take its place."""
    original = Path.replace

    def arrange(name):
        def dies(path, target):
            if Path(target).name == name:
                raise KeyboardInterrupt
            return original(path, target)

        monkeypatch.setattr(Path, "replace", dies)

    return arrange
