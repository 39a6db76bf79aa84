"""Two processes: the numbers of one, training untouched, and a rank that fails hangs nobody."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_layerscope import ReferenceBank, RunRecord, compare, extract_hidden_states

SCRIPT = Path(__file__).with_name("ddp_run.py")
RUNS = ("plain", "shared", "rank 1 fails", "rank 0 alone", "stopped", "sharded plain", "sharded watched")
pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All runs in one start of two processes: each start costs two imports of Lightning."""
    out = tmp_path_factory.mktemp("runs")
    process = run(out, *RUNS)
    assert process.returncode == 0, process.stderr[-3000:]
    places = {what: out / what.replace(" ", "-") for what in RUNS}
    return {what: (place, torch.load(place / "end.pt")) for what, place in places.items()}


def environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "PYTEST_"))}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def run(out, *runs):
    command = [sys.executable, str(SCRIPT), str(out), *runs]
    # A session of its own: the launcher signals the group it is in.
    return subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        start_new_session=True,
    )


@pytest.mark.parametrize("what", ["shared", "rank 1 fails", "rank 0 alone"])
def test_training_is_bitwise_the_same(runs, what):
    plain, watched = runs["plain"][1], runs[what][1]
    assert plain["losses"] == watched["losses"]
    assert all(torch.equal(plain["model"][key], watched["model"][key]) for key in plain["model"])


@pytest.mark.parametrize("what", ["shared", "rank 0 alone"])
def test_the_numbers_are_those_of_one_process(runs, tiny, what):
    out, end = runs[what]
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


def test_answers_and_gradients_of_all_processes_come_together(runs, tiny):
    from lightning_layerscope.comparison.weight_updates import full_updates
    from lightning_layerscope.monitor.answers import answer_probes
    from lightning_layerscope.monitor.gradients import conflict_curve, task_gradients

    out, end = runs["shared"]
    last = RunRecord.load(out / "results").measurements[-1]
    model = tiny.llama()
    model.load_state_dict(end["model"])
    probes = tiny.probes(tasks=5, examples=6, answers=3)
    groups = {"answers": probes, "retention": tiny.probes(tasks=3, examples=6, answers=2, seed=3)}
    alone = answer_probes(model, groups, dict.fromkeys(groups, frozenset(["loss"])), None).rows
    assert len(alone) == 8
    for key, rows in alone.items():
        np.testing.assert_allclose(last.behaviour.rows[key], rows, rtol=1e-4)
    assert set(last.behaviour.scores["retention/kl"]) == {"", "t0", "t1", "t2"}
    assert last.curves["retention_drift"][0].min() > 0
    conflict = conflict_curve(task_gradients(model, probes, 6))
    np.testing.assert_allclose(last.curves["gradient_conflict"], conflict, atol=0.101)  # one pair may lie on the edge
    assert np.isfinite(last.curves["separability"]).all()
    begun = dict(tiny.llama().named_parameters())
    np.testing.assert_allclose(last.curves["update"][0], full_updates(model, begun.__getitem__).numpy(), rtol=1e-5)


def test_an_alert_ends_the_training_on_every_process(runs):
    assert runs["stopped"][1]["step"] == 2


def test_a_rank_that_fails_is_told_of_and_hangs_nobody(runs):
    out, end = runs["rank 1 fails"]
    assert RunRecord.load(out / "results").steps == [0]
    assert end["failures"]["measurement"] >= 2


def test_a_rank_that_dies_ends_the_run_as_it_would_without_the_monitor(tmp_path):
    process = run(tmp_path, "rank 1 dies")
    results = tmp_path / "rank-1-dies" / "results"
    assert process.returncode != 0
    assert not (tmp_path / "rank-1-dies" / "end.pt").exists()
    assert RunRecord.load(results).steps == [0]
    assert not [path for path in results.iterdir() if path.name.startswith(".")]


def test_fsdp2_is_watched_passively_and_active_mode_is_refused_on_every_rank(runs, tiny):
    from lightning_layerscope.monitor.validation_recorder import _content_id
    from lightning_layerscope.probes import Probe, ProbeSet

    plain, (out, watched) = runs["sharded plain"][1], runs["sharded watched"]
    assert plain["losses"] == watched["losses"]
    assert all(torch.equal(plain["model"][key], watched["model"][key]) for key in plain["model"])
    assert watched["failures"] == [{}]
    for rank in range(2):
        assert 'use mode="passive"' in (out / f"refused-{rank}.txt").read_text()
    record = RunRecord.load(out / "results")
    assert record.steps == [0, 2, 4]
    assert record.profile.meta.examples == {"a": 9, "b": 9}  # the sampler's padding is dropped
    rows, probes = tiny.rows(), []
    for task, part in (("a", rows[:9]), ("b", rows[9:18])):
        ordered = sorted((_content_id(row), tuple(row.tolist())) for row in part)
        names, ids = zip(*ordered, strict=True)
        probes.append(Probe(task, task, names, names, ids))
    model, probes = tiny.llama(), ProbeSet(probes, vocab_size=tiny.vocabulary)
    before = extract_hidden_states(model, probes)
    model.load_state_dict(watched["model"])
    again = compare(dict(extract_hidden_states(model, probes)), dict(before))
    assert again.matrix() == pytest.approx(record.profile.matrix(step=4), abs=1e-4)


@pytest.mark.parametrize("kind", ["trainer", "loop"])
def test_accelerate_in_two_processes(tmp_path, tiny, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, str(SCRIPT.with_name("accelerate_run.py")), kind, str(tmp_path)]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            command,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said[0][-3000:]
    end = torch.load(tmp_path / "end.pt")
    assert end["failures"] == {}
    assert all(torch.equal(end["plain"][key], end["watched"][key]) for key in end["plain"])
    record = RunRecord.load(tmp_path / "watched" / "layerscope")
    assert record.steps == [0, 2, 4]
    model, probes = tiny.llama(), tiny.probes(tasks=5, examples=6)
    bank = ReferenceBank.load(tmp_path / "watched" / "layerscope" / "reference")
    model.load_state_dict(end["watched"])
    again = compare(extract_hidden_states(model, probes), bank)
    assert again.matrix() == pytest.approx(record.profile.matrix(step=4), abs=1e-5)
