"""Which examples, layers and model hidden states are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from lightning_layerscope.tasks.task import UNCLUSTERED

MIN_EXAMPLES = 4
"""The debiased estimator divides by n (n - 3)."""


@dataclass(frozen=True)
class Identity:
    """Everything about hidden states but their values.

    Attributes:
        name: What they are, e.g. ``"initial"``.
        layers: Numbers of the layers, in order.
        num_layers: Decoder blocks of the model.
        clusters: Cluster of each task.
        example_ids: Per task the ids of its rows, in order.
        examples_digest: Digest of the prompts; ``""`` where unknown.
        tokens_digest: Digest of prompts, tokens and pooling; ``""`` where unknown.
        model_name: ``""`` where unknown.
        partial: Whether these are some of the tasks that the digests cover.
    """

    name: str
    layers: tuple[int, ...]
    num_layers: int
    clusters: dict[str, str]
    example_ids: dict[str, tuple[str, ...]]
    examples_digest: str = ""
    tokens_digest: str = ""
    model_name: str = ""
    partial: bool = False

    def select(self, tasks: Sequence[str]) -> Identity:
        """The same for some tasks alone."""
        return replace(
            self,
            clusters={task: self.clusters[task] for task in tasks},
            example_ids={task: self.example_ids[task] for task in tasks},
            partial=self.partial or set(tasks) != set(self.example_ids),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Identity:
        """The inverse of :meth:`to_dict`, also after a way through JSON."""
        ids = {task: tuple(rows) for task, rows in values["example_ids"].items()}
        return cls(**{**values, "layers": tuple(values["layers"]), "example_ids": ids})


def concat_identities(parts: Sequence[Identity]) -> Identity:
    """The identity of all tasks together.

    Raises:
        ValueError: For no parts, for tasks that two parts have, or parts that differ in anything but their tasks.
    """
    if not parts:
        raise ValueError("expected at least one reference bank to join, got none")
    first = parts[0]
    clusters: dict[str, str] = {}
    ids: dict[str, tuple[str, ...]] = {}
    for position, part in enumerate(parts):
        for key in ("name", "layers", "num_layers", "examples_digest", "tokens_digest", "model_name"):
            if getattr(part, key) != getattr(first, key):
                raise ValueError(
                    f"expected parts of one reference, got bank {position} with {key}={getattr(part, key)!r} where the "
                    f"first has {getattr(first, key)!r}; extract all with one ProbeSet and model"
                )
        if twice := sorted(set(part.example_ids) & set(ids)):
            raise ValueError(f"expected each task in one bank, got {twice[:5]} in bank {position} again; drop one")
        clusters |= part.clusters
        ids |= part.example_ids
    return replace(first, clusters=clusters, example_ids=ids, partial=any(part.partial for part in parts))


def identify(states: Mapping[str, Tensor], name: str = "") -> Identity:
    """Read the identity of hidden states, and check their shapes.

    Args:
        states: ``HiddenStates``, or a plain mapping task -> ``(layers, examples, width)``, which is numbered by
            position and has no clusters.
        name: What they are.

    Raises:
        ValueError: For no tasks, other shapes, different layers, or fewer than 4 examples.
    """
    if not states:
        raise ValueError("expected hidden states of at least one task, got none")
    shapes = {task: tuple(states[task].shape) for task in states}
    count = len(getattr(states, "layers", ())) or next(iter(shapes.values()))[0]
    for task, shape in shapes.items():
        if len(shape) != 3 or shape[0] != count:
            expected = f"({count} layers, examples, width)"
            raise ValueError(f"expected states of shape {expected} for task {task!r}, got {shape}")
        if shape[1] < MIN_EXAMPLES:
            raise ValueError(
                f"expected at least {MIN_EXAMPLES} examples for task {task!r}, got {shape[1]}; "
                "probe more or leave it out"
            )
    layers = tuple(int(layer) for layer in getattr(states, "layers", range(1, count + 1)))
    ids: Mapping[str, Sequence[str]] = getattr(states, "example_ids", None) or {
        task: [str(row) for row in range(shape[1])] for task, shape in shapes.items()
    }
    clusters: Mapping[str, str] = getattr(states, "clusters", None) or {}
    for task, shape in shapes.items():
        if len(ids[task]) != shape[1]:
            raise ValueError(f"expected an id per example of task {task!r}, got {len(ids[task])} for {shape[1]} rows")
    return Identity(
        name=name,
        layers=layers,
        num_layers=int(getattr(states, "num_layers", 0) or max(layers)),
        clusters={task: str(clusters.get(task, UNCLUSTERED)) for task in states},
        example_ids={task: tuple(ids[task]) for task in states},
        examples_digest=str(getattr(states, "examples_digest", "") or ""),
        tokens_digest=str(getattr(states, "tokens_digest", "") or ""),
        model_name=str(getattr(states, "model_name", "") or ""),
    )
