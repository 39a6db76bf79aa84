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
"""Where every key begins; a monitor of another name has a root of its own, see :func:`under`."""

STEP = f"{ROOT}/step"
PICTURE_STEP = f"{ROOT}/picture_step"
"""The axis of pictures, which come later than the numbers: a row may hold numbers of one step, pictures of another."""
SECONDS, SHARE_OF_RUN = f"{ROOT}/cost/seconds", f"{ROOT}/cost/share_of_run"
BOUNDARIES = tuple(f"{ROOT}/transition/{name}_layer{end}" for name in ("start", "end") for end in ("", "_low", "_high"))
PROFILE, CLUSTERS, RESULTS = f"{ROOT}/profile/layers", f"{ROOT}/profile/clusters", f"{ROOT}/profile/results"
CURVE = f"{ROOT}/curve/layers"
CURVES = f"{ROOT}/curves"
"""A profile over the layers, where a tracker shows curves by calls of its own."""
HEATMAPS = {name: f"{ROOT}/heatmap/{name}" for name in ("layer_x_task", "layer_x_layer", "layer_x_step", "task_x_task")}


ALL = ("all", "all_low", "all_high")
"""Lines of a profile over the layers that are no cluster."""


def root_of(monitor: str) -> str:
    """Where the keys of a monitor begin: two in one run share none.

    Examples:
        >>> root_of("layerscope"), root_of("early layers")
        ('layerscope', 'layerscope_early_layers')
    """
    return ROOT if monitor == ROOT else f"{ROOT}_{slug(monitor)}"


def under(root: str, key: str) -> str:
    """A key of this file under another root.

    Examples:
        >>> under("layerscope_early", STEP), under("layerscope_early", "trainer/global_step")
        ('layerscope_early/step', 'trainer/global_step')
    """
    return root + key.removeprefix(ROOT) if key.startswith(f"{ROOT}/") else key


def alert_title(root: str, kind: str) -> str:
    """The title of an alert: W&B sends one title once a minute, so that it says whose alert it is.

    Examples:
        >>> alert_title("layerscope_early", "collapse")
        'layerscope_early: collapse'
    """
    return f"{root}: {kind}"


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
        >>> sorted(slugs(["a b", "a-b", "all"], taken=ALL).values())
        ['a_b_c8687a', 'a_b_d44362', 'all_5ef5ef']
    """
    unique = list(dict.fromkeys(names))
    times = Counter([*map(slug, unique), *taken])
    return {name: slug(name) if times[slug(name)] == 1 else f"{slug(name)}_{_digest(name)}" for name in unique}


def layer_key(measure: str, layer: int) -> str:
    """Key of the mean over tasks at one layer."""
    return f"{ROOT}/{slug(measure)}/layer_{layer:02d}"


def mean_key(measure: str) -> str:
    """Key of the mean over tasks and layers."""
    return f"{ROOT}/{slug(measure)}/mean"


def cluster_key(measure: str, cluster: str) -> str:
    """Key of a cluster's mean over layers."""
    return f"{ROOT}/{slug(measure)}/cluster/{cluster}"


def task_key(measure: str, task: str, layer: int) -> str:
    """Key of one task at one layer."""
    return f"{ROOT}/{slug(measure)}/task/{task}/layer_{layer:02d}"


def score_keys(signal: str, task: str = "") -> tuple[str, ...]:
    """Keys of a number with its interval: of the mean over tasks, with both ends, or of one task by its slug.

    Examples:
        >>> score_keys("retention/loss"), score_keys("answers/kl", "sst2")
        (('layerscope/retention/loss', 'layerscope/retention/loss_low', 'layerscope/retention/loss_high'), \
('layerscope/answers/kl/task/sst2',))
    """
    name = f"{ROOT}/{signal}"
    return (f"{name}/task/{task}",) if task else (name, f"{name}_low", f"{name}_high")


