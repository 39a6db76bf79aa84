"""TensorBoard: scalars and pictures, through the run's own ``SummaryWriter``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightning_layerscope.sinks.keys import KeyPlan, plan_of
from lightning_layerscope.sinks.log_rows import measurement_row

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.sinks.pictures import Picture


class TensorBoardSink:
    """Logs each measurement's scalars and pictures at the host's step.

    The keys are those of :class:`~lightning_layerscope.sinks.WandbSink`; where several pictures share a key (task x
    task at several layers), a number is added to it.

    Args:
        writer: Gives the ``SummaryWriter`` to log to. It is asked every time, since a trainer may open its writer later
            than the monitor starts.
        per_task_keys: Also log one key per task and layer.
    """

    def __init__(self, writer: Callable[[], Any], *, per_task_keys: bool = False) -> None:
        self._writer = writer
        self._per_task_keys = per_task_keys
        self._plan: KeyPlan | None = None

    def start(self, record: RunRecord) -> None:
        """Nothing to prepare."""

    def log(self, measurement: Measurement, record: RunRecord, host_step: int) -> None:
        """Log scalars and pictures.

        Raises:
            RuntimeError: If there is no writer.
        """
        from lightning_layerscope.sinks.pictures import draw_pictures

        writer = self._writer()
        if writer is None:
            raise RuntimeError("TensorBoard is to be logged to, and the trainer has opened no SummaryWriter")
        if self._plan is None:
            self._plan = plan_of(measurement, per_task=self._per_task_keys)
        for key, value in measurement_row(measurement, self._plan).items():
            writer.add_scalar(key, value, int(host_step))
        # The scalars are in the file by now, whatever becomes of the pictures.
        for key, picture in numbered(draw_pictures(measurement, record)):
            pixels = np.asarray(picture.image().convert("RGB"))
            writer.add_image(key, pixels, int(host_step), dataformats="HWC")
        writer.flush()

    def finish(self, record: RunRecord, status: Literal["finished", "exception"]) -> None:
        """Write out what the writer still holds: after an exception nobody else may."""
        writer = self._writer()
        if writer is not None:
            writer.flush()


def numbered(pictures: list[Picture]) -> list[tuple[str, Picture]]:
    """The pictures under keys of their own: ``key``, or ``key/1``, ``key/2``, ... where several share one."""
    times = Counter(picture.key for picture in pictures)
    seen: Counter[str] = Counter()
    keyed = []
    for picture in pictures:
        seen[picture.key] += 1
        keyed.append((f"{picture.key}/{seen[picture.key]}" if times[picture.key] > 1 else picture.key, picture))
    return keyed
