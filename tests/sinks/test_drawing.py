"""Pictures and the report are drawn by a process of their own, and arrive under the steps of their measurements."""

import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

from lightning_layerscope.drawing import process
from lightning_layerscope.drawing.process import DrawingProcess
from lightning_layerscope.drawing.worker import Wanted
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.drawings import Drawings
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.results import Results
from lightning_layerscope.sinks import ScalarSink, sinks_for
from tests.processes import lives


def run_through(kit, folder, sinks, *, breaks=lambda record: None, seconds=300.0):
    """A run of three measurements with files, numbers and drawings, as the monitor does it; gives its failures."""
    record = kit.make_record(tasks=4, clusters=2, layers=4)
    failures = Failures("layerscope", verbose=False)
    drawings, growing = Drawings(failures, report=True), RunRecord(record.config, run_id=record.run_id)
    for sink in sinks:
        sink.start(growing)
    drawings.open(sinks)
    for measurement in record.measurements:
        growing.add(measurement)
        breaks(growing)
        growing.save(folder)
        for sink in sinks:
            sink.log(measurement, growing, measurement.step + 3)
        drawings.ask(folder, growing, measurement.step + 3)
        drawings.deliver()
    drawings.finish(folder, growing, seconds=seconds)
    for sink in sinks:
        sink.finish(growing, "finished")
    return failures


def test_pictures_reach_both_trackers_with_their_own_steps_and_the_report_is_of_the_last(tmp_path, kit, offline_run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    run, read = offline_run()
    with SummaryWriter(tmp_path / "board") as writer:
        failures = run_through(kit, tmp_path / "run", sinks_for([writer, run]))
    assert failures.counts == {}
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.step for event in events.Images("layerscope/heatmap/layer_x_task")] == [3, 23, 43]
    assert [event.step for event in events.Scalars("layerscope/cost/seconds")] == [3, 23, 43]
    found = read()
    assert found.column("layerscope/picture_step") == [0, 20, 40]
    captions = [row[key] for row in found.history for key in row if key == "layerscope/heatmap/layer_x_task/captions"]
    assert captions == [["step 0"], ["step 20"], ["step 40"]]
    assert found.column("layerscope/cost/seconds") == [0.25] * 3
    assert '"steps":[0,20,40]' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not list((tmp_path / "run").glob(".*")), "nothing that was handed over is left"


class Rows:
    """A logger that keeps what it is given, and takes pictures."""

    def __init__(self):
        self.rows, self.pictures = [], []

    def log_metrics(self, row, step):
        self.rows.append((step, row))


class Pictured(ScalarSink):
    def wants_pictures(self, record):
        return True

    def log_pictures(self, pictures, *, step, host_step, last):
        self._logger.pictures.append(step)
        return True


def test_a_measurement_that_cannot_be_drawn_loses_its_pictures_and_the_report(tmp_path, kit):
    def breaks(record):
        if record.steps[-1] == 20:
            record.measurements[-1].layer_x_layer = record.measurements[-1].layer_x_layer[:3, :3]

    logger = Rows()
    with (
        pytest.warns(RuntimeWarning, match=r"pictures failed at step 20: .*expected a matrix of shape \(4, 4\)"),
        pytest.warns(RuntimeWarning, match="the report could not be made"),  # it holds every measurement
    ):
        failures = run_through(kit, tmp_path, [Pictured(logger)], breaks=breaks)
    assert failures.counts == {"pictures": 1, "drawing": 1}
    assert logger.pictures == [0, 40]
    assert [step for step, _ in logger.rows] == [3, 23, 43]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no fonts here')", r"has ended .*no fonts here"),
        ("import sys; [sys.stdin.readline() for _ in range(2)]; sys.exit(3)", r"has ended \(exit status 3\)"),
        ("import os, sys; sys.exit('GPU: ' + repr(os.environ['CUDA_VISIBLE_DEVICES']))", r"has ended .*GPU: ''"),
        ("import time; time.sleep(600)", r"not finished 0\.5 s after the end of the run: pictures of 3 measurements"),
    ],
    ids=["dies at once", "dies later", "sees no card", "too slow"],
)
def test_a_process_that_dies_or_is_slow_costs_a_warning_and_no_number(tmp_path, kit, monkeypatch, code, said):
    monkeypatch.setattr(process, "_CODE", code)
    logger = Rows()
    with pytest.warns(RuntimeWarning, match=rf"{said}.* All numbers are kept; `layerscope report .*` makes report"):
        failures = run_through(kit, tmp_path, [Pictured(logger)], seconds=0.5 if "sleep" in code else 300)
    assert set(failures.counts) == {"drawing"}
    assert [step for step, _ in logger.rows] == [3, 23, 43]
    assert RunRecord.load(tmp_path).steps == [0, 20, 40]
    assert not list(tmp_path.glob(".*"))


