"""A study that is killed and resumed, against the same study left alone: every number, to the bit.

    python benchmarks/resumption.py --model FOLDER --tasks FOLDER [--select cola multi30k_en_de sst2 mnli] [--rows 20]

The study is run once whole. A second one of the same plan gets SIGKILL in the middle of the training of all tasks, of
its longest ``states`` stage and of its last training, is started anew each time, and at the end every file with numbers
(results, states, held-out losses, adapters, the monitors' profiles) is compared byte by byte.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

PLAN = """
name: study
model: {model}
output_dir: {output}
tasks: {{source: {tasks}, select: [{select}]}}
training: {{learning_rate: 1.0e-3, epochs: 1, batch_size: 8, accumulate: 1, max_examples_per_task: {rows},
           max_length: 256, monitor_examples: 8, control_budget: converged, control_max_epochs: 2}}
probes: {{examples_per_task: 16, min_examples: 8, max_length: 256}}
threads: 1
"""
_FINISHED = re.compile(r"\[ *\d+/\d+\] (\S+) ([\d.]+) s")
# Of the rest, as of the logs, files hold durations beside their numbers, or are pictures of them.
_NUMBERS = (".csv", ".parquet", ".safetensors")
_NUMBERS_IN_JSON = ("convergence.json", "measured.json", "summary.json", "transitions.json", "signals.json")
# A stage of fewer seconds is over before it can be killed.
_SHORTEST = 1.0


@contextmanager
def running(plan: Path) -> Iterator[subprocess.Popen[str]]:
    """The study in a process of its own, with what it prints."""
    command = [sys.executable, "-m", "lightning_layerscope", "study", "run", str(plan), "--yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process


def run(plan: Path) -> dict[str, float]:
    """Run to the end; stages that were not there before, in their order, with their seconds."""
    with running(plan) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the study failed:\n{printed}")
    return {name: float(seconds) for name, seconds in _FINISHED.findall(printed)}


def kill_in(plan: Path, stage: str, before: str, seconds: float) -> None:
    """Start, and kill in the middle of a stage that begins when the one before it is done.

    Raises:
        SystemExit: If the stage was over before that.
    """
    with running(plan) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if (found := _FINISHED.search(line)) and found[1] == before:
                break
        time.sleep(seconds / 2)
        process.kill()
        rest = process.stdout.read()
    if process.returncode >= 0 or stage in dict(_FINISHED.findall(rest)):
        raise SystemExit(f"{stage} was over before it could be killed:\n{rest}")
    print(f"killed in {stage}, {seconds / 2:.1f} of {seconds:.1f} s", flush=True)


def numbers(folder: Path) -> dict[str, bytes]:
    """Every file with numbers below a study's folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    wanted = (path for path in files if path.suffix in _NUMBERS or path.name in _NUMBERS_IN_JSON)
    wanted = (path for path in wanted if path.parent.name != "log")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in wanted}


def main() -> None:
    """One line per kill, and one of the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--select", nargs="+", default=["cola", "multi30k_en_de", "sst2", "mnli"])
    parser.add_argument("--rows", type=int, default=20)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as place:
        plans = {}
        for name in ("whole", "killed"):
            plans[name] = Path(place, f"{name}.yaml")
            text = PLAN.format(
                model=Path(options.model).resolve(),
                tasks=Path(options.tasks).resolve(),
                select=", ".join(options.select),
                rows=options.rows,
                output=name,
            )
            plans[name].write_text(text, encoding="utf-8")
        seconds = run(plans["whole"])
        stages = list(seconds)
        longest = max((name for name in stages if name.startswith("states:")), key=lambda name: seconds[name])
        last = next(name for name in reversed(stages) if name.startswith("control:"))
        for before, stage in pairwise(stages):
            if stage in ("multitask", longest, last) and seconds[stage] >= _SHORTEST:
                kill_in(plans["killed"], stage, before, seconds[stage])
        run(plans["killed"])
        whole, killed = (numbers(Path(place, name)) for name in plans)
    if whole.keys() != killed.keys():
        raise SystemExit(f"other files: {sorted(whole.keys() ^ killed.keys())}")
    differ = [name for name in whole if whole[name] != killed[name]]
    if differ:
        raise SystemExit(f"{len(differ)} of {len(whole)} files differ: {differ}")
    print(f"{len(whole)} files with numbers ({sum(map(len, whole.values())) / 1e6:.1f} MB) are equal to the bit")


if __name__ == "__main__":
    main()
