"""W&B's process killed or stopped, or its server silent, in the middle of an online run."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import wandb as wandb_library

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.results import Results
from lightning_layerscope.sinks import WandbSink, wandb
from lightning_layerscope.sinks.patience import UnresponsiveError
from tests.loopback import start

KILLED = """
import os, signal, sys
import pytest
import wandb
import lightning_layerscope as ls
from tests.monitor.conftest import make_llama, make_probes

wandb.setup()
run = wandb.init(mode="offline", dir=sys.argv[1], project="test")
monitor = ls.watch(make_llama(), make_probes(tasks=3, examples=6), output_dir=sys.argv[1] + "/out", loggers=run,
                   at_steps=[1, 2, 3], max_overhead=None, report=False, verbose=False)
monitor.start()
for step in (1, 2, 3):
    monitor.step(step)
    if step == 1:
        os.kill(wandb.sdk.wandb_setup.singleton().ensure_service()._proc._process.pid, signal.SIGKILL)
monitor.close()
print(ls.RunRecord.load(sys.argv[1] + "/out").steps, list(monitor.monitor.failures.counts), flush=True)
os._exit(0)  # W&B's own end is not ours
"""


@pytest.fixture
def record(kit):
    return kit.make_record((0, 5, 10), tasks=2, clusters=1, layers=2)


def rows(server):
    return [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]


def measured(server):
    return [row["layerscope/step"] for row in rows(server) if "layerscope/cost/seconds" in row]


def users(server):
    return [row["_step"] for row in rows(server) if "loss" in row]


def test_a_silent_server_is_waited_for_once_and_gets_all_numbers_when_it_answers(server, tmp_path, record, monkeypatch):
    """W&B's process keeps them meanwhile; only a chart or an artifact asks the server."""
    monkeypatch.setattr(wandb, "SECONDS_TO_LOG", 0.5)
    monkeypatch.setattr(wandb, "SECONDS_TO_FINISH", 0.5)
    run = start(tmp_path)
    sink = WandbSink(run)
    sink.start(record)
    server.answering.clear()
    first, *others = record.measurements
    run.log({"loss": 1.0}, step=0)
    with pytest.raises(UnresponsiveError, match=r"store of charts, tables and artifacts has not answered"):
        sink.log(first, record, 0)
    for measurement in others:
        run.log({"loss": 1.0}, step=measurement.step)
        sink.log(measurement, record, measurement.step)
    assert not measured(server)
    with pytest.raises(UnresponsiveError, match=r"artifacts has not answered within 0\.5 s"):
        sink.finish(record, "finished")
    server.answering.set()
    for thread in threading.enumerate():
        if thread.name.startswith("layerscope W&B"):
            thread.join(60)
    run.finish()
    assert measured(server) == [0, 5, 10]
    assert users(server) == [0, 5, 10]
    (last,) = (row for row in rows(server) if "layerscope/profile/clusters_table" in row)
    assert "layerscope/profile/layers_table" in last, "the end makes up for the charts before"
    assert f"layerscope-results-{run.id}" in {each["name"] for each in server.artifacts.values() if each["committed"]}


def test_a_server_that_is_silent_from_the_start_costs_the_lineage_until_the_end_and_no_number(
    server, tmp_path, record, monkeypatch
):
    """The sink is kept: that a reference was used is told behind the numbers, and asked once more at the end."""
    monkeypatch.setattr(wandb, "SECONDS_TO_LOG", 0.5)
    monkeypatch.setattr(wandb, "SECONDS_TO_FINISH", 60.0)
    bank = start(tmp_path)
    bank.log_artifact(wandb_library.Artifact("bank", type="layerscope-reference"))
    bank.finish()
    record.config["reference_artifact"] = "me/test/bank:v3"
    run = start(tmp_path)
    server.answering.clear()
    failures = Failures("layerscope", verbose=False)
    results = Results(failures, report=False)
    results.begin(RunRecord(record.config), Location(None))
    results.open(None, lambda prompts: [WandbSink(run)])
    with pytest.warns(RuntimeWarning, match="artifacts has not answered within") as warned:  # noqa: PT031 - of all, one
        for measurement in record.measurements:
            run.log({"loss": 1.0}, step=measurement.step)
            results.keep(measurement, None, measurement.step)
    assert len(warned) == 1
    assert failures.counts == {"WandbSink": 1}
    assert server.used == []
    server.answering.set()
    results.finish("finished", None)
    run.finish()
    assert len(server.used) == 1
    assert measured(server)[-3:] == [0, 5, 10]
    assert failures.counts == {"WandbSink": 1}


@pytest.mark.parametrize("known", [True, False], ids=["found", "not found"])
def test_a_reference_is_told_once_behind_the_first_numbers(record, known):
    told, run = [], FakeRun()

    def use(name):
        told.append((name, len(run.rows)))
        if not known:
            raise ValueError("no such artifact")

    run.use_artifact = use
    record.config["reference_artifact"] = "me/test/bank:v3"
    sink = WandbSink(run)
    sink.start(record)
    with nullcontext() if known else pytest.raises(ValueError, match="no such artifact"):
        sink.log(record.measurements[0], record, 0)
    sink.log(record.measurements[1], record, 5)
    numbers_and_chart = 2
    assert told == [("me/test/bank:v3", numbers_and_chart)]


class FakeRun:
    """As much of a run as numbers and charts need."""

    offline = disabled = False
    id, name, step = "one", "one", 0

    def __init__(self):
        self.rows, self.config, self.summary = [], {}, {}

    def log(self, row, commit=None):
        self.rows.append(row)

    def define_metric(self, *_, **__):
        pass


def test_a_stopped_process_is_waited_for_once_and_pictures_do_not_ask_it(server, tmp_path, record, monkeypatch):
    from wandb.sdk import wandb_setup

    run = start(tmp_path)
    sink = WandbSink(run)
    first, second, third = record.measurements
    run.log({"loss": 1.0}, step=0)
    sink.log(first, record, 0)
    monkeypatch.setattr(wandb, "SECONDS_TO_LOG", 0.5)
    process = wandb_setup.singleton().ensure_service()._proc._process.pid
    os.kill(process, signal.SIGSTOP)
    try:
        run.log({"loss": 1.0}, step=5)
        with pytest.raises(UnresponsiveError, match=r"W&B has not answered within 0\.5 s"):
            sink.log(second, record, 5)
        sink.log(third, record, 10)
        assert sink.log_pictures([], step=5, host_step=5, last=False)
        sink.finish(record, "finished")
    finally:
        os.kill(process, signal.SIGCONT)
    for thread in threading.enumerate():
        if thread.name.startswith("layerscope W&B"):
            thread.join(60)
    run.finish()
    assert measured(server) == [0, 5]
    assert users(server) == [0, 5]


def test_a_run_whose_wandb_is_killed_goes_on_and_keeps_every_number(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[0, 1, 2, 3] ['WandbSink']", done.stderr
    assert done.stderr.count("WandbSink failed") == 1
