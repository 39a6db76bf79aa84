"""Speed, memory and accuracy of linear CKA against other packages, interleaved in one run.

    python benchmarks/similarity.py [--rounds 5] [--threads 1] [--cases cell live matrix] [--peers FOLDER]

Peers are only imported, never installed; those that are absent are named. ``--peers`` adds a folder to look in (made
with ``pip install --target FOLDER --no-deps pytorch-cka torch-cka cka-pytorch ckatorch repsim``).
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass
class Job:
    """One contender in one case."""

    function: Callable[[], Any]
    scale: float = 1.0  # measured on fewer layers, by this factor
    once: bool = False
    seconds: list[float] = field(default_factory=list)
    facts: tuple[float, float, float] | None = None  # error with and without an offset, peak extra MB


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
        name: [
            run(case, c, a.double(), b.double(), c.prepare(b.double()) if case.name == "live" else b)
            for a, b in ((x, y), tame)
        ]
        for name, c in judge.items()
    }
    products = bare(case)
    jobs = {"bare torch.mm": Job(lambda: products(x, y))}
    for contender in contenders:
        jobs[contender.name] = make_job(case, contender, ((x, y), tame), exact[contender.estimator])
    for _ in range(rounds):
        for job in jobs.values():
            if not (job.seconds and job.once):
                begin = time.perf_counter()
                job.function()
                job.seconds.append((time.perf_counter() - begin) * job.scale)
    report(case, jobs)


def make_job(case: Case, contender: Contender, data: tuple[tuple[Tensor, Tensor], ...], exact: list[Tensor]) -> Job:
    """Try a contender on two layers, decide how much of the case it can be asked for, and see how far off it is."""
    (x, y), few = data[0], min(case.layers, 2)
    # Only the live case uses a reference again and again.
    prepared = [contender.prepare(b) if case.name == "live" else b for _, b in data]
    begin = time.perf_counter()
    first = run(case, contender, x[:few], y[:few], prepared[0][:few])
    took = time.perf_counter() - begin
    scale = (case.layers / few) ** case.power
    layers = few if contender.pairwise and took * scale > PATIENCE else case.layers
    job = Job(
        lambda: run(case, contender, x[:layers], y[:layers], prepared[0][:layers]), (case.layers / layers) ** case.power
    )
    if layers == few and took > PATIENCE:
        job.seconds, job.once = [took * scale], True
        job.facts = (error(case, exact[0], first, layers), math.nan, math.nan)
        return job
    job.once = job.scale > 1
    errors = [
        error(case, values, run(case, contender, a[:layers], b[:layers], kept[:layers]), layers)
        for values, (a, b), kept in zip(exact, data, prepared, strict=True)
    ]
    job.facts = (errors[0], errors[1], peak_extra(job.function))
    return job


def report(case: Case, jobs: dict[str, Job]) -> None:
    seconds = {name: statistics.median(job.seconds) for name, job in jobs.items()}
    own = seconds["lightning-layerscope (debiased)"]
    print(f"\n### {case.title}\n")
    print("| | seconds | times ours | share of bare torch.mm | error, offset | error, no offset | peak extra MB |")
    print("|---|---|---|---|---|---|---|")
    for name in sorted(seconds, key=seconds.__getitem__):
        facts = jobs[name].facts
        last = "- | - | -" if facts is None else "{:.0e} | {:.0e} | {:.0f}".format(*facts)
        scaled = "*" if jobs[name].scale > 1 else ""
        share = seconds["bare torch.mm"] / seconds[name]
        numbers = f"{seconds[name]:.3f}{scaled} | {seconds[name] / own:.2f} | {share:.0%}"
        print(f"| {name} | {numbers} | {last} |", flush=True)
    by_hand = ("bare", "lightning-layerscope", "textbook")
    others = {name: value for name, value in seconds.items() if not name.startswith(by_hand)}
    correct = {name: value for name, value in others.items() if (jobs[name].facts or (math.inf,))[0] < 1e-4}
    for label, group in (("fastest", others), ("fastest correct one (error < 1e-4)", correct)):
        if group:
            best = min(group, key=group.__getitem__)
            print(f"\n{label} of the other packages: {best}, {group[best] / own:.2f} times our time")


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
    contenders = [ours("debiased"), ours("biased"), textbook(), textbook(kept=True), *found, paper()]
    with torch.no_grad():
        for case in CASES:
            if options.cases is None or case.name in options.cases:
                measure(case, contenders, options.rounds, options.offset)
    print(
        "\n* measured on two layers (its memory too) and scaled by the number of cells; nan: the value was not a number"
    )


if __name__ == "__main__":
    main()
