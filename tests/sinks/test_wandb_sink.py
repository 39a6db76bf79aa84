"""The logging contract, read back from the file that an offline run writes."""

import json
import re

import numpy as np
import pytest

from lightning_layerscope.sinks import Sink, WandbSink

CONTRACT = {
    "layerscope/curve/layers": "layerscope/picture_step",
    "layerscope/heatmap/layer_x_task": "layerscope/picture_step",
    "layerscope/heatmap/layer_x_layer": "layerscope/picture_step",
    "layerscope/heatmap/layer_x_step": "layerscope/picture_step",
    "layerscope/heatmap/task_x_task": "layerscope/picture_step",
    "layerscope/cost/seconds": "layerscope/step",
    "layerscope/cost/share_of_run": "layerscope/step",
    "layerscope/transition/start_layer": "layerscope/step",
    "layerscope/transition/start_layer_low": "layerscope/step",
    "layerscope/transition/start_layer_high": "layerscope/step",
    "layerscope/transition/end_layer": "layerscope/step",
    "layerscope/transition/end_layer_low": "layerscope/step",
    "layerscope/transition/end_layer_high": "layerscope/step",
    "layerscope/cka/mean": "layerscope/step",
    "layerscope/profile/layers": "layerscope/step",
    "layerscope/profile/layers_table": "layerscope/step",
    "layerscope/profile/clusters": "layerscope/step",
    "layerscope/profile/clusters_table": "layerscope/step",
    "layerscope/profile/results": "layerscope/step",
    "layerscope/step": "",
    "layerscope/picture_step": "",
}
IMAGES = [key for key in CONTRACT if key.startswith(("layerscope/curve", "layerscope/heatmap"))]


def contract(layers, clusters):
    keys = dict(CONTRACT)
    keys |= {f"layerscope/cka/layer_{layer:02d}": "layerscope/step" for layer in range(1, layers + 1)}
    keys |= {f"layerscope/cka/cluster/cluster_{number}": "layerscope/step" for number in range(clusters)}
    return keys


def read_charts(run, name):
    """Of every chart that was logged under a name, in order of rows: line -> layer -> its numbers."""
    charts = []
    for path in run.column(f"layerscope/profile/{name}_table/path"):
        table = json.loads((run.files / path).read_text())
        assert table["columns"] == ["layer", "depth", "line", "value", "low", "high"]
        lines = {}
        for layer, depth, line, *numbers in table["data"]:
            lines.setdefault(line, {})[layer] = (depth, *numbers)
        charts.append(lines)
    return charts


@pytest.fixture(scope="module")
def whole(tmp_path_factory, kit):
    """A run of three measurements with 48 tasks, 16 clusters and 32 layers."""
    import wandb

    record = kit.make_record(tasks=48, clusters=16, layers=32, config={"secret_prompts": ["Translate: the red fox"]})
    folder = tmp_path_factory.mktemp("wandb")
    reference = folder / "reference"
    reference.mkdir()
    (reference / "reference.safetensors").write_bytes(b"bank")
    (reference / "manifest.json").write_text("{}")
    (reference / "probes.txt").write_text("Translate: the red fox")
    run = wandb.init(mode="offline", dir=folder, project="layerscope-test", reinit="finish_previous")
    sink = WandbSink(run, reference_folder=reference)
    assert isinstance(sink, Sink)
    kit.replay(sink, record, host_step=lambda step: step + 1)
    run.finish()
    wandb.teardown()
    return record, kit.read_offline(folder)


def test_every_key_is_defined_by_name_on_its_axis(whole):
    _, run = whole
    expected = contract(32, 16) | {"trainer/global_step": ""}
    assert run.metrics == expected
    assert run.globs == []
    assert len(expected) <= 2 * 32 + 100
    parts = "_type|width|height|format|count|filenames|captions|ncols|nrows"
    logged = {re.sub(rf"/({parts})$", "", key) for row in run.history for key in row}
    logged |= {key.removeprefix("_wandb/visualize/") for key in run.config}
    assert {key for key in logged if key in expected} == set(expected)
    assert run.exited


