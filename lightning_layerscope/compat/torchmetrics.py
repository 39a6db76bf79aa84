"""What is known of torchmetrics beyond its documented interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torchmetrics import Metric


def empty_list_states(metric: Metric) -> Iterator[str]:
    """Names of the states that are lists and have nothing in them."""
    for name, default in metric._defaults.items():
        state = getattr(metric, name)
        if isinstance(default, list) and isinstance(state, list) and not state:
            yield name


def is_synced(metric: Metric) -> bool:
    """Whether the states hold what all processes have seen."""
    return metric._is_synced


def add_states(metric: Metric, incoming: dict[str, Any]) -> None:
    """Reduce another metric's states into this one's, whose kept value is forgotten.

    ``Metric.merge_state`` does the same but refuses a metric that has seen nothing yet.
    """
    metric._reduce_states(incoming)
    metric._computed = None
    metric._update_count = max(metric._update_count, 1)
