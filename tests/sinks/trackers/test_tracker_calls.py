"""Trackers whose libraries need an account: stand-ins of their documented calls. And CSV, which is Lightning's own."""

import csv
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lightning_layerscope.compat.trackers import tracker_kind
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.results import Results
from lightning_layerscope.sinks import sinks_for, tracker
from lightning_layerscope.sinks.loggers import arrivals
from lightning_layerscope.sinks.patience import UnresponsiveError
from lightning_layerscope.sinks.tracker import Tracker, TrackerSink

FIRST = "layerscope/cka/layer_01"


class Calls:
    """Keeps what it is called with, by the name of the call."""

    def __init__(self):
        self.seen = []

    def __getattr__(self, name):
        if name.startswith("_") or name in ("experiment", "log_hyperparams"):
            raise AttributeError(name)
        return lambda *values, **named: self.seen.append((name, values, named))

    def of(self, name):
        return [(values, named) for called, values, named in self.seen if called == name]


def of_package(package, name):
    """An object of a class with this name, of a package with this."""
    return type(name, (Calls,), {"__module__": f"{package}.somewhere"})()


@pytest.fixture
def record(kit):
    return kit.make_record((0, 20), tasks=4, clusters=2, layers=3)


@pytest.mark.parametrize("wrapped", [False, True], ids=["experiment", "logger"])
def test_comet(record, tried, wrapped):
    experiment = of_package("comet_ml", "BaseExperiment")
    handle = experiment
    if wrapped:
        logger = type("CometLogger", (), {"log_hyperparams": None, "log_metrics": None})
        handle = logger()
        handle.experiment = experiment
    (sink,) = sinks_for(handle)
    assert sink.arrives == "scalars, pictures and curves to Comet"
    tried.replay(sink, record)
    assert [(FIRST in row, named["step"]) for (row,), named in experiment.of("log_metrics")] == [(True, 3), (True, 23)]
    images = [(named["name"], named["step"]) for _, named in experiment.of("log_image")]
    assert len(images) == 8
    assert ("layerscope/heatmap/task_x_task/2", 23) in images
    curves = {values[0]: named for values, named in experiment.of("log_curve") if named["step"] == 23}
    assert curves["layerscope/curves/all"]["x"] == [1, 2, 3]
    assert curves["layerscope/curves/all"]["y"] == pytest.approx(record.profile.matrix()[:3].mean(0).tolist(), abs=0.1)


def test_clearml(record, tried):
    task, logger = of_package("clearml", "Task"), Calls()
    task.get_logger = lambda: logger
    (sink,) = sinks_for(task)
    assert sink.arrives == "scalars, pictures and curves to ClearML"
    tried.replay(sink, record)
    scalars = [values for values, _ in logger.of("report_scalar") if values[:2] == ("layerscope/cka", "layer_01")]
    assert [values[3] for values in scalars] == [3, 23]
    images = [(values, named["iteration"]) for values, named in logger.of("report_image")]
    assert len(images) == 8
    assert (("layerscope/heatmap", "layer_x_task"), 3) in images
    points = {values[1]: named["scatter"] for values, named in logger.of("report_scatter2d") if named["iteration"] == 3}
    assert [layer for layer, _ in points["all"]] == [1, 2, 3]


def test_litlogger(record, tried, monkeypatch):
    module = ModuleType("litlogger")
    module.Image = lambda path: Path(path).read_bytes()
    monkeypatch.setitem(sys.modules, "litlogger", module)
    series, rows = {}, []

    class LitLogger:
        log_hyperparams = None

        class Experiment:
            def __getitem__(self, key):
                kept = series.setdefault(key, [])
                return SimpleNamespace(append=lambda image, step: kept.append((image[:4], step)))

        experiment = Experiment()

        def log_metrics(self, row, step):
            rows.append((FIRST in row, step))

    (sink,) = sinks_for(LitLogger())
    assert sink.arrives == "scalars and pictures to LitLogger"
    tried.replay(sink, record)
    assert rows == [(True, 3), (True, 23)]
    assert series["layerscope/heatmap/layer_x_task"] == [(b"\x89PNG", 3), (b"\x89PNG", 23)]
    assert len(series) == 4


def test_csv_has_files_beside_it(tmp_path, record, tried):
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    (sink,) = sinks_for(logger)
    tried.replay(sink, record)
    folder = Path(logger.log_dir)
    with (folder / "metrics.csv").open(newline="") as file:
        assert [(row["step"], row[FIRST] != "") for row in csv.DictReader(file)] == [("3", True), ("23", True)]
    pictures = folder / "layerscope-pictures"
    assert sorted(path.name for path in (pictures / "heatmap" / "layer_x_task").iterdir()) == [
        "step-0000000000.png",
        "step-0000000020.png",
    ]
    with (folder / "layerscope-curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["step"] for row in rows} == {"0", "20"}
    assert [row["layer"] for row in rows if row["line"] == "all" and row["step"] == "0"] == ["1", "2", "3"]


def test_a_tracker_that_does_not_answer_is_waited_for_once(record, monkeypatch):
    monkeypatch.setattr(tracker, "SECONDS_TO_LOG", 0.05)

    class Gone(Tracker):
        name = "Gone"
        calls = 0

        def log_row(self, row, step):
            self.calls += 1
            time.sleep(5)

    gone = Gone(None)
    sink = TrackerSink(gone)
    with pytest.raises(UnresponsiveError, match=r"Gone has not answered within 0\.05 s; nothing more is logged"):
        sink.log(record.measurements[0], record, 0)
    sink.log(record.measurements[0], record, 0)
    assert gone.calls == 1


def test_a_tracker_that_fails_is_named_and_the_others_are_logged_to(tmp_path, record):
    class Broken(Tracker):
        def log_row(self, row, step):
            raise ConnectionError("no route")

    class One(Broken):
        name = "One"

    class Two(Broken):
        name = "Two"

    task, logger = of_package("clearml", "Task"), Calls()
    task.get_logger = lambda: logger
    failures = Failures("layerscope", verbose=False)
    results = Results(failures, report=False)
    results.begin(RunRecord(record.config), Location(None))
    results.open(None, lambda prompts: [TrackerSink(One(None)), TrackerSink(Two(None)), *sinks_for(task)])
    with pytest.warns(RuntimeWarning, match="no route") as warned:  # noqa: PT031 - of all of them, two
        for measurement in record.measurements:
            results.keep(measurement, None, measurement.step)
    assert [str(each.message).split(":")[1] for each in warned] == [" One failed", " Two failed"]
    assert failures.counts == {"One": 2, "Two": 2}
    assert (
        len([values for values, _ in logger.of("report_scalar") if values[:2] == ("layerscope/cka", "layer_01")]) == 2
    )


def test_handles_are_known_by_class_and_package():
    assert tracker_kind(of_package("dvclive", "Live")) == "dvclive"
    assert tracker_kind(of_package("other", "Live")) is None
    assert tracker_kind(object()) is None
    assert tracker_kind(None) is None


def test_what_is_logged_where_is_said(record):
    class Own:
        def start(self, record):
            pass

        log = finish = start

    sinks = sinks_for([of_package("clearml", "Task"), Own()])
    assert arrivals(sinks) == "scalars, pictures and curves to ClearML; results to Own"
