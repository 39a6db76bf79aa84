"""Profiles with a known shape, made without a model."""

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.profiles import COLUMNS, LayerProfile


@pytest.fixture
def make_profile():
    def make(
        tasks=16,
        clusters=5,
        layers=4,
        steps=(0, 10, 20),
        *,
        change=None,
        names=None,
        measure="cka",
        reference="initial",
    ):
        """Value = 1 - .4 x progress x (layer - 1) / layers, plus ``change(step, task position, layer)`` where given."""
        names = names or [f"task {position}" for position in range(tasks)]
        groups = {task: f"cluster {position % clusters}" for position, task in enumerate(names)}
        rows = []
        for number, step in enumerate(steps):
            progress = number / max(1, len(steps) - 1)
            for position, task in enumerate(names):
                for layer in range(1, layers + 1):
                    value = 1 - (0.4 + 0.01 * position) * progress * (layer - 1) / layers
                    value = value if change is None else change(step, position, layer, value)
                    reason = "zero variance" if np.isnan(value) else ""
                    rows.append((step, layer, task, groups[task], measure, "debiased", value, value, value, reason))
        meta = {"measure": measure, "reference": reference, "tasks": names, "clusters": groups}
        return LayerProfile(pd.DataFrame(rows, columns=list(COLUMNS)), meta)

    return make
