"""The keys under which a run is logged: made from its names once, within a budget."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements import Measurement
    from lightning_layerscope.profiles import LayerProfile

ROOT = "layerscope"
STEP = f"{ROOT}/step"
PICTURE_STEP = f"{ROOT}/picture_step"
"""The axis of pictures, which come later than the numbers: a row may hold numbers of one step, pictures of another."""
SECONDS, OVERHEAD, RESULTS = f"{ROOT}/seconds", f"{ROOT}/overhead", f"{ROOT}/results"
BOUNDARIES = tuple(f"{ROOT}/transition/{name}{end}" for name in ("start", "end") for end in ("", "_low", "_high"))
CURVE = f"{ROOT}/curve/layers"
HEATMAPS = {name: f"{ROOT}/heatmap/{name}" for name in ("layer_x_task", "layer_x_layer", "layer_x_step", "task_x_task")}

ALL = ("all", "all_low", "all_high")
"""Lines of a profile's chart that are no cluster."""


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


def score_keys(signal: str, task: str = "") -> tuple[str, ...]:
    """Keys of a number with its interval: of the mean over tasks, with both ends, or of one task by its slug.

    Examples:
        >>> score_keys("retention/loss"), score_keys("answers/kl", "sst2")
        (('layerscope/retention/loss', 'layerscope/retention/loss_low', 'layerscope/retention/loss_high'), \
('layerscope/answers/kl/task/sst2',))
    """
    name = f"{ROOT}/{signal}"
    return (f"{name}/task/{task}",) if task else (name, f"{name}_low", f"{name}_high")


def profile_key(curve: str) -> str:
    """Key of the chart of a whole profile, ``"init"`` or ``"final"``."""
    return f"{ROOT}/profile_{curve}"


@dataclass(frozen=True)
class KeyPlan:
    """Which keys a run uses.

    Attributes:
        measure: the headline measure.
        layers: those measured.
        clusters: cluster to slug.
        tasks: task to slug; empty unless keys per task are asked for.
        curves: which charts of profiles there are: ``final``, and ``init`` where the first measurement says something.
        cluster_means: whether the clusters' means have keys.
        left_out: what did not fit, in words.
        signals: what is logged per layer beside the headline measure.
        scores: what is logged per task and as a mean over tasks: signal to its tasks' slugs.
    """

    measure: str
    layers: tuple[int, ...]
    clusters: dict[str, str]
    tasks: dict[str, str] = field(default_factory=dict)
    curves: tuple[str, ...] = ("final",)
    cluster_means: bool = True
    left_out: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    scores: dict[str, dict[str, str]] = field(default_factory=dict)

    def scalars(self) -> list[str]:
        """Keys over ``layerscope/step`` whose values are numbers."""
        name = f"{ROOT}/{slug(self.measure)}"
        keys = [layer_key(self.measure, layer) for layer in self.layers]
        if self.cluster_means:
            keys += [f"{name}/cluster/{cluster}" for cluster in self.clusters.values()]
        keys += [*BOUNDARIES, SECONDS, OVERHEAD]
        keys += [f"{name}/task/{task}/layer_{layer:02d}" for task in self.tasks.values() for layer in self.layers]
        keys += [layer_key(signal, layer) for signal in self.signals for layer in self.layers]
        for signal, tasks in self.scores.items():
            keys += [key for task in ("", *tasks.values()) for key in score_keys(signal, task)]
        return keys

    def pictures(self) -> list[str]:
        """Keys over ``layerscope/picture_step``."""
        return [CURVE, *HEATMAPS.values()]

    def media(self) -> list[str]:
        """Keys over ``layerscope/step`` of charts and the table."""
        charts = [profile_key(curve) for curve in self.curves]
        # W&B logs the numbers of a chart as a table beside it.
        return [RESULTS, *charts, *(f"{chart}_table" for chart in charts)]

    def count(self) -> int:
        """Number of all keys, with both axes and the host's step."""
        return len(self.scalars()) + len(self.pictures()) + len(self.media()) + 3


def plan_of(measurement: Measurement, *, per_task: bool = False) -> KeyPlan:
    """The keys of a run, by its first measurement: those of :func:`plan_keys`, and on top what was asked for beside."""
    plan = plan_keys(measurement.profile, per_task=per_task)
    scores = {signal: slugs(task for task in tasks if task) for signal, tasks in measurement.behaviour.scores.items()}
    return replace(plan, signals=tuple(measurement.curves), scores=scores)


def plan_keys(profile: LayerProfile, *, per_task: bool = False) -> KeyPlan:
    """Choose the keys of a run: at most 150, or ``2 x layers + 100`` where that is more.

    Where many clusters do not fit, their means do without keys of their own (charts, pictures, table and artifact hold
    them), which ``left_out`` says. Keys per task come on top, since they were asked for.
    """
    layers = tuple(profile.layers)
    clusters = slugs((profile.clusters[task] for task in profile.tasks), taken=ALL)
    # Against its own start, the first profile is 1 everywhere.
    curves: tuple[str, ...] = ("final",) if profile.meta.reference == "initial" else ("init", "final")
    plan = KeyPlan(profile.measure, layers, clusters, {}, curves)
    if plan.count() > max(150, 2 * len(layers) + 100):
        plan = replace(plan, cluster_means=False, left_out=(f"the means of {count(len(clusters), 'cluster')}",))
    return replace(plan, tasks=slugs(profile.tasks) if per_task else {})


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