def test_rows_hold_the_measurements(whole):
    record, run = whole
    rows = [row for row in run.history if "layerscope/cost/seconds" in row]
    assert [row["layerscope/step"] for row in rows] == [0, 20, 40]
    for row, measurement in zip(rows, record.measurements, strict=True):
        matrix = measurement.profile.matrix()
        for layer in range(1, 33):
            assert row[f"layerscope/cka/layer_{layer:02d}"] == pytest.approx(
                np.nanmean(matrix[:, layer - 1]), abs=1e-12
            )
        for number in range(16):
            member = [measurement.profile.clusters[task] == f"cluster {number}" for task in measurement.profile.tasks]
            expected = np.nanmean(np.nanmean(matrix[member], axis=0))
            assert row[f"layerscope/cka/cluster/cluster_{number}"] == pytest.approx(expected, abs=1e-12)
        found = measurement.transition
        if found.found:
            assert row["layerscope/transition/start_layer"] == found.start
            assert [row["layerscope/transition/end_layer_low"], row["layerscope/transition/end_layer_high"]] == list(
                found.end_interval
            )
        else:
            assert "layerscope/transition/start_layer" not in row
        assert (row["layerscope/cost/seconds"], row["layerscope/cost/share_of_run"]) == (0.25, 0.0125)
    assert record.measurements[-1].transition.found
    assert not record.measurements[0].transition.found


def test_every_row_carries_both_steps_and_none_is_lost(whole):
    _, run = whole
    assert [row["_step"] for row in run.history] == [0, 1, 2], "one per measurement"
    assert [row["layerscope/step"] for row in run.history] == [0, 20, 40]
    for row in run.history:
        assert row["trainer/global_step"] == row["layerscope/step"] + 1


def test_pictures_have_constant_keys_captions_and_fit_the_budget(whole):
    _, run = whole
    rows = [row for row in run.history if "layerscope/cost/seconds" in row]
    for row in rows:
        files = []
        for key in IMAGES:
            captions = row[f"{key}/captions"]
            assert all(f"step {row['layerscope/picture_step']}" in caption for caption in captions)
            files += [run.files / name for name in row[f"{key}/filenames"]]
        assert len(files) == 7
        assert [f"layer {layer}" in caption for layer, caption in zip((1, 16, 32), captions, strict=True)] == [True] * 3
        assert sum(file.stat().st_size for file in files) <= 300_000
    assert max(run.sizes) <= 20_000
    assert len(list((run.files / "media" / "images").rglob("*.png"))) == 3 * 7


def test_every_measurement_has_a_chart_over_the_layers_with_one_line_of_the_run(whole):
    record, run = whole
    chart = run.config["_wandb/visualize/layerscope/profile/layers"]
    assert chart["panel_config"]["panelDefId"] == "wandb/lineseries/v0", "W&B's own, nothing to upload"
    assert chart["panel_config"]["fieldSettings"] == {"step": "layer", "lineKey": "line", "lineVal": "value"}
    charts = read_charts(run, "layers")
    assert len(charts) == 3
    for lines, measurement in zip(charts, record.measurements, strict=True):
        (line,) = lines
        assert run.id in line, "several runs lie over each other"
        mean = measurement.profile.mean_curve()
        expected = np.stack([np.arange(1, 33) / 32, *(mean[name] for name in ("value", "low", "high"))], axis=1)
        np.testing.assert_allclose(list(lines[line].values()), expected, atol=1e-12)


def test_the_clusters_are_one_chart_at_the_end(whole):
    record, run = whole
    (lines,) = read_charts(run, "clusters")
    last = record.measurements[-1].profile
    assert set(lines) == {"all", *(f"cluster_{number}" for number in range(16))}
    assert [value for _, value, _, _ in lines["all"].values()] == pytest.approx(last.mean_curve()["value"].tolist())
    assert [value for _, value, _, _ in lines["cluster_3"].values()] == pytest.approx(
        last.cluster_curves()["cluster 3"]
    )
    assert {(low, high) for _, _, low, high in lines["cluster_3"].values()} == {(None, None)}


