"""How often the transition detector is right: planted boundaries, flat curves, few tasks; and what one call costs.

Prints the tables of benchmarks/README.md. Curves are simulated with a fixed seed: 60 tasks, 32 layers, boundaries 1-9 /
10-15 / 16-32, a change of .4 whose size and level vary over tasks, and AR(1) noise over layers (correlation .7).
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from lightning_layerscope import find_transitions

Floats = NDArray[np.float64]

LAYERS = np.arange(1, 33, dtype=np.float64)
RAMP = np.clip((LAYERS - 9) / 6, 0, 1)
SHAPES = {
    "ramp": RAMP,
    "three levels": np.select([LAYERS <= 9, LAYERS <= 15], [0.0, 0.5], 1.0),
    "logistic": 1 / (1 + np.exp(-(LAYERS - 12.5) / 1.2)),
    "drifting": RAMP + 0.15 * LAYERS / 32,
    "peaked": RAMP - 0.3 * np.clip((LAYERS - 15) / 17, 0, 1),
}
NOISES = (0.02, 0.05, 0.1, 0.2)
TRIALS = 100


def curves(shape: Floats, noise: float, seed: int, tasks: int = 60, correlation: float = 0.7) -> Floats:
    rng = np.random.default_rng(seed)
    fresh = rng.standard_normal((tasks, len(shape)))
    wiggle = fresh.copy()
    for layer in range(1, len(shape)):
        wiggle[:, layer] = correlation * wiggle[:, layer - 1] + np.sqrt(1 - correlation**2) * fresh[:, layer]
    level = 0.3 + 0.1 * rng.standard_normal((tasks, 1))
    amount = 0.4 * (1 + 0.3 * rng.standard_normal((tasks, 1)))
    return level + amount * shape + noise * wiggle


def rates(shape: Floats, noise: float, tasks: int = 60) -> tuple[float, float]:
    """Share of trials with both boundaries within one layer, and exactly."""
    found = [find_transitions(curves(shape, noise, seed, tasks), resamples=1) for seed in range(TRIALS)]
    off = [max(abs(f.start - 10), abs(f.end - 15)) if f.start and f.end else 99 for f in found]
    return float(np.mean([distance <= 1 for distance in off])), float(np.mean([distance == 0 for distance in off]))


def coverage(noise: float) -> tuple[float, float]:
    found = [find_transitions(curves(RAMP, noise, seed)) for seed in range(TRIALS)]
    sides = ((10, [f.start_interval for f in found]), (15, [f.end_interval for f in found]))
    one, two = (np.mean([span is not None and span[0] <= true <= span[1] for span in spans]) for true, spans in sides)
    return float(one), float(two)


def main() -> None:
    print(f"both boundaries within one layer (exactly), {TRIALS} trials, by noise per cell")
    print(f"| shape | {' | '.join(f'{noise:g}' for noise in NOISES)} |\n|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        cells = [rates(shape, noise) for noise in NOISES]
        print(f"| {name} | {' | '.join(f'{near:.2f} ({exact:.2f})' for near, exact in cells)} |")
    few = {tasks: rates(RAMP, 0.1, tasks)[0] for tasks in (8, 16, 32)}
    print("ramp at noise .1 by number of tasks:", ", ".join(f"{tasks}: {rate:.2f}" for tasks, rate in few.items()))
    for correlation in (0.0, 0.7, 0.95):
        flat = [curves(0 * LAYERS, 0.1, seed, correlation=correlation) for seed in range(240)]
        false = sum(find_transitions(trial, resamples=1).found for trial in flat)
        print(f"flat curves, correlation {correlation:g}: {false} transitions in {len(flat)} trials")
    for noise in (0.1, 0.2):
        start, end = coverage(noise)
        print(f"90 % intervals at noise {noise:g} hold the start in {start:.2f}, the end in {end:.2f} of the trials")
    values = curves(RAMP, 0.1, 0)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        find_transitions(values)
        times.append(time.perf_counter() - begin)
    print(f"one call, 60 tasks x 32 layers, 500 resamples: {1e3 * float(np.median(times)):.1f} ms")


if __name__ == "__main__":
    main()
