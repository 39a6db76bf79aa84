"""Trackers beside W&B and TensorBoard: what each has to offer, and the one sink that hands a run to any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning_layerscope.sinks.keys import CURVES, ROOT, KeyPlan, alert_title, plan_of, under
from lightning_layerscope.sinks.log_rows import measurement_row, profile_lines
from lightning_layerscope.sinks.patience import SECONDS_TO_FINISH, SECONDS_TO_LOG, Patience
from lightning_layerscope.sinks.picture import numbered

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.measurements.alert import Alert
    from lightning_layerscope.sinks.picture import Picture

Lines = Mapping[str, tuple[list[int], list[float]]]
"""Name of a line -> the layers at which it is defined, and its values there."""


class Tracker:
    """One tracker's own calls. What it has none for is left out: a curve is a picture then.

    Args:
        handle: The trainer's logger, or the tracker's own object.
    """

    name = "a tracker"
    takes = "scalars and pictures"
    """What arrives, in words."""
    own_steps = False
    """Whether pictures and curves lie in files of their own, by the monitor's step: the host's may have two of them."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    @property
    def own(self) -> Any:
        """The tracker's own object, where the handle is a logger of Lightning around it."""
        return self.handle.experiment if hasattr(self.handle, "log_hyperparams") else self.handle

    def log_row(self, row: Mapping[str, float], step: int) -> None:
        """Log numbers at the host's step."""
        raise NotImplementedError

    def log_pictures(self, pictures: Sequence[tuple[str, Picture]], step: int) -> None:
        """Log pictures under keys of their own, at the host's step of their measurement."""
        raise NotImplementedError

    def log_curves(self, key: str, lines: Lines, step: int) -> None:
        """Log a profile over the layers under a key, at the host's step."""

    def alert(self, title: str, text: str) -> None:
        """Tell people; only where the tracker has a call for it."""

    def close(self) -> None:
        """The last call; the run of the host goes on."""


class TrackerSink:
    """Logs each measurement's scalars, pictures and curves at the host's step, by the tracker's own calls.

    The keys are those of :class:`~lightning_layerscope.sinks.WandbSink`; where several pictures share a key, a number
    is added to it. Training waits at most 10 s for a tracker, 30 s at the end; then nothing more is logged to it.

    Args:
        tracker: Whose calls.
        per_task_keys: Also log one key per task and layer.
        root: Where the keys begin.
    """

    def __init__(self, tracker: Tracker, *, per_task_keys: bool = False, root: str = ROOT) -> None:
        self._tracker, self._per_task_keys, self._root = tracker, per_task_keys, root
        self._patience = Patience(tracker.name)
        self._plan: KeyPlan | None = None

    @property
    def target(self) -> Any:
        """What is logged to."""
        return self._tracker.handle

    @property
    def name(self) -> str:
        """The tracker's, for messages."""
        return self._tracker.name

    @property
    def arrives(self) -> str:
        """What is logged where."""
        return f"{self._tracker.takes} to {self._tracker.name}"

    def start(self, record: RunRecord) -> None:
        """Nothing to prepare."""

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log the scalars and the curves."""
        plan = self._plan = self._plan or plan_of(measurement, per_task=self._per_task_keys, root=self._root)
        row = measurement_row(measurement, plan)
        lines = profile_lines(measurement, plan)

        def log() -> None:
            self._tracker.log_row(row, int(host_step))
            self._tracker.log_curves(under(self._root, CURVES), lines, self._place(measurement.step, host_step))

        self._patience.call(log, SECONDS_TO_LOG)

    def wants_pictures(self, record: RunRecord) -> bool:
        """Of every measurement."""
        return True

    def log_pictures(self, pictures: Sequence[Picture], *, step: int, host_step: int, last: bool) -> bool:
        """Log them at the step at which they were measured."""
        keyed = [(under(self._root, key), picture) for key, picture in numbered(pictures)]
        place = self._place(step, host_step)
        self._patience.call(lambda: self._tracker.log_pictures(keyed, place), SECONDS_TO_LOG)
        return True

    def alert(self, alert: Alert) -> None:
        """Send an alert, where the tracker has such."""
        title = alert_title(self._root, alert.kind)
        self._patience.call(lambda: self._tracker.alert(title, alert.text), SECONDS_TO_LOG)

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Log what a tracker gets once."""
        self._patience.call(self._tracker.close, SECONDS_TO_FINISH)

    def _place(self, step: int, host_step: int) -> int:
        return int(step if self._tracker.own_steps else host_step)


def tidy(lines: Lines, step: int) -> dict[str, list[Any]]:
    """Lines as columns of a table: step, line, layer, value."""
    points = [
        (name, layer, value)
        for name, (layers, values) in lines.items()
        for layer, value in zip(layers, values, strict=True)
    ]
    columns = [list(column) for column in zip(*points, strict=True)] or [[], [], []]
    return {"step": [step] * len(points), **dict(zip(("line", "layer", "value"), columns, strict=True))}
