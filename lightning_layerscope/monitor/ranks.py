"""What the processes of a distributed run agree on: one decision and one small gather per measurement."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch.distributed as dist

from lightning_layerscope.monitor.attempts import Outcome, describe

T = TypeVar("T")


class RanksLostError(RuntimeError):
    """Another process did not answer; the trainer's next collective will say the same."""


class Ranks:
    """The processes of this run.

    Every rank calls :meth:`agree` and :meth:`gather` at the same steps, whatever happened to it before: what may fail
    runs inside :func:`~lightning_layerscope.monitor.attempts.attempt`, and no collective depends on its success. The
    two run in a process group of their own on the CPU, so that nothing waits on, or is counted with, the trainer's.

    Args:
        mode: ``"share"`` gives each rank a part of the tasks; ``"zero"`` leaves all to rank 0, without collectives.
    """

    def __init__(self, mode: Literal["share", "zero"] = "share") -> None:
        active = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if active else 0
        self.processes = dist.get_world_size() if active else 1
        self.world = self.processes if mode == "share" else 1
        self._group: Any = None
        self._lost = False
        if self.world > 1 and dist.is_gloo_available():
            self._group = dist.new_group(backend="gloo", timeout=datetime.timedelta(minutes=30))

    @property
    def leads(self) -> bool:
        """Whether this is the rank that decides, writes and logs."""
        return self.rank == 0

    @property
    def takes_part(self) -> bool:
        """Whether this rank measures at all."""
        return not self._lost and (self.world > 1 or self.leads)

    def agree(self, decide: Callable[[], T]) -> T:
        """Rank 0's decision, on every rank. ``decide`` must not raise; it runs on rank 0 alone.

        Raises:
            RanksLostError: When another process did not answer.
        """
        if self.world == 1:
            return decide()
        box = [decide() if self.leads else None]
        self._collective(lambda: dist.broadcast_object_list(box, src=0, group=self._group))
        return box[0]  # type: ignore[return-value]

    def gather(self, outcome: Outcome[T]) -> list[Outcome[T]]:
        """Every rank's outcome, in order of ranks, on rank 0; an empty list on the others.

        Raises:
            RanksLostError: When another process did not answer.
        """
        if self.world == 1:
            return [outcome]
        gathered: list[Any] | None = [None] * self.world if self.leads else None
        self._collective(lambda: dist.gather_object(outcome, gathered, dst=0, group=self._group))
        return gathered or []

    def close(self) -> None:
        """Give the process group back; the trainer may have torn its own down already."""
        group, self._group = self._group, None
        if group is not None and dist.is_initialized() and not self._lost:
            dist.destroy_process_group(group)

    def _collective(self, run: Callable[[], None]) -> None:
        if self._lost:
            raise RanksLostError("another process of the run is gone")
        try:
            run()
        except Exception as error:
            # From here on the ranks may be out of step: a further collective could hang.
            self._lost = True
            raise RanksLostError(f"another process of the run did not answer ({describe(error)})") from error
