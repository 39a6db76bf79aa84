"""Two processes: the numbers of one, training untouched, and a rank that fails hangs nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_layerscope import ReferenceBank, RunRecord, compare, extract_hidden_states

SCRIPT = Path(__file__).with_name("ddp_run.py")
pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs, one after the other: each costs two imports of Lightning."""
    found = {}
    for what in ("plain", "shared", "rank 1 fails", "rank 0 alone"):
        out = tmp_path_factory.mktemp(what.replace(" ", "-"))
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "PYTEST_"))}
        environment |= {"OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            [sys.executable, str(SCRIPT), str(out), what], env=environment, capture_output=True, text=True, timeout=240
        )
        assert process.returncode == 0, process.stderr[-3000:]
        found[what] = (out, torch.load(out / "end.pt"), process.stderr)
    return found


@pytest.mark.parametrize("what", ["shared", "rank 1 fails", "rank 0 alone"])
def test_training_is_bitwise_the_same(runs, what):
    plain, watched = runs["plain"][1], runs[what][1]
    assert plain["losses"] == watched["losses"]
    assert all(torch.equal(plain["model"][key], watched["model"][key]) for key in plain["model"])


@pytest.mark.parametrize("what", ["shared", "rank 0 alone"])
def test_the_numbers_are_those_of_one_process(runs, tiny, what):
    out, end, _ = runs[what]
    record = RunRecord.load(out / "results")
    assert record.steps == [0, 2, 4]
    assert record.profile.tasks == [f"t{task}" for task in range(5)]
    model = tiny.llama()
    bank = ReferenceBank.load(out / "results" / "reference")
    start = compare(extract_hidden_states(model, tiny.probes(tasks=5, examples=6)), bank)
    assert start.matrix() == pytest.approx(record.profile.matrix(step=0), abs=1e-5)
    model.load_state_dict(end["model"])
    last = compare(extract_hidden_states(model, tiny.probes(tasks=5, examples=6)), bank)
    assert last.matrix() == pytest.approx(record.profile.matrix(step=4), abs=1e-5)
    assert (last.matrix() < 0.9999).any()
    assert end["failures"] == {}


def test_a_rank_that_fails_is_told_of_and_hangs_nobody(runs):
    out, end, _ = runs["rank 1 fails"]
    assert RunRecord.load(out / "results").steps == [0]
    assert end["failures"]["measurement"] >= 2
