"""A run forked or rewound at one of its rows goes on after it, with every row of the monitor and of the user."""

import pytest

from lightning_layerscope.sinks import WandbSink
from tests.loopback import serving, start


def train(kit, run, steps, measured):
    """A user who logs with ``step=``, after the measurement of that step, which finds the row before still open."""
    record = kit.make_record(measured, tasks=2, clusters=1, layers=2)
    sink, growing, waiting = WandbSink(run), type(record)(record.config), list(record.measurements)
    sink.start(growing)
    for step in steps:
        if step in measured:
            growing.add(waiting.pop(0))
            sink.log(growing.measurements[-1], growing, step)
        run.log({"loss": float(step), "of": run.id}, step=step)
    sink.finish(growing, "finished")
    run.finish()


@pytest.mark.parametrize("how", ["fork_from", "resume_from"])
def test_rows_after_a_fork_or_rewind_keep_their_steps(tmp_path, kit, monkeypatch, how):
    """The first measurement comes before any row of the user's, and neither pushes nor covers it."""
    with serving(monkeypatch) as server:
        before = start(tmp_path)
        train(kit, before, range(6), (0, 2))
        if how == "fork_from":  # a run of its own, which the server shows behind the rows of the other
            server.lines.clear()
        after = start(tmp_path, **{how: f"{before.id}?_step=3"})
        train(kit, after, range(4, 8), (4, 6))
    rows = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    kept = [(row["_step"], row["loss"], row["of"]) for row in rows if "loss" in row]
    old = [] if how == "fork_from" else [(step, float(step), before.id) for step in range(4)]
    assert kept == [*old, *((step, float(step), after.id) for step in range(4, 8))]
    measured = [(row["_step"], row["layerscope/step"]) for row in rows if "layerscope/cost/seconds" in row]
    assert measured == ([] if how == "fork_from" else [(0, 0), (1, 2)]) + [(4, 4), (5, 6)]
    assert (after.id == before.id) == (how == "resume_from")
