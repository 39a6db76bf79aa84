"""The keys under which a run is logged: made from its names once, within a budget."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile

ROOT = "layerscope"
STEP, LAYER, DEPTH = f"{ROOT}/step", f"{ROOT}/layer", f"{ROOT}/depth"
SECONDS, OVERHEAD, RESULTS = f"{ROOT}/seconds", f"{ROOT}/overhead", f"{ROOT}/results"
BOUNDARIES = tuple(f"{ROOT}/transition/{name}{end}" for name in ("start", "end") for end in ("", "_low", "_high"))
CURVE = f"{ROOT}/curve/layers"
HEATMAPS = {name: f"{ROOT}/heatmap/{name}" for name in ("layer_x_task", "layer_x_layer", "layer_x_step", "task_x_task")}

ALL = ("all", "all_low", "all_high")
"""Columns of a profile's rows that are no cluster."""


def slug(name: str) -> str:
    """A name with only ``[A-Za-z0-9_]``; one without any such letter becomes a digest.

    Examples:
        >>> slug("reading comp. (RC)"), slug("sst2")
        ('reading_comp_RC', 'sst2')
    """
    words = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return words or f"x{_digest(name)}"


def slugs(names: Iterable[str], *, taken: Collection[str] = ()) -> dict[str, str]:
    """A slug for every name, all different: those that would be alike carry a digest of their name.

    Examples:
        >>> slugs(["a b", "c"])
        {'a b': 'a_b', 'c': 'c'}
        >>> sorted(slugs(["a b", "a-b", "all"], taken=["all"]).values())
        ['a_b_c8687a', 'a_b_d44362', 'all_5ef5ef']
    """
    unique = list(dict.fromkeys(names))
    times = Counter([*map(slug, unique), *taken])
    return {name: slug(name) if times[slug(name)] == 1 else f"{slug(name)}_{_digest(name)}" for name in unique}


def layer_key(measure: str, layer: int) -> str:
    """Key of the mean over tasks at one layer."""
    return f"{ROOT}/{slug(measure)}/layer_{layer:02d}"


@dataclass(frozen=True)
class KeyPlan:
    """Which keys a run uses.

    Attributes:
        measure: the headline measure.
        layers: those measured.
        clusters: cluster to slug.
        tasks: task to slug; empty unless keys per task are asked for.
        curves: which profile rows there are: ``final``, and ``init`` where the first measurement says something.
        cluster_means: whether the clusters' means have keys.
        cluster_rows: the curves whose clusters have keys.
        left_out: what did not fit, in words.
    """

    measure: str
    layers: tuple[int, ...]
    clusters: dict[str, str]
    tasks: dict[str, str] = field(default_factory=dict)
    curves: tuple[str, ...] = ("final",)
    cluster_means: bool = True
    cluster_rows: tuple[str, ...] = ("final",)
    left_out: tuple[str, ...] = ()

    def scalars(self) -> list[str]:
        """Keys over ``layerscope/step`` whose values are numbers."""
        name = f"{ROOT}/{slug(self.measure)}"
        found = [layer_key(self.measure, layer) for layer in self.layers]
        if self.cluster_means:
            found += [f"{name}/cluster/{cluster}" for cluster in self.clusters.values()]
        found += [*BOUNDARIES, SECONDS, OVERHEAD]
        found += [f"{name}/task/{task}/layer_{layer:02d}" for task in self.tasks.values() for layer in self.layers]
        return found

    def media(self) -> list[str]:
        """Keys over ``layerscope/step`` of pictures and the table."""
        return [CURVE, *HEATMAPS.values(), RESULTS]

    def over_layers(self) -> list[str]:
        """Keys over ``layerscope/layer``."""
        found = [DEPTH]
        for curve in self.curves:
            found += [f"{ROOT}/profile_{curve}/{column}" for column in ALL]
            if curve in self.cluster_rows:
                found += [f"{ROOT}/profile_{curve}/{cluster}" for cluster in self.clusters.values()]
        return found

    def count(self) -> int:
        """Number of all keys, with both axes and the host's step."""
        return len(self.scalars()) + len(self.media()) + len(self.over_layers()) + 3


def plan_keys(profile: LayerProfile, *, per_task: bool = False) -> KeyPlan:
    """Choose the keys of a run: at most 150, or ``2 x layers + 100`` where that is more.

    Many clusters may not fit: then the clusters of the first profile, those of the last and at last the clusters' means
    do without keys of their own (the table, the artifact and the pictures hold them), which ``left_out`` says. Keys per
    task come on top, since they were asked for.
    """
    layers = tuple(profile.layers)
    clusters = slugs(profile.clusters[task] for task in profile.tasks) if profile.tasks else {}
    clusters = slugs(clusters, taken=ALL)
    # Against its own start, the first profile is 1 everywhere.
    curves: tuple[str, ...] = ("final",) if profile.meta.get("reference") == "initial" else ("init", "final")
    budget = max(150, 2 * len(layers) + 100)
    means, rows = True, curves
    left_out: list[str] = []
    while True:
        plan = KeyPlan(profile.measure, layers, clusters, {}, curves, means, rows, tuple(left_out))
        if plan.count() <= budget or not (means or rows):
            break
        if rows:
            left_out.append(f"{len(clusters)} clusters in profile_{rows[0]}")
            rows = rows[1:]
        else:
            left_out.append(f"the means of {len(clusters)} clusters")
            means = False
    tasks = slugs(profile.tasks) if per_task else {}
    return KeyPlan(profile.measure, layers, clusters, tasks, curves, means, rows, tuple(left_out))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
