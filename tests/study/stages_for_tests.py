"""Stages that do nothing but what a test gives them to do."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store

Work = Callable[["Step", Store, Path], None]


@dataclass(frozen=True, eq=False)
class Step(Stage["Steps", str]):
    name: str = "step"  # type: ignore[assignment]
    values: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple["Step", ...] = ()
    kind = "step"

    def settings(self) -> Mapping[str, Any]:
        return self.values

    def run(self, context: "Steps", folder: Path) -> None:
        context.work(self, context.store, folder)

    def load(self, store: Store) -> str:
        return (store.verified(self) / "out").read_text()


class Steps:
    """A context whose steps do `work`."""

    def __init__(self, store: Store, work: Work = lambda step, store, folder: None) -> None:
        self.store, self.work = store, work

    def at_work(self, stage: Stage[Any, Any]) -> AbstractContextManager[None]:
        return nullcontext()
