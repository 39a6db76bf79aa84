"""Speed, memory and accuracy of linear CKA against other packages, interleaved in one run.

    python benchmarks/similarity.py [--rounds 5] [--threads 1] [--cases cell live matrix] [--peers FOLDER]

Peers are only imported, never installed; those that are absent are named. ``--peers`` adds a folder to look in (made
with ``pip install --target FOLDER --no-deps pytorch-cka torch-cka cka-pytorch ckatorch repsim``).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peers import Contender, available, ours, paper, textbook, version
from torch import Tensor

#: A contender that goes pair by pair and takes longer than this for a whole case is measured on two layers, and scaled.
PATIENCE = 20.0


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    layers: int
    examples: int
    width: int
    power: int  # the work grows with layers ** power


CASES = (
    Case("cell", "one cell, 4000 x 2048", 1, 4000, 2048, 1),
    Case("live", "live measurement: 32 layers x 256 x 4096, reference prepared", 32, 256, 4096, 1),
    Case("matrix", "32 x 32 layer matrix, 1024 x 2048", 32, 1024, 2048, 2),
)


def states(case: Case, seed: int, offset: float) -> Tensor:
    """States with a falling spectrum and two dimensions that are much larger, ``offset`` deviations from zero."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(case.examples, case.width, generator=torch.Generator().manual_seed(99))
    x = torch.randn(case.layers, case.examples, case.width, generator=generator) + base
    x *= torch.arange(1, case.width + 1).pow(-0.25)
    for dimension in (11, 17):
        x[..., dimension] = 100 * (x[..., dimension] + offset)
    return x


def run(case: Case, contender: Contender, x: Tensor, y: Tensor, prepared: Any) -> Any:
    if case.name == "cell":
        return contender.cell(x[0], y[0])
    return contender.live(x, prepared) if case.name == "live" else contender.matrix(x)


def bare(case: Case) -> Callable[[Tensor, Tensor], None]:
    """The matrix products that the case cannot do without, by plain ``torch.mm`` into a ready buffer."""
    size = min(case.examples, case.width)
    out = torch.empty(size, size)
    flat = torch.randn(case.layers, size * size) if case.name == "matrix" else None

    def products(x: Tensor, y: Tensor) -> None:
        if case.name == "cell":
            for left, right in ((x[0], y[0]), (x[0], x[0]), (y[0], y[0])):
                torch.mm(left.T, right, out=out)
            return
        for layer in x:
            torch.mm(layer, layer.T, out=out)
        if flat is not None:
            torch.mm(flat, flat.T)

    return products


def peak_extra(function: Callable[[], Any]) -> float:
    """MB that the process grows by at most while the function runs, measured in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()  # noqa: PTH123, SIM115
        function()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(write, f"{(peak - before) / 1e6:.0f}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    answer = os.read(read, 64).decode()
    os.close(read)
    return float(answer) if answer else float("nan")


def error(case: Case, exact: Tensor, found: Any, layers: int) -> float:
    """Largest deviation from float64 over the layers that were measured; NaN where a value is."""
    exact = exact[:layers, :layers] if case.name == "matrix" else exact.reshape(-1)[:layers]
    return float((torch.as_tensor(found).double().reshape(exact.shape) - exact).abs().max())


def measure(case: Case, contenders: list[Contender], rounds: int, offset: float) -> None:
    x, y = states(case, 1, offset), states(case, 2, offset)
    tame = states(case, 1, 0.0), states(case, 2, 0.0)
    judge = {name: ours(name) for name in {c.estimator for c in contenders}}
    exact = {
        name: [run(case, c, a.double(), b.double(), c.prepare(b.double())) for a, b in ((x, y), tame)]
        for name, c in judge.items()
    }
    products = bare(case)
    jobs: dict[str, tuple[Callable[[], Any], float]] = {"bare torch.mm": (lambda: products(x, y), 1.0)}
    facts: dict[str, tuple[float, float, float]] = {}
    for contender in contenders:
        prepared = contender.prepare(y)
        begin = time.perf_counter()
        few = min(case.layers, 2)
        run(case, contender, x[:few], y[:few], prepared[:few])
        expected = (time.perf_counter() - begin) * (case.layers / few) ** case.power
        layers = few if contender.pairwise and expected > PATIENCE else case.layers
        sides = x[:layers], y[:layers], prepared[:layers]

        def job(contender: Contender = contender, sides: tuple[Tensor, Tensor, Any] = sides) -> Any:
            return run(case, contender, *sides)

        jobs[contender.name] = (job, (case.layers / layers) ** case.power)
        errors = []
        for values, (a, b) in zip(exact[contender.estimator], ((x, y), tame), strict=True):
            found = run(case, contender, a[:layers], b[:layers], contender.prepare(b[:layers]))
            errors.append(error(case, values, found, layers))
        facts[contender.name] = (errors[0], errors[1], peak_extra(job))
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (job, scale) in jobs.items():
            if scale > 1 and seconds[name]:
                continue
            begin = time.perf_counter()
            job()
            seconds[name].append((time.perf_counter() - begin) * scale)
    report(case, {name: statistics.median(times) for name, times in seconds.items()}, facts, jobs)


def report(
    case: Case, seconds: dict[str, float], facts: dict[str, tuple[float, float, float]], jobs: dict[str, Any]
) -> None:
    own = seconds["lightning-layerscope (debiased)"]
    print(f"\n### {case.title}\n")
    print("| | seconds | times ours | share of bare torch.mm | error, offset | error, no offset | peak extra MB |")
    print("|---|---|---|---|---|---|---|")
    for name in sorted(seconds, key=seconds.__getitem__):
        last = "- | - | -" if name not in facts else "{:.0e} | {:.0e} | {:.0f}".format(*facts[name])
        scaled = "*" if jobs[name][1] > 1 else ""
        share = seconds["bare torch.mm"] / seconds[name]
        numbers = f"{seconds[name]:.3f}{scaled} | {seconds[name] / own:.2f} | {share:.0%}"
        print(f"| {name} | {numbers} | {last} |", flush=True)
    others = {n: t for n, t in seconds.items() if n in facts and not n.startswith("lightning-layerscope")}
    correct = {n: t for n, t in others.items() if facts[n][0] < 1e-4}
    for label, group in (("fastest", others), ("fastest that is correct (error < 1e-4)", correct)):
        if group:
            best = min(group, key=group.__getitem__)
            print(f"\n{label} of the others: {best}, {group[best] / own:.2f} times our time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--offset", type=float, default=100.0, help="mean of the two large dimensions, in deviations")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=None)
    parser.add_argument("--peers", help="folder to import the other packages from")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peers:
        sys.path.append(options.peers)
    found, missing = available()
    print(f"{platform.machine()}, {options.threads} thread(s), torch {torch.__version__}, float32 states")
    print(
        "against:",
        ", ".join(f"{c.name} {version(c.name.replace('_', '-'))}" for c in found)
        or "none of the packages is installed",
    )
    for line in missing:
        print(line)
    contenders = [ours("debiased"), ours("biased"), textbook(), *found, paper()]
    with torch.no_grad():
        for case in CASES:
            if options.cases is None or case.name in options.cases:
                measure(case, contenders, options.rounds, options.offset)
    print(
        "\n* measured on two layers (its memory too) and scaled by the number of cells; nan: the value was not a number"
    )


if __name__ == "__main__":
    main()
