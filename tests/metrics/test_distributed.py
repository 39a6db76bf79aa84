"""Two and three processes give the value of one, with uneven and empty ranks and a sampler's repetitions.

One start of three processes serves all layouts and metrics: starting them takes longer than the checks.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.metrics import metric_cases as cases

HERE = Path(__file__).parent
N = cases.EXAMPLES
LAYOUTS = {
    "two, first empty": [[], list(range(N))],
    # Uneven shares in no order; ranks repeat their own examples and others', as a padding sampler does.
    "two, uneven, repeating": [[*range(25, N), 0, 1], [*range(25), 24, 24, 44]],
    "three, uneven, one empty, repeating": [list(range(0, N, 2)), [], [*range(1, N, 2), 0]],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, dict[str, list]]]:
    """What every process computed, by layout and metric."""
    folder = tmp_path_factory.mktemp("ranks")
    outputs = [folder / f"rank{rank}.json" for rank in range(3)]
    script = [sys.executable, str(HERE / "rank_process.py")]
    processes = [
        subprocess.Popen(
            [*script, str(rank), str(folder / "rendezvous"), json.dumps(LAYOUTS), str(output)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0], "\n".join(errors)
    return [json.loads(output.read_text()) for output in outputs]


@pytest.mark.distributed
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", cases.CASES)
def test_every_rank_has_the_value_of_one_process(name, layout, found, tolerances):
    expected = cases.CASES[name].value()
    for rank in range(len(LAYOUTS[layout])):
        values = found[rank][layout]
        for key in (name, f"{name} in a collection"):
            if key in values:
                value = torch.tensor(values[key], dtype=torch.float64)
                torch.testing.assert_close(
                    value, expected, rtol=0, atol=tolerances.DISTRIBUTED, check_dtype=False, msg=f"{key} on rank {rank}"
                )


@pytest.mark.distributed
def test_collections_were_checked_too(found):
    assert sum("in a collection" in key for key in found[0]["two, first empty"]) > 5
