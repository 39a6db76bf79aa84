"""What the package's statements over tasks are worth: intervals of curves, verdicts, similarity of tasks, diagnostics.

    OMP_NUM_THREADS=1 python benchmarks/bench_statements.py [--trials 300]

Prints the tables of benchmarks/README.md. Curves are those of ``transition_curves.py``, without jitter, so that the
true mean curve is known.
"""

from __future__ import annotations

import argparse
import math
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from transition_curves import Setting, draw

from lightning_layerscope.functional import spectrum_diagnostics, task_mean_cosine
from lightning_layerscope.functional.cluster_intervals import mean_intervals, narrow_note
from lightning_layerscope.functional.interval import Interval
from lightning_layerscope.functional.task_similarity import mean_noise
from lightning_layerscope.study.results.verdicts import Verdict, give_verdicts
from lightning_layerscope.study.stages.gains import Gains

Floats = NDArray[np.float64]
TASKS, LEVEL = 48, 0.1


def curve_coverage(correlation: float, trials: int) -> list[float]:
    """Of 90 % intervals of the mean: of a layer by task and by cluster; of all layers, by these and by the band."""
    setting = Setting("ramp", correlation=correlation, jitter=0)
    truth = 0.5 + 0.4 * np.clip((np.arange(1, setting.layers + 1) - 9) / 6, 0, 1)
    held = []
    for seed in range(trials):
        values, clusters = draw(setting, seed)
        alone, together, band = (
            mean_intervals(values, None),
            mean_intervals(values, clusters),
            mean_intervals(values, clusters, simultaneous=True),
        )
        inside = [(each.low <= truth) & (truth <= each.high) for each in (alone, together, band)]
        held.append([inside[0].mean(), inside[1].mean(), inside[1].all(), inside[2].all()])
    return list(np.mean(held, axis=0))


def few_tasks_coverage(trials: int) -> float:
    """Four tasks, of which one in five is low."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(trials):
        found = mean_intervals(np.where(rng.random((4, 1)) < 0.2, 0.3, 0.8) + 0.05 * rng.standard_normal((4, 1)))
        held.append(found.low[0] <= 0.7 <= found.high[0])
    return float(np.mean(held))


def verdicts(gains: Floats, scatter: float, rng: np.random.Generator) -> list[Verdict]:
    """On tasks with these gains in standard errors, two seeds each that scatter by as many."""
    found = {}
    half = NormalDist().inv_cdf(1 - LEVEL / 2)
    for number, gain in enumerate(gains):
        seeds = gain + rng.standard_normal() + scatter * rng.standard_normal(2)
        found[str(number)] = Gains(
            encoded=Interval.around(0.0, 0.0),
            gained=Interval.around(float(seeds.mean()), half),
            layers=[1],
            noise=None,
            control_agreement=None,
            verdict="",
            seed_gains=seeds.tolist(),
        )
    return list(give_verdicts(found, 1 - LEVEL).values())


def verdict_rates(scatter: float, trials: int) -> list[float]:
    """Without any effect: false verdicts, and studies with one, as they are and adjusted. With 12 true gains of 48, 4
    standard errors each: share of the adjusted verdicts that are false, and of the true gains that are found."""
    rng = np.random.default_rng(0)
    rows = []
    true = np.arange(TASKS) < 12
    size = 4 * math.sqrt(1 + scatter**2 / 2)
    for _ in range(trials):
        none, some = verdicts(np.zeros(TASKS), scatter, rng), verdicts(size * true, scatter, rng)
        plain = np.asarray([each.pvalue for each in none]) <= LEVEL
        adjusted, named = (np.asarray([each.adjusted for each in found]) <= LEVEL for found in (none, some))
        false = (named & ~true).sum() / max(named.sum(), 1)
        rows.append([plain.mean(), plain.any(), adjusted.any(), false, named[true].mean()])
    return list(np.mean(rows, axis=0))


def cosines(prompts: int, trials: int) -> list[float]:
    """Mean similarity of two tasks, 5 % of the variance between tasks: of the true means, biased and debiased."""
    found = []
    for seed in range(trials):
        generator = torch.Generator().manual_seed(seed)
        width, tasks = 256, 64
        common = torch.randn(tasks // 2, width, generator=generator).repeat_interleave(2, 0)
        own = torch.randn(tasks, width, generator=generator)
        centres = math.sqrt(0.05) * (math.sqrt(0.75) * common + math.sqrt(0.25) * own)
        states = centres[:, None] + math.sqrt(0.95) * torch.randn(tasks, prompts, width, generator=generator)
        means = states.mean(dim=1)
        pairs = [
            task_mean_cosine(centres, estimator="biased"),
            task_mean_cosine(means, estimator="biased"),
            task_mean_cosine(means, mean_noise(states)),
        ]
        found.append([float(torch.stack([m[i, i + 1] for i in range(0, tasks, 2)]).nanmean()) for m in pairs])
    return list(np.mean(found, axis=0))


def directions(share: float) -> tuple[float, float, bool]:
    """Effective directions, participation ratio and whether a warning is given, where one direction has this share."""
    generator = torch.Generator().manual_seed(0)
    width, count = 256, 512
    x = torch.randn(count, width, generator=generator)
    if share:
        x[:, 0] *= math.sqrt(share / (1 - share) * (width - 1))
    basis = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    found = spectrum_diagnostics(x @ basis)
    return float(found.effective_directions), float(found.participation_ratio), bool(found.warnings[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=300)
    trials = parser.parse_args().trials
    print("| correlation | a layer, by task | a layer, by cluster | all layers, intervals of each | all layers, band |")
    print("|---|---|---|---|---|")
    for correlation in (0.0, 0.3, 0.6):
        print(f"| {correlation:g} | " + _row(curve_coverage(correlation, trials)), flush=True)
    print(f"\nfour uneven tasks: {few_tasks_coverage(10 * trials):.2f}, said to be {narrow_note(4, 4, False)!r}")
    print("\n| seeds scatter by | false verdicts | studies with one, plain | adjusted | false share | found |")
    print("|---|---|---|---|---|---|")
    for scatter in (0.0, 1.0, 2.0, 5.0):
        print(f"| {scatter:g} | " + _row(verdict_rates(scatter, trials)), flush=True)
    print("\n| prompts | true | biased | debiased |\n|---|---|---|---|")
    for prompts in (16, 64, 256):
        print(f"| {prompts} | " + _row(cosines(prompts, trials // 10)), flush=True)
    print("\n| share of one direction | effective directions | participation ratio | warned of |\n|---|---|---|---|")
    for share in (0.0, 0.02, 0.05, 0.1, 0.2):
        count, ratio, warned = directions(share)
        print(f"| {share:g} | {count:.0f} | {ratio:.0f} | {'yes' if warned else 'no'} |", flush=True)


def _row(cells: list[float]) -> str:
    return " | ".join(f"{cell:.2f}" for cell in cells) + " |"


if __name__ == "__main__":
    main()
