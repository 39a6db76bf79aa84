"""Held-out losses of the controls while they were trained until they converged, one line per control and epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.study.stages.train import TrainStage


def learning_curves(controls: Iterable[StatesStage], store: Store) -> pd.DataFrame:
    """Losses on the rows set aside, in nats per answer token.

    Args:
        controls: The stages that measured controls which this study trained.
        store: The store of the study.

    Returns:
        ``task``, ``control_seed``, ``control_budget``, ``epoch`` (0: before training), ``loss``, and ``kept``: whether
        the control is the model of that epoch. Empty where no control was trained until it converged.
    """
    rows: list[dict[str, Any]] = []
    for stage in controls:
        assert isinstance(stage.role, Control)
        assert isinstance(stage.model, TrainStage)
        convergence = stage.model.load(store).record.convergence
        if convergence is None:
            continue
        control: dict[str, Any] = {
            "task": stage.task,
            "control_seed": stage.role.seed,
            "control_budget": stage.role.budget,
        }
        rows += [
            {**control, "epoch": epoch, "loss": loss, "kept": epoch == convergence.best_epoch}
            for epoch, loss in enumerate(convergence.losses)
        ]
    curves: pd.DataFrame = pd.DataFrame(rows)
    return curves