def test_a_process_that_was_killed_is_replaced_and_the_report_is_of_the_last(tmp_path, kit, monkeypatch):
    """Out of memory, say, in the last measurement."""
    ask = DrawingProcess.ask

    def ask_and_kill(self, step, **wanted):
        ask(self, step, **wanted)
        if step == 40 and wanted["pictures"]:
            self._process.kill()

    monkeypatch.setattr(DrawingProcess, "ask", ask_and_kill)
    logger = Rows()
    with pytest.warns(RuntimeWarning, match=r"has ended \(exit status -9\).* drawing begins anew"):
        failures = run_through(kit, tmp_path, [Pictured(logger)])
    assert failures.counts == {"drawing": 1}
    assert 40 not in logger.pictures, "what the killed one owed is left out"
    assert '"steps":[0,20,40]' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_it_imports_nothing_from_where_the_run_was_started(tmp_path, kit, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (here / "json.py").write_text("raise SystemExit('this is not yours')")
    monkeypatch.chdir(here)
    logger = Rows()
    assert run_through(kit, tmp_path / "run", [Pictured(logger)]).counts == {}
    assert logger.pictures == [0, 20, 40]


def test_ctrl_c_while_the_end_waits_keeps_the_last_rows_and_ends_the_process(tmp_path, kit, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(DrawingProcess, "wait", interrupt)
    ended, finished = [], []
    close = DrawingProcess.close
    monkeypatch.setattr(DrawingProcess, "close", lambda self: ended.append(close(self)))
    logger = SimpleNamespace(log_metrics=lambda row, step: None, save=lambda: finished.append(True))
    results = Results(Failures("layerscope", verbose=False), report=True)
    record = kit.make_record((0,), tasks=4, clusters=2, layers=4)
    results.begin(RunRecord(record.config), Location(tmp_path / "run"))
    results.open(None, lambda prompts: [ScalarSink(logger)])
    results.keep(record.measurements[0], None, 0)
    with pytest.raises(KeyboardInterrupt):
        results.finish("finished", None)
    assert len(ended) == 1
    assert finished


def test_reports_take_a_fifth_of_the_time_while_pictures_wait_and_the_newest_comes_at_once_without():
    wanted, now, made = Wanted(), 0.0, []
    for number in range(1, 41):  # a measurement takes 2 s here, its pictures 3 s, a report 1 s
        wanted.add({"request": number, "step": number, "pictures": True, "report": True})
        if now <= 2 * number:
            now += 3
            wanted.steps.popleft()
            if page := wanted.take_page(now):
                made.append(page)
                wanted.page_took(now, now + 1)
                now += 1
    assert len(wanted.steps) > 5, "pictures are behind"
    assert 8 <= len(made) <= 12
    assert made == sorted(made)
    left = len(wanted.steps)
    for waiting in range(left, 0, -1):
        assert not wanted.take_page(now) or waiting == left
        wanted.steps.popleft()
    wanted.add({"request": 41, "step": 41, "pictures": False, "report": True})
    assert wanted.take_page(now) == 41
    assert wanted.take_page(now) == 0, "it is made once"


def test_requests_are_never_waited_for(tmp_path, monkeypatch):
    """Not even where the pipe is full, because nobody reads it."""
    monkeypatch.setattr(process, "_CODE", "import time; time.sleep(600)")
    drawing = DrawingProcess(tmp_path)

    def ask_without_end():
        for step in range(100_000):
            drawing.ask(step, pictures=True, report=True)

    try:
        with pytest.raises(process.DrawingStoppedError, match="takes no requests"):
            ask_without_end()
    finally:
        drawing.close()


def test_it_ends_with_the_process_that_trains_however_that_ends(tmp_path, kit):
    kit.make_record((0,), tasks=2, clusters=1, layers=2).save(tmp_path)
    code = """
        import os, pathlib, sys, time
        from lightning_layerscope.drawing.process import DrawingProcess

        drawing = DrawingProcess(pathlib.Path(sys.argv[1]))
        drawing.ask(0, pictures=True, report=False)
        while not drawing.has_pictures(0):
            drawing.check()
            time.sleep(0.05)
        print(drawing._process.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    number = int(done.stdout)
    deadline = time.monotonic() + 120
    while lives(number):
        assert time.monotonic() < deadline, "the process outlives the one that trains"
        time.sleep(0.1)
    assert not list(tmp_path.glob(".*")), "it clears up"
