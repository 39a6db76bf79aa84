"""One step of a pipeline: what it depends on, how it is done, and how its result is read."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from lightning_layerscope.study.engine.store import Store

ResultT = TypeVar("ResultT", covariant=True)
ContextT = TypeVar("ContextT", bound="Context", contravariant=True)

NOT_IN_FINGERPRINT = {"in_fingerprint": False}
"""Metadata of a field whose stages have to run before, while other results of theirs do not make this one new."""


class Context(Protocol):
    """What stages share while they run: the folder of results, and whatever else a pipeline's stages need."""

    @property
    def store(self) -> Store:
        """Where results are."""

    def at_work(self, stage: Stage[Any, Any]) -> AbstractContextManager[None]:
        """Around the work of one stage."""


class Stage(ABC, Generic[ContextT, ResultT]):
    """One step of a pipeline.

    A subclass is a frozen dataclass. Fields that hold stages, or tuples of stages, are its inputs; all else that its
    result depends on is in :meth:`settings`. ``run`` writes the result, ``load`` reads it: both stand in one class, so
    that no other place knows the files.

    Attributes:
        trains: Whether it trains a model: such stages are counted and asked for before they start.
        revision: Counts up when the meaning of the result changes, so that old results are not taken for new ones.
    """

    trains: ClassVar[bool] = False
    revision: ClassVar[int] = 2

    @property
    @abstractmethod
    def kind(self) -> str:
        """What is done, e.g. ``"states"``; stages of a kind can be asked for together."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Unique among the stages of a pipeline; what a person types. Nothing reads a meaning out of it."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """All that the result depends on besides its inputs; plain JSON values."""

    @abstractmethod
    def run(self, context: ContextT, folder: Path) -> None:
        """Write the result into ``folder``, which is empty."""

    @abstractmethod
    def load(self, store: Store) -> ResultT:
        """Read the result that :meth:`run` wrote.

        Raises:
            DamagedResultError: If a file of it is not what was written.
        """

    @property
    def aliases(self) -> tuple[str, ...]:
        """Shorter names that a person may type, too; several stages can share one."""
        return ()

    @cached_property
    def inputs(self) -> tuple[Stage[Any, Any], ...]:
        """The stages whose results are read, in the order of the fields."""
        return tuple(stage for _, stage in self._inputs())

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything the result depends on: 64 hexadecimal digits."""
        content = {
            "name": self.name,
            "revision": self.revision,
            "settings": self.settings(),
            "inputs": sorted(stage.fingerprint for counts, stage in self._inputs() if counts),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _inputs(self) -> list[tuple[bool, Stage[Any, Any]]]:
        inputs = []
        for field in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, field.name)
            counts = bool(field.metadata.get("in_fingerprint", True))
            inputs += [(counts, each) for each in (value if isinstance(value, tuple) else (value,))]
        return [(counts, stage) for counts, stage in inputs if isinstance(stage, Stage)]
