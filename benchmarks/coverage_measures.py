"""How often the jackknife's intervals of all measures but linear CKA cover the expected value.

Prints the table of docs/measures.md, one line per measure and number of examples; spectra across:

    python benchmarks/coverage_measures.py [--examples 64 128 256 512] [--width 40] [--draws 200] [--value 0.6] \\
        [--measures rbf_cka ...] [--seed 0]

Gaussian states; ``y = value * x + sqrt(1 - value^2) * noise`` for measures of two sides, four tasks with
Gaussian means for measures of tasks. What is to be covered is the mean over the draws: the value expected at this
number of examples, whatever bias the measure has there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.functional import (
    Estimate,
    cka_estimate,
    components_for_variance,
    effective_rank,
    jackknife_estimate,
    knn_purity,
    linear_predictivity,
    mutual_knn,
    participation_ratio,
    procrustes_similarity,
    rbf_gram,
    rsa,
    scatter_ratio,
    silhouette,
    svcca,
)

GROUPS, TASKS, CONFIDENCE = 20, 4, 0.9
#: Variance of the k-th direction falls with this power of k.
SPECTRA = {"flat": 0.0, "1/sqrt(k)": 0.5, "1/k": 1.0}
Measure = Callable[..., Any]
#: RBF CKA's jackknife leaves out one example at a time, in closed form; the others' leave out one of 20 groups.
CLOSED_FORM = "rbf_cka"
PAIRS: dict[str, Measure] = {
    "svcca(variance=0.9)": partial(svcca, variance=0.9),
    "procrustes_similarity": procrustes_similarity,
    "rsa spearman": rsa,
    "rsa pearson": partial(rsa, correlation="pearson"),
    "mutual_knn": mutual_knn,
    "linear_predictivity": linear_predictivity,
}
SINGLES: dict[str, Measure] = {
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "components_for_variance(interpolate=True)": partial(components_for_variance, interpolate=True),
}
LABELLED: dict[str, Measure] = {
    "scatter_ratio": scatter_ratio,
    "knn_purity(k=5)": partial(knn_purity, k=5),
    "silhouette": silhouette,
}

NAMES = (CLOSED_FORM, *PAIRS, *SINGLES, *LABELLED)


def draw(name: str, examples: int, scale: Tensor, value: float, generator: torch.Generator) -> tuple[Tensor, ...]:
    width = len(scale)
    x = torch.randn(examples, width, generator=generator, dtype=torch.float64)
    if name in SINGLES:
        return (x * scale,)
    if name in LABELLED:
        means = torch.randn(TASKS, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        labels = torch.arange(examples) % TASKS
        # So that tasks overlap at every width: far apart, the nearest neighbours' purity is 1 and has no interval.
        return (means[labels] * math.sqrt(40 / width) + x) * scale, labels
    noise = torch.randn(examples, width, generator=generator, dtype=torch.float64)
    return x * scale, (value * x + math.sqrt(1 - value**2) * noise) * scale


def estimate(name: str, states: tuple[Tensor, ...]) -> Estimate:
    if name == CLOSED_FORM:
        return cka_estimate(*map(rbf_gram, states), confidence=CONFIDENCE)
    measure = (PAIRS | SINGLES | LABELLED)[name]
    strata = states[1] if name in LABELLED else None
    return jackknife_estimate(measure, *states, groups=GROUPS, strata=strata, confidence=CONFIDENCE)


def simulate(
    name: str, examples: int, width: int, power: float, value: float, draws: int, seed: int
) -> tuple[float, float]:
    """Share of intervals that cover, and mean standard error over the true standard deviation."""
    generator = torch.Generator().manual_seed(examples + 1000 * seed)
    scale = torch.arange(1, width + 1, dtype=torch.float64).pow(-power / 2)
    found = [estimate(name, draw(name, examples, scale, value, generator)) for _ in range(draws)]
    values, stderr, low, high = (torch.stack(each) for each in zip(*found, strict=True))
    expected = values.mean()
    covered = ((low <= expected) & (expected <= high)).double().mean()
    return float(covered), float(stderr.mean() / values.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--width", type=int, default=40, help="dimensions of the states")
    parser.add_argument("--draws", type=int, default=200, help="data sets per entry")
    parser.add_argument("--value", type=float, default=0.6, help="correlation of the two sides")
    parser.add_argument("--measures", nargs="+", choices=NAMES, default=NAMES, metavar="MEASURE")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    options = parser.parse_args()
    print(f"Width {options.width}, {options.draws} draws, sides correlated by {options.value:g}:")
    print("coverage (mean standard error / true standard deviation)\n")
    print("| measure | examples | " + " | ".join(SPECTRA) + " |\n|---|---|" + "---|" * len(SPECTRA))
    for name in options.measures:
        for examples in options.examples:
            cells = [
                simulate(name, examples, options.width, power, options.value, options.draws, options.seed)
                for power in SPECTRA.values()
            ]
            line = " | ".join(f"{covered:.2f} ({ratio:.2f})" for covered, ratio in cells)
            print(f"| `{name}` | {examples} | {line} |", flush=True)


if __name__ == "__main__":
    main()
