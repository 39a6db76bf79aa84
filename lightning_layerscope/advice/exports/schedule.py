"""A selection as a schedule of finetuning-scheduler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lightning_layerscope.advice.selection import Selection
from lightning_layerscope.advice.targets import Targets


def finetuning_schedule(
    targets: Targets, selections: Sequence[Selection], *, prefix: str = "model."
) -> dict[int, dict[str, Any]]:
    r"""Phases that thaw one selection after the other (Lightning callback ``FinetuningScheduler``).

    Args:
        targets: Tells how the model names its layers.
        selections: One per phase, first to last; layers of earlier phases stay trainable. One selection is the plain
            case: these layers from the beginning, the rest never.
        prefix: What stands before the model's own names in the LightningModule, ``"model."`` where it is its attribute
            ``model``.

    Returns:
        Phase to its parameters, as the scheduler's YAML holds it; write it with ``yaml.safe_dump``.

    Raises:
        ValueError: For no selection, or a phase that thaws nothing new.

    Example:
        >>> finetuning_schedule(Targets("model.layers", 18, ()), [Selection("middle", (4, 5))])
        {0: {'params': ['model\\.model\\.layers\\.(3|4)\\..*']}}
    """
    if not selections:
        raise ValueError("finetuning_schedule: expected one selection per phase, got none.")
    phases: dict[int, dict[str, Any]] = {}
    thawed: set[int | str] = set()
    for phase, selection in enumerate(selections):
        chosen: tuple[int | str, ...] = selection.modules or selection.layers
        new = [part for part in chosen if part not in thawed]
        if not new:
            raise ValueError(f"finetuning_schedule: phase {phase} ({selection.selector}) thaws nothing new.")
        thawed.update(new)
        if selection.modules:
            patterns = [re.escape(f"{prefix}{name}.weight") for name in new]
        else:
            indices = "|".join(str(int(layer) - 1) for layer in new)
            patterns = [rf"{re.escape(prefix + targets.stack)}\.({indices})\..*"]
        phases[phase] = {"params": patterns}
    return phases