def test_what_is_too_much_for_a_panel_each_is_hidden_from_the_automatic_workspace(whole):
    _, run = whole
    layers = {f"layerscope/cka/layer_{layer:02d}" for layer in range(1, 33)}
    ends = {f"layerscope/transition/{name}_layer_{end}" for name in ("start", "end") for end in ("low", "high")}
    tables = {f"layerscope/profile/{name}_table" for name in ("layers", "clusters")}
    assert run.hidden == layers | ends | tables | {"layerscope/step", "layerscope/picture_step"}
    shown = set(run.metrics) - run.hidden - {"trainer/global_step"}
    assert len(shown) == 5 + 16 + 5 + 3, "means, transition and cost; clusters; pictures; charts and the table"


def test_table_holds_the_rows_with_none_for_undefined(whole):
    record, run = whole
    (path,) = run.files.rglob("results_*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["step", "layer", "task", "cluster", "measure", "value", "low", "high"]
    assert len(table["data"]) == len(record.profile) == 3 * 48 * 32 <= 10_000
    undefined = [row for row in table["data"] if row[5] is None]
    assert [row[:4] for row in undefined] == [[step, 1, "task_47", "cluster 15"] for step in (0, 20, 40)]
    assert undefined[0][6:] == [None, None]


def test_artifacts_summary_and_configuration(whole):
    record, run = whole
    artifacts = {artifact.name: artifact for artifact in run.artifacts}
    (results,) = [artifact for name, artifact in artifacts.items() if re.fullmatch(r"layerscope-results-\w+", name)]
    assert results.type == "layerscope-results"
    assert [entry.path for entry in results.manifest.contents] == ["profile.parquet"]
    reference = artifacts["layerscope-reference-" + "5e" * 8]
    assert reference.type == "layerscope-reference"
    assert sorted(entry.path for entry in reference.manifest.contents) == ["manifest.json", "reference.safetensors"]
    last = record.measurements[-1]
    mean = last.profile.mean_curve()["value"]
    assert run.summary["layerscope/transition/start_layer"] == last.transition.start
    assert run.summary["layerscope/transition/end_layer"] == last.transition.end
    assert run.summary["layerscope/final/mean"] == pytest.approx(mean.mean())
    assert run.summary["layerscope/final/min"] == pytest.approx(mean.min())
    assert run.summary["layerscope/measurements"] == 3
    assert set(run.config["layerscope"]) == {
        *("schema", "role", "num_layers", "tasks", "clusters", "examples_digest", "tokens_digest", "reference"),
        *("reference_digest", "measure", "estimator", "cadence"),
    }
    assert run.config["layerscope"]["clusters"] == record.profile.clusters
    assert run.config["layerscope"]["reference_digest"] == "5e" * 32


def test_prompts_stay_here(whole):
    _, run = whole
    assert b"task_47" in run.raw, "the search below would find nothing"
    texts = [run.raw, *(file.read_bytes() for file in run.files.rglob("*") if file.is_file())]
    assert not any(b"red fox" in text for text in texts)


def test_prompts_are_uploaded_where_asked(offline_run, tmp_path, kit):
    run, read = offline_run()
    probes = tmp_path / "probes.json"
    probes.write_text('{"texts": ["Translate: the red fox"]}')
    kit.replay(WandbSink(run, upload_prompts=probes), kit.make_record((0,), tasks=4, clusters=2, layers=4))
    (artifact,) = [artifact for artifact in read().artifacts if artifact.type == "layerscope-probes"]
    assert [entry.path for entry in artifact.manifest.contents] == ["probes.json"]
    with pytest.raises(FileNotFoundError, match="upload_prompts"):
        WandbSink(run, upload_prompts=tmp_path / "none.json")
    with pytest.raises(TypeError, match=r"pass the path that probes\.save wrote"):
        WandbSink(run, upload_prompts=True)


def test_an_exception_loses_nothing(offline_run, kit):
    """Also: another host's key, and keys per task."""
    run, read = offline_run()
    record = kit.make_record(tasks=6, clusters=2, layers=4, reference="base")
    sink = WandbSink(run, host_step_key="train/global_step", per_task_keys=True)
    kit.replay(sink, record, status="exception")
    sink.finish(record, "exception")
    found = read()
    per_task = {f"layerscope/cka/task/task_{task:02d}/layer_{layer:02d}" for task in range(6) for layer in range(1, 5)}
    expected = set(contract(4, 2)) | per_task | {"train/global_step"}
    assert set(found.metrics) == expected
    assert len(found.history) == 3
    undefined = {"layerscope/cka/task/task_05/layer_01"}
    assert per_task - undefined == per_task & {key for row in found.history for key in row}
    assert len(read_charts(found, "layers")) == 3
    assert len(read_charts(found, "clusters")) == 1, "once, also when finished twice"
    (artifact,) = [artifact for artifact in found.artifacts if artifact.type == "layerscope-results"]
    assert json.loads(artifact.metadata)["status"] == "exception"
    assert all("train/global_step" in row for row in found.history)


def test_without_a_transition_none_is_logged_and_the_summary_says_so(offline_run, kit):
    run, read = offline_run()
    record = kit.make_record((0,), tasks=4, clusters=2, layers=4)
    kit.replay(WandbSink(run), record)
    found = read()
    assert found.column("layerscope/transition/start_layer") == []
    assert found.summary["layerscope/transition/start_layer"] is None


def test_a_part_that_fails_at_the_end_does_not_take_the_others_with_it(offline_run, kit, tmp_path):
    run, read = offline_run()
    sink = WandbSink(run, reference_folder=tmp_path / "never written")
    sink._log_table = lambda profile: (_ for _ in ()).throw(ConnectionError("no table today"))
    with pytest.raises(ConnectionError, match="no table today"):
        kit.replay(sink, kit.make_record((0,), tasks=4, clusters=2, layers=4))
    found = read()
    assert len(read_charts(found, "clusters")[0]["all"]) == 4
    assert "layerscope-results" in [artifact.type for artifact in found.artifacts]
    assert not list(found.files.rglob("results_*.table.json"))
    assert found.summary["layerscope/measurements"] == 1


def test_a_reference_folder_without_a_bank_is_named(offline_run, kit, tmp_path):
    run, _ = offline_run()
    sink = WandbSink(run, reference_folder=tmp_path / "never written")
    with pytest.raises(FileNotFoundError, match=r"expected a reference bank .* in .*never written"):
        kit.replay(sink, kit.make_record((0,), tasks=4, clusters=2, layers=4))


def test_pictures_that_are_late_have_their_own_step_and_wait_for_a_row_of_their_own(offline_run, kit):
    run, read = offline_run()
    record = kit.make_record(tasks=4, clusters=2, layers=4)
    growing, sink, earlier = type(record)(record.config), WandbSink(run), []
    sink.start(growing)
    for measurement in record.measurements:
        growing.add(measurement)
        sink.log(measurement, growing, measurement.step)
        earlier.append(type(record)(record.config, growing.measurements))
        run.log({"loss": 1.0})
    assert kit.picture(sink, earlier[0], 0)
    assert not kit.picture(sink, earlier[1], 20), "the row holds pictures of step 0"
    run.log({"loss": 0.5})
    assert kit.picture(sink, earlier[1], 20)
    assert kit.picture(sink, earlier[2], 40, last=True)
    sink.finish(growing, "finished")
    found = read()
    rows = [row for row in found.history if f"{IMAGES[0]}/captions" in row]
    assert [row["layerscope/picture_step"] for row in rows] == [0, 20, 40]
    assert [row[f"{IMAGES[1]}/captions"] for row in rows] == [[f"step {step}"] for step in (0, 20, 40)]
    assert found.column("layerscope/step") == [0, 20, 40, 40], "the last with what the end adds"
