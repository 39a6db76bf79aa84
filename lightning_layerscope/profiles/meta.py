"""What a profile was measured with: typed, frozen, and checked where it comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import index
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ProfileMeta:
    """What a profile's rows were measured with. What is left out, a profile reads off its rows where they hold it.

    Attributes:
        layers: Layers measured, increasing.
        num_layers: Decoder blocks of the model; 0 where only the rows can tell.
        tasks: In the probes' order.
        clusters: The cluster of each task.
        examples: Number of examples of each task; empty where unknown.
        examples_digest: Digest of the probes' examples; ``""`` where unknown, as are the other digests.
        tokens_digest: Digest of the probes' tokens.
        reference: Name of what was compared with.
        reference_digest: Digest of its states.
        measure: The headline measure.
        estimator: Estimator of the headline measure.
        model_name: Name of the model measured.
        confidence: Nominal coverage of the intervals of the rows.
        warnings: Sentences: what makes the values doubtful.
        notes: Sentences: what could not be checked or given.
        extra: What someone else added to a profile, under names that are none of the above; in a file they stand
            beside the others.

    Raises:
        ValueError: If a value cannot be what it should be.
    """

    layers: tuple[int, ...] = ()
    num_layers: int = 0
    tasks: tuple[str, ...] = ()
    clusters: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)
    examples_digest: str = ""
    tokens_digest: str = ""
    reference: str = ""
    reference_digest: str = ""
    measure: str = ""
    estimator: str = ""
    model_name: str = ""
    confidence: float = 0.9
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _typed(each.name, getattr(self, each.name)))

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> ProfileMeta:
        """The typed form of a plain mapping: one that :meth:`to_dict` gave, of any version, or written by hand.

        Args:
            known: Entries by name; None counts as left out, and names that are no attribute go to ``extra``.

        Raises:
            ValueError: If an entry cannot be what it should be.
        """
        names = {each.name for each in fields(cls)} - {"extra"}
        given = {key: value for key, value in known.items() if key in names and value is not None}
        extra = {key: value for key, value in known.items() if key not in names}
        return cls(**given, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the entries of ``extra`` beside the others."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "extra"}
        return {**self.extra, **{key: _plain(value) for key, value in values.items()}}

    def completed(self, frame: pd.DataFrame) -> ProfileMeta:
        """Everything that the rows can tell filled in, checked against the rows.

        Raises:
            ValueError: If the rows hold layers or tasks that are not listed, or a task has no cluster.
        """
        known = frame.drop_duplicates("task")
        tasks = self.tasks or tuple(known["task"])
        clusters = self.clusters or dict(zip(known["task"], known["cluster"], strict=True))
        layers = self.layers or tuple(int(layer) for layer in np.sort(frame["layer"].unique()))
        for column, allowed in (("task", tasks), ("layer", layers)):
            foreign = sorted(set(frame[column].unique().tolist()) - set(allowed))
            if foreign:
                raise ValueError(
                    f"expected rows of the {column}s in meta, got {foreign[:5]}; list them in its `{column}s`"
                )
        lost = [task for task in tasks if task not in clusters]
        if lost:
            raise ValueError(f"expected a cluster for every task in meta, got none for {lost[:5]}; add its `clusters`")
        return replace(
            self,
            layers=layers,
            num_layers=self.num_layers or max(layers, default=0),
            tasks=tasks,
            clusters=clusters,
            measure=self.measure or _first(frame, "measure"),
            estimator=self.estimator or _first(frame, "estimator"),
        )


def _first(frame: pd.DataFrame, column: str) -> str:
    return str(frame[column].iloc[0]) if len(frame) else ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _typed(key: str, value: Any) -> Any:
    """One entry as its type.

    Raises:
        ValueError: If it cannot be.
    """
    expected, convert = _KINDS[key]
    try:
        return convert(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected {expected} as {key!r} of a profile's meta, got {value!r}") from error


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):  # would fall apart into its letters
        raise TypeError("a text is no list")
    return tuple(str(each) for each in value)


_KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "layers": ("a list of numbers", lambda value: tuple(index(each) for each in value)),
    "num_layers": ("a whole number", index),
    "clusters": ("a text for each task", lambda value: {str(task): str(each) for task, each in dict(value).items()}),
    "examples": ("a number for each task", lambda value: {str(task): index(n) for task, n in dict(value).items()}),
    "confidence": ("a number", float),
    "extra": ("a mapping", dict),
    **dict.fromkeys(("tasks", "warnings", "notes"), ("a list of texts", _texts)),
    **dict.fromkeys(
        ("examples_digest", "tokens_digest", "reference", "reference_digest", "measure", "estimator", "model_name"),
        ("a text", str),
    ),
}
"""What each entry is, in words, and how it becomes that."""
