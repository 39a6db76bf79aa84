"""All tasks' comparisons, put together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.study import stage_compare, stage_states
from lightning_layerscope.study.rows import FACTS as DATA_FACTS
from lightning_layerscope.study.store import Stage, Store

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Findings:
    """What a study measured.

    Attributes:
        tuned: Role of the tuned model: ``"multitask"``, or ``"tuned"`` where nothing was trained.
        trained: Tasks that the multi-task model was trained on.
        profiles: ``"base"`` and the tuned role against the controls (where there are any), and ``"drift"``, the tuned
            model against the base model; each over all tasks.
        tasks: Per task what its comparison found (``compared.json``).
        data: Per task its counts and covariates (``facts.json``).
        measured: Role to task to facts of its states (``measured.json``, without the losses).
        samples: Role to task to states of a few prompts, (layers, prompts, width).
    """

    tuned: str
    trained: tuple[str, ...]
    profiles: dict[str, LayerProfile]
    tasks: dict[str, dict[str, Any]]
    data: dict[str, dict[str, Any]]
    measured: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    samples: dict[str, dict[str, Array]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All tasks."""
        return list(self.tasks)

    @property
    def clusters(self) -> list[str]:
        """The cluster of each task."""
        return [str(self.data[name]["cluster"]) for name in self.names]

    @property
    def layers(self) -> list[int]:
        """Layer numbers."""
        return self.profiles["drift"].layers

    @property
    def has_controls(self) -> bool:
        """Whether there are controls to compare with."""
        return "base" in self.profiles

    @property
    def trained_here(self) -> bool:
        """Whether the tuned model is the study's own, so that some tasks are known to be seen and others not."""
        return self.tuned == "multitask"

    @property
    def roles(self) -> tuple[str, ...]:
        """The curves that figures show: both models against the control, or the tuned one against the base model."""
        return ("base", self.tuned) if self.has_controls else ("drift",)

    def values(self, tasks: Iterable[str] | None = None) -> dict[str, Array]:
        """Role to values of shape (tasks, layers)."""
        wanted = self.names if tasks is None else list(tasks)
        rows = [self.names.index(name) for name in wanted]
        # Without controls the one curve is the tuned model's, and is drawn as such.
        return {role if role != "drift" else self.tuned: self.profiles[role].matrix()[rows] for role in self.roles}


def gather(stage: Stage, store: Store) -> Findings:
    """Read the results of all ``compare`` stages and of what they rest on."""
    comparisons = {need.name.partition(":")[2]: need for need in stage.needs}
    tasks = {name: _read(store.folder(need) / stage_compare.FACTS) for name, need in comparisons.items()}
    tuned = str(next(iter(tasks.values()))["tuned"])
    data, measured, samples = {}, dict[str, Any](), dict[str, Any]()
    for name, comparison in comparisons.items():
        for need in comparison.needs:
            role = need.name.split(":", 2)[1]
            facts = _read(store.folder(need) / stage_states.FACTS)
            facts.pop("losses")
            measured.setdefault(role, {})[name] = facts
            sample = store.folder(need) / stage_states.SAMPLE
            if sample.is_file():
                samples.setdefault(role, {})[name] = load_file(sample)["states"].float().numpy()
            data[name] = _read(store.folder(need.need(f"data:{name}")) / DATA_FACTS)
    roles = [role for role in ("base", tuned, "drift") if all(_has(store, c, role) for c in comparisons.values())]
    profiles = {
        role: join([LayerProfile.from_parquet(store.folder(c) / f"{role}.parquet") for c in comparisons.values()])
        for role in roles
    }
    return Findings(tuned, tuple(stage.settings["trained"]), profiles, tasks, data, measured, samples)


def join(profiles: Sequence[LayerProfile]) -> LayerProfile:
    """Profiles of single tasks as one.

    Raises:
        ValueError: If they are not of the same layers.
    """
    first = profiles[0]
    for other in profiles:
        if other.layers != first.layers or other.num_layers != first.num_layers:
            raise ValueError(f"expected the same layers for all tasks, got {first.layers} and {other.layers}")
    meta = dict(first.meta)
    meta["tasks"] = [name for profile in profiles for name in profile.tasks]
    meta["clusters"] = {name: cluster for profile in profiles for name, cluster in profile.clusters.items()}
    meta["examples"] = {name: count for profile in profiles for name, count in profile.meta["examples"].items()}
    # Each task has probes of its own; a digest over theirs says whether two studies probed the same prompts.
    for key in ("examples_digest", "tokens_digest", "reference_digest"):
        meta[key] = _together(str(profile.meta[key]) for profile in profiles)
    return LayerProfile(pd.concat([profile.frame for profile in profiles], ignore_index=True), meta)


def _together(digests: Iterable[str]) -> str:
    import hashlib

    found = list(digests)
    return hashlib.sha256("\0".join(found).encode()).hexdigest() if all(found) else ""


def _has(store: Store, stage: Stage, role: str) -> bool:
    return (store.folder(stage) / f"{role}.parquet").is_file()


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def components(findings: Findings) -> dict[str, Array]:
    """Role to components for 99 % of the variance, (tasks, layers)."""
    return {
        role: np.asarray([by_task[name]["components"] for name in findings.names], dtype=float)
        for role, by_task in findings.measured.items()
        if all("components" in by_task[name] for name in findings.names)
    }


def covariates(findings: Findings) -> Mapping[str, list[float]]:
    """What the similarity may correlate with, by the name that the figure shows; one number per task."""

    def column(key: str) -> list[float]:
        return [float("nan") if (v := findings.data[name][key]) is None else float(v) for name in findings.names]

    size = np.asarray(column("train_rows" if findings.trained_here else "test_available"))
    return {
        "prompt length (tokens)": column("prompt_tokens"),
        "data size (log rows)": np.log(np.maximum(size, 1)).tolist(),
        "readability (Flesch)": column("readability"),
    }