@dataclass(frozen=True)
class KeyPlan:
    """Which keys a run uses.

    Attributes:
        measure: the headline measure.
        layers: those measured.
        clusters: cluster to slug.
        tasks: task to slug; empty unless keys per task are asked for.
        cluster_means: whether the clusters' means have keys.
        left_out: what did not fit, in words.
        signals: what is logged per layer beside the headline measure.
        scores: what is logged per task and as a mean over tasks: signal to its tasks' slugs.
        root: where the keys begin.
    """

    measure: str
    layers: tuple[int, ...]
    clusters: dict[str, str]
    tasks: dict[str, str] = field(default_factory=dict)
    cluster_means: bool = True
    left_out: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    scores: dict[str, dict[str, str]] = field(default_factory=dict)
    root: str = ROOT

    def shown(self) -> list[str]:
        """Keys of numbers that are a panel each: means, the transition, the cost."""
        keys = [mean_key(name) for name in (self.measure, *self.signals)]
        if self.cluster_means:
            keys += [cluster_key(self.measure, cluster) for cluster in self.clusters.values()]
        keys += [score_keys(signal)[0] for signal in self.scores]
        return self._rooted([*keys, *BOUNDARIES[::3], SECONDS, SHARE_OF_RUN])

    def hidden(self) -> list[str]:
        """Keys of numbers that are too many for a panel each: one per layer or task, and the ends of intervals."""
        keys = [layer_key(name, layer) for name in (self.measure, *self.signals) for layer in self.layers]
        keys += [task_key(self.measure, task, layer) for task in self.tasks.values() for layer in self.layers]
        for signal, tasks in self.scores.items():
            keys += [*score_keys(signal)[1:], *(key for task in tasks.values() for key in score_keys(signal, task))]
        return self._rooted([*keys, *(key for key in BOUNDARIES if key not in BOUNDARIES[::3])])

    def pictures(self) -> list[str]:
        """Keys over ``layerscope/picture_step``."""
        return self._rooted([CURVE, *HEATMAPS.values()])

    def charts(self) -> list[str]:
        """Keys of charts and of the table of results."""
        return self._rooted([PROFILE, CLUSTERS, RESULTS])

    def chart_tables(self) -> list[str]:
        """Keys under which W&B logs the numbers of charts, beside them."""
        return self._rooted([f"{chart}_table" for chart in (PROFILE, CLUSTERS)])

    def count(self) -> int:
        """Number of all keys, with both axes and the host's step."""
        kinds = (self.shown(), self.hidden(), self.pictures(), self.charts(), self.chart_tables())
        return sum(map(len, kinds)) + 3

    def _rooted(self, keys: Iterable[str]) -> list[str]:
        return [under(self.root, key) for key in keys]


def plan_of(measurement: Measurement, *, per_task: bool = False, root: str = ROOT) -> KeyPlan:
    """The keys of a run, by its first measurement: those of :func:`plan_keys`, and on top what was asked for beside."""
    plan = plan_keys(measurement.profile, per_task=per_task, root=root)
    scores = {signal: slugs(task for task in tasks if task) for signal, tasks in measurement.behaviour.scores.items()}
    return replace(plan, signals=tuple(measurement.curves), scores=scores)


def plan_keys(profile: LayerProfile, *, per_task: bool = False, root: str = ROOT) -> KeyPlan:
    """Choose the keys of a run: at most 150, or ``2 x layers + 100`` where that is more.

    Where many clusters do not fit, their means do without keys of their own (charts, pictures, table and artifact hold
    them), which ``left_out`` says. Keys per task come on top, since they were asked for.
    """
    layers = tuple(profile.layers)
    clusters = slugs((profile.clusters[task] for task in profile.tasks), taken=ALL)
    plan = KeyPlan(profile.measure, layers, clusters, root=root)
    if plan.count() > max(150, 2 * len(layers) + 100):
        plan = replace(plan, cluster_means=False, left_out=(f"the means of {count(len(clusters), 'cluster')}",))
    return replace(plan, tasks=slugs(profile.tasks) if per_task else {})


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
