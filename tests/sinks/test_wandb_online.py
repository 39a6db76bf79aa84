"""Runs against a stand-in for the W&B server on this machine, online or synced: what is streamed and uploaded."""

import io
import subprocess
import sys

import pandas as pd
import pytest

from lightning_layerscope.sinks import WandbSink
from tests.loopback import serving, start


def flat(row, above=""):
    """A row as the run's own file has it: what is nested under keys joined by slashes."""
    flattened = {}
    for key, value in row.items():
        flattened |= flat(value, f"{above}{key}/") if isinstance(value, dict) else {above + key: value}
    return flattened


def test_an_online_run_streams_rows_and_uploads_pictures_table_and_artifacts(server, tmp_path, kit):
    reference = tmp_path / "bank"
    reference.mkdir()
    (reference / "reference.safetensors").write_bytes(b"grams of the bank")
    run = start(tmp_path)
    record = kit.make_record(tasks=6, clusters=2, layers=4)
    kit.replay(WandbSink(run, reference_folder=reference), record)
    run.finish()

    history = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    assert [row["layerscope/step"] for row in history] == [0, 20, 40]
    assert [row["_step"] for row in history] == [0, 1, 2]
    mean = record.measurements[1].profile.mean_curve()["value"]
    assert history[1]["layerscope/cka/layer_04"] == pytest.approx(mean.iloc[3])
    assert [row["layerscope/profile/layers_table"]["nrows"] for row in history[:3]] == [4] * 3
    assert history[2]["layerscope/profile/clusters_table"]["nrows"] == 3 * 4, "all and two clusters"
    pictures = {name for name in server.files if name.startswith("run/media/images")}
    assert {name.split("_")[0].rsplit("/", 1)[-1] for name in pictures} == {"layers", "layer", "task"}
    assert len(pictures) == 3 * (4 + len(record.measurements[0].task_x_task))
    assert all(server.files[name].startswith(b"\x89PNG") for name in pictures)
    names = {entry["name"]: entry for entry in server.artifacts.values()}
    assert f"layerscope-results-{run.id}" in names
    assert "layerscope-reference-" + "5e" * 8 in names
    assert all(entry["committed"] for entry in names.values())
    uploaded = {name.rsplit("/", 1)[-1]: content for name, content in server.files.items()}
    assert uploaded["reference.safetensors"] == b"grams of the bank"
    rows = pd.read_parquet(io.BytesIO(uploaded["profile.parquet"]))
    pd.testing.assert_frame_equal(rows, record.profile.frame, check_dtype=False)
    assert any(config.get("layerscope", {}).get("value", {}).get("reference") == "initial" for config in server.configs)


def test_rows_of_a_user_who_logs_with_step_reach_the_server(server, tmp_path, kit):
    run = start(tmp_path)
    kit.twenty_steps(WandbSink(run), run, each_step=1, reference="base")
    run.finish()
    history = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    kept = [(row["_step"], row["user/0"]) for row in history if "user/0" in row]
    assert kept == [(step, float(step)) for step in range(22)]
    assert [row["layerscope/step"] for row in history if "layerscope/step" in row] == [0, 5, 10, 15, 19]


def test_an_offline_run_that_is_synced_arrives_whole(offline_run, kit, tmp_path, monkeypatch):
    """``wandb sync`` sends the monitor's rows and the user's as the run's own file has them."""
    run, read = offline_run()
    kit.twenty_steps(WandbSink(run), run, each_step=2, reference="base")
    kept = read()
    with serving(monkeypatch) as server:
        sync = [sys.executable, "-m", "wandb", "sync", str(kept.files.parent)]
        subprocess.run(sync, check=True, capture_output=True, timeout=120, cwd=tmp_path)
    history = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    assert len(history) == len(kept.history) == 22
    for arrived, row in zip(map(flat, history), kept.history, strict=True):
        assert arrived.keys() == row.keys()
        assert all(arrived[key] == row[key] for key in row if key.startswith(("user/", "layerscope/")))
    assert [(row["_step"], row["user/0"]) for row in history if "user/0" in row] == [(n, float(n)) for n in range(22)]
    assert [row["layerscope/step"] for row in history if "layerscope/step" in row] == [0, 5, 10, 15, 19]
    (summary,) = server.lines["wandb-summary.json"].values()
    assert summary["layerscope/measurements"] == 5
    config = server.configs[-1]
    assert config["layerscope"]["value"]["reference"] == "base"
    pictures = {path.name for path in kept.files.rglob("*.png")}
    assert len(pictures) >= 5 * 4
    assert pictures <= {name.rsplit("/", 1)[-1] for name in server.files}
    assert f"layerscope-results-{kept.id}" in {each["name"] for each in server.artifacts.values() if each["committed"]}
