"""Trackers that run without a network, by their own libraries: `make test-trackers` installs them."""

import json
import sys

import pandas as pd
import pytest

from lightning_layerscope.measurements.alert import Alert
from lightning_layerscope.sinks import sinks_for

FIRST = "layerscope/cka/layer_01"


@pytest.fixture
def record(kit):
    return kit.make_record((0, 20), tasks=4, clusters=2, layers=3)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """To make one takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    return f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()


@pytest.mark.parametrize("handle", ["logger", "run"])
def test_mlflow(tmp_path, record, tried, needs, database, handle):
    mlflow = needs("mlflow")
    uri, artifacts = database
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment(handle, artifact_location=artifacts)
    if handle == "logger":
        from pytorch_lightning.loggers import MLFlowLogger

        given = MLFlowLogger(handle, tracking_uri=uri)
        (sink,) = sinks_for(given)
        run_id = given.run_id
    else:
        with mlflow.start_run(experiment_id=experiment) as run:
            (sink,) = sinks_for(run)
            run_id = run.info.run_id  # and the host has ended its run before the last pictures come
    assert sink.arrives == "scalars, pictures and a table of curves to MLflow"
    tried.replay(sink, record)
    assert [(one.step, one.value) for one in client.get_metric_history(run_id, FIRST)] == [
        (step + 3, pytest.approx(float(record.profile.matrix(step=step)[:3, 0].mean()))) for step in (0, 20)
    ]
    images = [item.path for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
    assert len(images) == 8
    assert sum("layerscope~heatmap~layer_x_task+step+23" in path for path in images) == 1
    table = pd.read_json(client.download_artifacts(run_id, "layerscope/curves.json", str(tmp_path)), orient="split")
    assert set(table.columns) >= {"step", "line", "layer", "value"}
    assert set(table["step"]) == {3, 23}
    assert {"all", "all_low", "all_high", "cluster_0"} <= set(table["line"])


def test_trackio(tmp_path, record, tried, needs, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = needs("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    run = trackio.init(project="ours", name="one", embed=False)
    (sink,) = sinks_for(run)
    assert sink.arrives == "scalars, pictures and tables of curves to trackio"
    tried.replay(sink, record)
    sink.alert(Alert("collapse", "step 23: planted"))
    trackio.finish()
    assert [alert["text"] for alert in SQLiteStorage.get_alerts("ours")] == ["step 23: planted"]
    rows = SQLiteStorage.get_logs("ours", "one")
    assert sorted(row["step"] for row in rows if FIRST in row) == [3, 23]
    images = [(row["step"], key) for row in rows for key in row if "heatmap" in key]
    assert sorted(images) == [
        (step, f"layerscope/heatmap/{name}")
        for step in (3, 23)
        for name in ("layer_x_task", "task_x_task/1", "task_x_task/2")
    ]
    (table,) = [row["layerscope/curves"] for row in rows if row["step"] == 23 and "layerscope/curves" in row]
    assert {point["line"] for point in table["_value"]} >= {"all", "cluster_0"}


def test_swanlab(tmp_path, record, tried, needs):
    swanlab = needs("swanlab")
    run = swanlab.init(project="ours", mode="offline", log_dir=str(tmp_path))
    (sink,) = sinks_for(run)
    assert sink.arrives == "scalars and pictures to SwanLab"
    tried.replay(sink, record)
    swanlab.finish()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".png"]) == 8
    assert any(FIRST.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("handle", ["logger", "live"])
def test_dvclive(tmp_path, record, tried, needs, handle, monkeypatch):
    dvclive = needs("dvclive")
    monkeypatch.chdir(tmp_path)
    if handle == "logger":
        from dvclive.lightning import DVCLiveLogger

        given = DVCLiveLogger(dir=str(tmp_path / "live"), save_dvc_exp=False)
        live = given.experiment
    else:
        given = live = dvclive.Live(str(tmp_path / "live"), save_dvc_exp=False)
    (sink,) = sinks_for(given)
    assert sink.arrives == "scalars, the newest pictures and curves to DVCLive"
    tried.replay(sink, record)
    live.make_summary()
    plots = tmp_path / "live" / "plots"
    assert {path.relative_to(plots / "images").as_posix() for path in (plots / "images").rglob("*.png")} == {
        "layerscope/curve/layers.png",
        *(f"layerscope/heatmap/{name}.png" for name in ("layer_x_task", "task_x_task/1", "task_x_task/2")),
    }
    curve = json.loads((plots / "custom" / "layerscope" / "curves" / "all.json").read_text())
    assert [point["layer"] for point in curve] == [1, 2, 3]
    rows = (plots / "metrics" / f"{FIRST}.tsv").read_text().splitlines()
    assert len(rows) == 3
    if handle == "logger":
        assert [row.split("\t")[0] for row in rows[1:]] == ["3", "23"]
    else:
        assert live.step == 0, "the step is the host's"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Aim has no release for Python 3.13")
def test_aim(tmp_path, record, tried, needs):
    aim = needs("aim")
    run = aim.Run(
        repo=str(tmp_path), system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False
    )
    (sink,) = sinks_for(run)
    assert sink.arrives == "scalars and pictures to Aim"
    tried.replay(sink, record)
    (seen,) = [metric for metric in run.metrics() if metric.name == FIRST]
    assert sorted(seen.dataframe()["step"]) == [3, 23]
    images = {each["name"] for each in run.collect_sequence_info("images")["images"]}
    assert images == {*tried.keys, "layerscope/heatmap/task_x_task/2"}
    run.close()


def test_a_trainer_of_transformers_gives_its_own_trackers(tmp_path, needs, database, monkeypatch, capsys):
    """Three of which it closes before callbacks of the user are told of the end."""
    mlflow, _, swanlab, _ = [needs(name) for name in ("mlflow", "trackio", "swanlab", "dvclive")]
    import transformers
    from trackio.sqlite_storage import SQLiteStorage

    from lightning_layerscope.callbacks import TransformersLayerSimilarityMonitor
    from tests.monitor.conftest import make_llama, make_probes, make_rows

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    uri, artifacts = database
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("trained", artifact_location=artifacts)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "trained")
    swanlab.init(project="ours", mode="offline", log_dir=str(tmp_path / "swanlab"))
    rows = [{"input_ids": row, "labels": row} for row in make_rows()]
    monitor = TransformersLayerSimilarityMonitor(make_probes(tasks=3, examples=6), every_n_steps=5, report=False)
    names = ["mlflow", "trackio", "swanlab", "dvclive"]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, save_strategy="no", disable_tqdm=True, use_cpu=True,
        report_to=names, project="trained", run_name="one",
    )  # fmt: skip
    transformers.Trainer(make_llama(), arguments, train_dataset=rows, callbacks=[monitor]).train()
    swanlab.finish()
    assert monitor.monitor.failures.counts == {}
    said = capsys.readouterr().out
    for place in ("to MLflow", "to trackio", "to SwanLab", "to DVCLive"):
        assert place in said
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("trained").experiment_id])
    steps = [one.step for one in client.get_metric_history(run.info.run_id, FIRST)]
    assert steps == [0, 2]
    images = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
    assert any("heatmap~layer_x_task+step+2+" in path for path in images)
    logs = SQLiteStorage.get_logs("trained", "one")
    assert [row["step"] for row in logs if "layerscope/heatmap/layer_x_task" in row] == [0, 2]
    assert list((tmp_path / "swanlab").rglob("*.png"))
    assert (tmp_path / "dvclive" / "plots" / "images" / "layerscope" / "heatmap" / "layer_x_task.png").is_file()
