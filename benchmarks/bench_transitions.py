"""How often the transition detector is right, beside rivals; and what its intervals and one call are worth.

    python benchmarks/bench_transitions.py [--trials 200]

Prints the tables of benchmarks/README.md. The rivals fit the mean curve and always name a transition: ``ruptures``
(exact search for the two changes of a continuous piecewise linear curve; ``pip install ruptures``) and the broken stick
with two breaks that has the least squared error.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from transition_curves import Setting, draw

from lightning_layerscope import Transition, find_transitions

Floats = NDArray[np.float64]

PLANTED = [
    Setting("ramp"),
    Setting("ramp", correlation=0.8),
    Setting("step"),
    Setting("step", jitter=0),
    Setting("three levels"),
    Setting("three levels", jitter=0),
    Setting("dip"),
    Setting("dip", correlation=0.7),
    Setting("ramp on a line"),
    Setting("peaked"),
    Setting("logistic"),
]
NONE = [
    Setting("hump"),
    Setting("two ramps"),
    Setting("two unequal ramps"),
    Setting("walk"),
    Setting("smooth"),
    Setting("flat", correlation=0.7),
    Setting("line", correlation=0.7),
    Setting("walk shared in clusters", correlation=0.7),
]
SIZES = [(12, 60, 10), (64, 60, 10), (128, 60, 10), (32, 8, 8), (32, 12, 6), (32, 24, 8), (12, 12, 6)]


def find(setting: Setting, seed: int, resamples: int = 1) -> Transition:
    values, clusters = draw(setting, seed)
    return find_transitions(values, clusters=clusters, resamples=resamples)


def near(found: tuple[int | None, int | None], setting: Setting) -> bool:
    true = setting.boundaries
    slack = max(1, round(setting.layers / 32))
    return true is not None and all(a is not None and abs(a - b) <= slack for a, b in zip(found, true, strict=True))


def noted(found: Transition) -> bool:
    return any("second change" in note for note in found.notes)


def with_ruptures(curve: Floats) -> tuple[int, int]:
    import ruptures

    one, two, _ = ruptures.Dynp(model="clinear", min_size=2, jump=1).fit(curve[:, None]).predict(n_bkps=2)
    return one + 1, two


def broken_stick(curve: Floats) -> tuple[int, int]:
    x = np.arange(len(curve), dtype=np.float64)
    best, found = np.inf, (0, 0)
    for i, j in combinations(range(2, len(curve) - 2), 2):
        design = np.stack([np.ones_like(x), x, np.clip(x - i, 0, None), np.clip(x - j, 0, None)], axis=1)
        left = np.square(curve - design @ np.linalg.lstsq(design, curve, rcond=None)[0]).sum()
        if left < best:
            best, found = left, (i + 2, j + 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rival-trials", type=int, default=20)
    trials, rivals = (parser.parse_args().__dict__[name] for name in ("trials", "rival_trials"))

    print("| planted | correlation | jitter | within one layer | named | a second noted | ruptures | broken stick |")
    print("|---|---|---|---|---|---|---|---|")
    for setting in PLANTED:
        found = [find(setting, seed) for seed in range(trials)]
        right = np.mean([near((f.start, f.end), setting) for f in found])
        means = [draw(setting, seed)[0].mean(axis=0) for seed in range(rivals)]
        others = [np.mean([near(rival(mean), setting) for mean in means]) for rival in (with_ruptures, broken_stick)]
        cells = (right, np.mean([f.found for f in found]), np.mean([noted(f) for f in found]), *others)
        print(f"| {setting.shape} | {setting.correlation:g} | {setting.jitter:g} | " + _row(cells), flush=True)

    print("\n| no transition | correlation | named | of these a second noted |\n|---|---|---|---|")
    for setting in NONE:
        found = [f for f in (find(setting, seed) for seed in range(trials)) if f.found]
        cells = (len(found) / trials, np.mean([noted(f) for f in found]) if found else np.nan)
        print(f"| {setting.shape} | {setting.correlation:g} | " + _row(cells), flush=True)

    print("\n| layers | tasks | clusters | ramp | step | three levels |\n|---|---|---|---|---|---|")
    for layers, tasks, clusters in SIZES:
        size = Setting("ramp", tasks=tasks, clusters=clusters, layers=layers, jitter=0)
        draws = trials if layers <= 32 else trials // 4
        cells = [
            np.mean([near((f.start, f.end), kind) for f in (find(kind, seed) for seed in range(draws))])
            for kind in (replace(size, shape=name) for name in ("ramp", "step", "three levels"))
        ]
        print(f"| {layers} | {tasks} | {clusters} | " + _row(cells), flush=True)

    print("\n| ramp, coverage of the 90 % intervals | start | end | median width of both |\n|---|---|---|---|")
    for setting in (
        Setting("ramp"),
        Setting("ramp", correlation=0.8),
        Setting("ramp", correlation=0.8, jitter=2),
        Setting("ramp", noise=0.2),
    ):
        _coverage(
            f"correlation {setting.correlation:g}, jitter {setting.jitter:g}, noise {setting.noise:g}",
            [find(setting, seed, 500) for seed in range(trials // 2)],
        )
    _coverage("every 4th layer measured", [_sparse(seed) for seed in range(trials // 2)])
    holes = [_holes(seed) for seed in range(trials // 2)]
    _coverage("6 % of cells missing", holes)
    print(f"6 % of cells missing: found in {np.mean([f.found for f in holes]):.2f} of the trials")
    _time()


def _sparse(seed: int) -> Transition:
    values, clusters = draw(Setting("ramp"), seed)
    return find_transitions(values[:, 3::4], layers=range(4, 33, 4), clusters=clusters)


def _holes(seed: int) -> Transition:
    values, clusters = draw(Setting("ramp"), seed)
    values[np.random.default_rng(seed).random(values.shape) < 0.06] = np.nan
    return find_transitions(values, clusters=clusters)


def _coverage(what: str, every: list[Transition]) -> None:
    found = [f for f in every if f.start_interval is not None and f.end_interval is not None]
    starts, ends = ([getattr(f, side) for f in found] for side in ("start_interval", "end_interval"))
    cells = [np.mean([low <= true <= high for low, high in spans]) for true, spans in ((10, starts), (15, ends))]
    width = np.median([high - low + 1 for low, high in (*starts, *ends)])
    print(f"| {what} | " + _row(cells) + f" {width:g} |", flush=True)


def _row(cells: object) -> str:
    return " | ".join("-" if np.isnan(cell) else f"{cell:.2f}" for cell in np.asarray(cells).ravel()) + " |"


def _time() -> None:
    values, clusters = draw(Setting("ramp"), 0)
    ours, theirs = [], []
    for _ in range(20):
        for times, run in (
            (theirs, lambda: with_ruptures(values.mean(axis=0))),
            (ours, lambda: find_transitions(values, clusters=clusters)),
        ):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
    one, other = (float(np.median(times)) for times in (ours, theirs))
    print(
        f"\none call, 60 tasks x 32 layers, 500 resamples: {1e3 * one:.0f} ms, {one / other:.2f} times one ruptures fit"
    )


if __name__ == "__main__":
    main()
