"""A tracker that does not answer is waited for a stated time, once."""

import threading
import time

import pytest

from lightning_layerscope.sinks import WandbSink, wandb
from lightning_layerscope.sinks.patience import Patience, UnresponsiveError


def test_calls_are_made_in_order_and_their_errors_are_raised():
    patience, made = Patience("W&B"), []
    for number in range(3):
        patience.call(lambda number=number: made.append(number), 10)

    def fails():
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        patience.call(fails, 10)
    patience.call(lambda: made.append("still"), 10)
    assert made == [0, 1, 2, "still"]


def test_a_call_that_never_returns_is_left_and_no_other_is_made():
    patience, made, forever = Patience("W&B"), [], threading.Event()
    before = time.monotonic()
    with pytest.raises(UnresponsiveError, match=r"W&B has not answered within 0\.1 s; nothing more is logged to it"):
        patience.call(forever.wait, 0.1)
    patience.call(lambda: made.append("later"), 10)
    assert time.monotonic() - before < 5
    assert made == []
    forever.set()


@pytest.mark.parametrize("dies_at", ["log", "finish"])
def test_wandb_that_dies_in_the_middle_of_a_run_is_waited_for_once(kit, monkeypatch, dies_at):
    forever = threading.Event()
    monkeypatch.setattr(wandb, "SECONDS_TO_LOG", 0.2)
    monkeypatch.setattr(wandb, "SECONDS_TO_FINISH", 0.2)

    class Run:
        config, summary, id, step = {}, {}, "x", 0
        dead = False

        def define_metric(self, *args, **kwargs):
            pass

        def log(self, row, commit=None):
            if self.dead:
                forever.wait()

        def log_artifact(self, artifact):
            forever.wait()

    run, record = Run(), kit.make_record((0, 5), tasks=2, clusters=1, layers=2)
    monkeypatch.setattr(wandb, "MOST_PICTURED", 0)
    sink = WandbSink(run)
    sink.start(record)
    first, last = record.measurements
    sink.log(first, record, 0)
    run.dead = True
    if dies_at == "log":
        with pytest.raises(UnresponsiveError, match=r"W&B has not answered within 0\.2 s"):
            sink.log(last, record, 5)
        sink.finish(record, "finished")
    else:
        with pytest.raises(UnresponsiveError, match=r"artifacts has not answered within 0\.2 s"):
            sink.finish(record, "finished")
    forever.set()
