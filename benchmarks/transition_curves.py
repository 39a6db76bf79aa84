"""Simulated curves over layers with and without a transition, of tasks that come in clusters.

Curves are ``level + slope * depth + amount * shape + noise``: level .5 +- .1, slope 0 +- .05, amount .4 +- 40 %, noise
AR(1) over layers (.7) with a standard deviation of .1 times .5 to 1.5 per layer, boundaries that differ by +-1 layer
between tasks. Of each of these variances, clusters share the part ``correlation``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What is drawn.

    Attributes:
        shape: Name of the curve's shape.
        tasks: Number of tasks.
        clusters: Number of clusters, of equal size.
        layers: Number of layers; boundaries keep their relative depth.
        correlation: Share of each variance that tasks of one cluster have in common.
        noise: Mean standard deviation per task and layer.
        jitter: Standard deviation over tasks of each boundary, in layers, rounded.
    """

    shape: str
    tasks: int = 60
    clusters: int = 10
    layers: int = 32
    correlation: float = 0.3
    noise: float = 0.1
    jitter: float = 1.0

    @property
    def boundaries(self) -> tuple[int, int] | None:
        """First and last layer of the planted transition; ``None`` where there is none."""
        first, last = {"dip": (8, 15), "step": (12, 13)}.get(self.shape, (9, 15))
        if self.shape not in TRANSITIONS:
            return None
        return round(first * self.layers / 32) + 1, round(last * self.layers / 32)


TRANSITIONS = ("ramp", "step", "three levels", "dip", "ramp on a line", "peaked", "logistic")


def draw(setting: Setting, seed: int) -> tuple[Floats, list[int]]:
    """Curves ``(tasks, layers)`` and the cluster of each task."""
    rng = np.random.default_rng(seed)
    cluster = np.arange(setting.tasks) * setting.clusters // setting.tasks

    def shared(*shape: int) -> Floats:
        common, own = (rng.standard_normal((count, *shape)) for count in (setting.clusters, setting.tasks))
        part = setting.correlation
        return np.asarray(np.sqrt(part) * common[cluster] + np.sqrt(1 - part) * own)

    wiggle = shared(setting.layers)
    for layer in range(1, setting.layers):
        wiggle[:, layer] = 0.7 * wiggle[:, layer - 1] + np.sqrt(1 - 0.7**2) * wiggle[:, layer]
    noise = setting.noise * rng.uniform(0.5, 1.5, setting.layers) * wiggle
    level = 0.5 + 0.1 * shared(1)
    slope = 0.05 * shared(1) * np.linspace(0, 1, setting.layers)
    amount = 0.4 * (1 + 0.4 * shared(1))
    moves = [np.round(setting.jitter * shared(1)) for _ in range(2)]
    if setting.shape == "walk shared in clusters":
        shape = np.cumsum(shared(setting.layers), axis=1) / np.sqrt(setting.layers)
    else:
        shape = _shape(setting, moves, rng)
    return level + slope + amount * shape + noise, cluster.tolist()


def _shape(setting: Setting, moves: list[Floats], rng: np.random.Generator) -> Floats:
    x = np.arange(1.0, setting.layers + 1)
    scale = setting.layers / 32
    one, two = (scale * at + move for at, move in zip((9, 15), moves, strict=True))
    two = np.maximum(two, one + 1)

    def rise(first: Floats | float, last: Floats | float) -> Floats:
        return np.asarray(np.clip((x - first) / np.maximum(last - first, 0.5), 0, 1))

    walk = np.cumsum(rng.standard_normal(setting.layers)) / np.sqrt(setting.layers)
    distance = np.subtract.outer(x, x) / (3 * scale)
    factor = np.linalg.cholesky(np.exp(-0.5 * distance**2) + 1e-6 * np.eye(setting.layers))
    bottom = one - scale
    shapes = {
        "ramp": rise(one, two),
        "step": (x > np.round(12 * scale) + moves[0]) * 1.0,
        "three levels": 0.5 * (x > np.round(one)) + 0.5 * (x > np.round(two)),
        "dip": rise(bottom, two) - rise(1.0, bottom) - 0.1 * rise(two, setting.layers),
        "ramp on a line": rise(one, two) + 0.15 * x / setting.layers,
        "peaked": rise(one, two) - 0.3 * rise(two, setting.layers),
        "logistic": 1 / (1 + np.exp(-(x - 12.5 * scale - moves[0]) / (1.2 * scale))),
        "hump": rise(one, one + 3 * scale) - rise(two + 3 * scale, two + 6 * scale),
        "two ramps": 0.5 * rise(one - 4 * scale, one) + 0.5 * rise(two + 4 * scale, two + 8 * scale),
        "two unequal ramps": 0.3 * rise(one - 4 * scale, one) + 0.7 * rise(two + 4 * scale, two + 8 * scale),
        "walk": np.broadcast_to(walk, (setting.tasks, setting.layers)),
        "smooth": np.broadcast_to(factor @ rng.standard_normal(setting.layers) / 2, (setting.tasks, setting.layers)),
        "flat": np.zeros((setting.tasks, setting.layers)),
        "line": np.broadcast_to(np.linspace(0, 1, setting.layers), (setting.tasks, setting.layers)),
    }
    return np.asarray(shapes[setting.shape], dtype=np.float64)
