"""Two and three processes give the value of one, with uneven and empty ranks and a sampler's repetitions.

One start of processes per layout checks all metrics: starting them takes longer than the checks.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("metric_cases", HERE / "metric_cases.py")
cases = importlib.util.module_from_spec(spec)
sys.modules["metric_cases"] = cases  # dataclasses look their module up
spec.loader.exec_module(cases)

N = cases.EXAMPLES
LAYOUTS = {
    # A rank sees no data at all.
    "two, first empty": [[], list(range(N))],
    # Uneven shares in no order; every rank repeats examples of others, as a padding sampler does.
    "two, uneven, repeating": [[*range(30, N), 0, 1], [*range(30), 44, 44]],
    "three, uneven, one empty, repeating": [list(range(0, N, 2)), [], [*range(1, N, 2), 0]],
}


def run(shares, folder: Path) -> list[dict[str, list]]:
    outputs = [folder / f"rank{rank}.json" for rank in range(len(shares))]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(HERE / "rank_process.py"),
                str(rank),
                str(len(shares)),
                str(folder / "rendezvous"),
                json.dumps(shares),
                str(output),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(shares), "\n".join(errors)
    return [json.loads(output.read_text()) for output in outputs]


@pytest.mark.distributed
@pytest.mark.parametrize("shares", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_rank_has_the_value_of_one_process(shares, tmp_path, tolerances):
    found = run(shares, tmp_path)
    wrong = []
    for name, case in cases.CASES.items():
        expected = case.value()
        for rank, values in enumerate(found):
            for key in (name, f"{name} again", f"{name} in a collection"):
                if key.endswith("collection") and key not in values:
                    continue
                value = torch.tensor(values[key], dtype=torch.float64)
                if value.shape != expected.shape or not float((value - expected).abs().max()) <= tolerances.DISTRIBUTED:
                    wrong.append((key, rank, value, expected))
    assert not wrong
    assert any(key.endswith("in a collection") for key in found[0])
