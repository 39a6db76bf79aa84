"""How often the jackknife interval of debiased CKA covers the truth, simulated over sizes, widths, spectra and values.

Two Gaussian sides y = rho x + sqrt(1 - rho^2) z of one spectrum have the linear CKA rho^2 exactly, so that the truth is
known. Prints the table of docs/numerics.md:

    python benchmarks/coverage.py [--repeats 600] [--confidence 0.9]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_layerscope.functional import centered_gram, cka_estimate

EXAMPLES = (64, 128, 256, 512)
WIDTHS = (64, 1024)
VALUES = (0.0, 0.25, 0.81, 0.98)
#: Variance of the k-th direction.
SPECTRA = {"flat": 0.0, "1/k": 1.0, "1/k^2": 2.0}
CHUNK = 20
TEMPLATES, COPIES = 16, 4


class Coverage(NamedTuple):
    examples: int
    width: int
    spectrum: str
    value: float
    covered: float
    bias: float
    deviation: float  # how far the estimates really scatter
    stderr: float  # how far the jackknife says they do


def simulate(
    examples: int, width: int, spectrum: str, value: float, *, repeats: int, confidence: float, seed: int = 0
) -> Coverage:
    """Draw ``repeats`` data sets and count the intervals that hold the true value."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, width + 1).pow(-SPECTRA[spectrum] / 2)
    found: list[Tensor] = []
    for start in range(0, repeats, CHUNK):
        shape = (min(CHUNK, repeats - start), examples, width)
        x = torch.randn(shape, generator=generator)
        y = math.sqrt(value) * x + math.sqrt(1 - value) * torch.randn(shape, generator=generator)
        grams = centered_gram(x * scale), centered_gram(y * scale)
        found.append(torch.stack(cka_estimate(*grams, confidence=confidence)))
    estimate, stderr, low, high = torch.cat(found, dim=1)
    covered = ((low <= value) & (value <= high)).double().mean()
    numbers = (float(covered), float(estimate.mean()) - value, float(estimate.std()), float(stderr.mean()))
    return Coverage(examples, width, spectrum, value, *numbers)


def simulate_copies(
    width: int, spectrum: str, value: float, *, grouped: bool, repeats: int, confidence: float, seed: int = 0
) -> Coverage:
    """The same for 16 templates of 4 near copies, which share nine tenths of their variance."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, width + 1).pow(-SPECTRA[spectrum] / 2)

    def side() -> Tensor:
        template = torch.randn(repeats, TEMPLATES, 1, width, generator=generator)
        own = torch.randn(repeats, TEMPLATES, COPIES, width, generator=generator)
        return (math.sqrt(0.9) * template + math.sqrt(0.1) * own).flatten(1, 2)

    x = side()
    y = math.sqrt(value) * x + math.sqrt(1 - value) * side()
    groups = torch.arange(TEMPLATES).repeat_interleave(COPIES) if grouped else None
    grams = centered_gram(x * scale), centered_gram(y * scale)
    estimate, stderr, low, high = cka_estimate(*grams, confidence=confidence, groups=groups)
    covered = ((low <= value) & (value <= high)).double().mean()
    numbers = (float(covered), float(estimate.mean()) - value, float(estimate.std()), float(stderr.mean()))
    return Coverage(TEMPLATES * COPIES, width, spectrum, value, *numbers)


def copies_table(repeats: int, confidence: float) -> Iterator[str]:
    yield f"{TEMPLATES} templates of {COPIES} near copies: coverage (bias), as independent examples and grouped"
    yield "| width | spectrum | CKA | independent | grouped |"
    yield "|---|---|---|---|---|"
    for width in WIDTHS:
        for spectrum in SPECTRA:
            for value in VALUES[1:3]:
                found = [
                    simulate_copies(width, spectrum, value, grouped=grouped, repeats=repeats, confidence=confidence)
                    for grouped in (False, True)
                ]
                cells = " | ".join(f"{c.covered:.2f} ({c.bias:+.3f})" for c in found)
                yield f"| {width} | {spectrum} | {value:g} | {cells} |"


def table(repeats: int, confidence: float) -> Iterator[str]:
    yield "| examples | width | spectrum | " + " | ".join(f"CKA {value:g}" for value in VALUES) + " |"
    yield "|---|---|---|" + "---|" * len(VALUES)
    rows: list[Coverage] = []
    for spectrum in SPECTRA:
        for width in WIDTHS:
            for examples in EXAMPLES:
                line = [
                    simulate(examples, width, spectrum, value, repeats=repeats, confidence=confidence)
                    for value in VALUES
                ]
                rows += line
                cells = " | ".join(f"{c.covered:.3f} ({c.stderr / c.deviation:.2f})" for c in line)
                yield f"| {examples} | {width} | {spectrum} | {cells} |"
    related = [c.covered for c in rows if c.spectrum != "flat" and c.value > 0]
    yield ""
    yield f"lowest anywhere {min(c.covered for c in rows):.3f}; concentrated spectra away from independence "
    yield f"{min(related):.3f} to {max(related):.3f}; largest bias {max(abs(c.bias) for c in rows):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=600, help="data sets per cell")
    parser.add_argument("--confidence", type=float, default=0.9, help="nominal coverage")
    options = parser.parse_args()
    print(f"coverage of nominal {options.confidence:.0%} intervals (jackknife standard error / true deviation)")
    for line in table(options.repeats, options.confidence):
        print(line, flush=True)
    for line in copies_table(min(options.repeats, 200), options.confidence):
        print(line, flush=True)


if __name__ == "__main__":
    main()
