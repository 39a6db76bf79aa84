"""Which model of a study a stage trains or measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Role(ABC):
    """A model's part in a study; a further part is a further subclass."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Short and unique, for stage names, banks, tables and files. Nothing reads a meaning out of it."""

    @property
    def kind(self) -> str:
        """What models of this part are called together."""
        return self.key

    def training_name(self, task: str | None) -> str:
        """Of the stage that trains it, on one task or on several."""
        return self.key if task is None else f"{self.key}:{task}"

    def settings(self) -> Mapping[str, Any]:
        """What distinguishes its training from that of another model of the same recipe; plain JSON values."""
        return {}


@dataclass(frozen=True)
class Base(Role):
    """The model that everything starts from."""

    @property
    def key(self) -> str:
        """``"base"``."""
        return "base"


@dataclass(frozen=True)
class Multitask(Role):
    """The base model fine-tuned on all tasks but the held-out ones, by this study."""

    @property
    def key(self) -> str:
        """``"multitask"``."""
        return "multitask"


@dataclass(frozen=True)
class Tuned(Role):
    """A tuned model that existed before the study."""

    @property
    def key(self) -> str:
        """``"tuned"``."""
        return "tuned"


@dataclass(frozen=True)
class Control(Role):
    """The base model fine-tuned on one task alone.

    Attributes:
        seed: Seed of its training.
        budget: How long it was trained, see ``training.control_budget`` of the plan.
    """

    seed: int = 0
    budget: str = "same_examples"

    @property
    def key(self) -> str:
        """E.g. ``"control@0"``; controls that were not trained by the paper's budget carry theirs."""
        return f"{self.kind}@{self._which}"

    @property
    def kind(self) -> str:
        """``"control"``."""
        return "control"

    def training_name(self, task: str | None) -> str:
        """``control:<task>@<seed>``."""
        return f"{self.kind}:{task}@{self._which}"

    @property
    def _which(self) -> str:
        return f"{self.seed}" + ("" if self.budget == "same_examples" else f"+{self.budget}")

    def settings(self) -> Mapping[str, Any]:
        """Seed and budget."""
        return {"seed": self.seed, "budget": self.budget}
