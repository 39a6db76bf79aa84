"""A monitored training that goes on from a checkpoint in a fork of its W&B run, or in the same run rewound."""

import pytest

import lightning_layerscope as ls
from tests.loopback import serving, start

pytest.importorskip("wandb")
AT = 2
"""The step of the checkpoint, and of W&B's row behind which the other run begins."""


def train(monitor, run, steps, state=None):
    """A loop whose user logs with ``step=`` before each measurement; gives the monitor's state at the checkpoint."""
    kept = None
    if state is not None:
        monitor.load_state_dict(state)
    monitor.start()
    for step in steps:
        run.log({"loss": float(step), "of": run.id}, step=step)
        monitor.step(step)
        kept = monitor.state_dict() if step == AT else kept
    monitor.close()
    assert not monitor.monitor.failures.counts
    run.finish()
    return kept


@pytest.mark.parametrize("how", ["fork_from", "resume_from"])
def test_a_monitor_goes_on_behind_the_row_where_the_other_run_begins(tiny, tmp_path, monkeypatch, how):
    model, probes = tiny.llama(), tiny.probes(tasks=3, examples=6)

    def watch(run, folder):
        options = {"at_steps": [1, 2, 3, 4], "max_overhead": None, "report": False, "verbose": False}
        return ls.watch(model, probes, output_dir=tmp_path / folder, loggers=run, **options)

    with serving(monkeypatch) as server:
        first = start(tmp_path)
        kept = train(watch(first, "first"), first, range(1, 5))
        rows = list(server.lines["wandb-history.jsonl"].values())
        assert [row["layerscope/step"] for row in rows if "layerscope/cost/seconds" in row] == [0, 1, 2, 3, 4]
        if how == "fork_from":  # a run of its own, which the server shows behind the rows of the other
            server.lines.clear()
        second = start(tmp_path, **{how: f"{first.id}?_step={AT}"})
        train(watch(second, "second"), second, range(AT + 1, 5), kept)
    rows = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    before = [] if how == "fork_from" else [(1, first.id), (2, first.id)]
    assert [(row["_step"], row["of"]) for row in rows if "loss" in row] == [*before, (3, second.id), (4, second.id)]
    assert (second.id == first.id) == (how == "resume_from")
    measured = [row["layerscope/step"] for row in rows if "layerscope/cost/seconds" in row]
    assert [step for step in measured if step > AT] == [3, 4], "each once, and none of before again"
    charts = [row for row in rows if "layerscope/profile/layers_table" in row and row["layerscope/step"] > AT]
    assert len(charts) == 2, "one with every measurement"
    records = [ls.RunRecord.load(tmp_path / folder) for folder in ("first", "second")]
    assert [record.steps for record in records] == [[0, 1, 2, 3, 4]] * 2, "history is copied on, and left where it was"
    names = {each["name"] for each in server.artifacts.values()}
    assert f"layerscope-results-{second.id}" in names
    logged = [config["layerscope"]["value"] for config in server.configs if "layerscope" in config]
    assert logged[-1]["measure"] == "cka", "configured anew"
