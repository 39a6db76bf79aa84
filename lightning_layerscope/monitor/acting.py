"""What a run does with what was found: numbers for the trainer's own callbacks, and a reason to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.monitor.settings import Settings


@dataclass(frozen=True)
class Standing:
    """The same on all processes.

    Attributes:
        values: The numbers of the last measurement by the keys under which loggers get them.
        stop: Why training ends; empty where it goes on.
    """

    values: dict[str, float] = field(default_factory=dict)
    stop: str = ""


def standing(settings: Settings, record: RunRecord, log: Callable[[str], None]) -> Standing:
    """What the last measurement asks for; that training ends is noted in the record and told.

    Args:
        settings: What the user asked for.
        record: Of the run.
        log: Is told that training ends.
    """
    if not record.measurements:
        return Standing()
    actions = settings.actions
    last = record.measurements[-1]
    values = {}
    if actions.callback_metrics:
        from lightning_layerscope.sinks.keys import plan_of, root_of
        from lightning_layerscope.sinks.log_rows import measurement_row

        values = measurement_row(last, plan_of(last, root=root_of(settings.output.name)))
    stop = next((alert.text for alert in last.alerts if alert.kind in actions.stop_kinds), "")
    if stop:
        record.config["stopped"] = stop
        log(f"training ends, as stop_when asks: {stop}")
    return Standing(values, stop)
