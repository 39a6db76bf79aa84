"""The demo at small size, read back from its folder and from its offline W&B run."""

import json
import os

import numpy as np
import pytest

from lightning_layerscope import LayerProfile, ReferenceBank, RunRecord, demo
from lightning_layerscope.cli import main
from lightning_layerscope.demo import read_demo
from lightning_layerscope.tasks import toy_tasks
from tests.offline_run import read_offline

PICTURES = ("curve/layers", "heatmap/layer_x_task", "heatmap/layer_x_layer")


@pytest.fixture(scope="module")
def small():
    """A demo that takes seconds: what makes it long is made small, nothing is left out."""
    patch = pytest.MonkeyPatch()
    for name, value in {"WIDTH": 16, "LAYERS": 6, "HEADS": 2, "VOCABULARY": 400}.items():
        patch.setattr(demo.run, name, value)
    patch.setattr(demo.options, "BATCH", 4)
    patch.delenv("WANDB_MODE")  # as on a user's machine
    yield
    patch.undo()


@pytest.fixture
def seldom(monkeypatch):
    """Three measurements, where what they find is not looked at: pictures take most of a small demo's time."""
    monkeypatch.setattr(demo.options, "SHARES", (0.5,))


@pytest.fixture(scope="module")
def tasks_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    tasks = toy_tasks(train=12, test=8)
    names = list(tasks)[:10]
    for name in names:
        rows = [
            {"split": split, "instruction": e.instruction, "input": e.input, "output": e.output}
            for split, examples in tasks[name].splits.items()
            for e in examples
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    clusters = {name: {"cluster": tasks[name].cluster} for name in names}
    (folder / "tasks.json").write_text(json.dumps(clusters), encoding="utf-8")
    return folder


def options(out, tasks, **more):
    given = {"tasks": str(tasks), "out": out, "steps": 10, "pretrain_steps": 4, "examples_per_task": 6, **more}
    return demo.DemoOptions(**given)


@pytest.fixture(scope="module")
def result(small, tasks_folder, tmp_path_factory):
    return demo.run_demo(
        options(tmp_path_factory.mktemp("demo") / "out", tasks_folder), say=lambda line: None, bars=False
    )


@pytest.fixture(scope="module")
def run(result):
    import wandb

    wandb.teardown()  # the file is complete only then
    return read_offline(result.folder / "wandb")


def test_it_measures_at_least_six_times_and_keeps_everything(result):
    assert result.record.steps == [0, *demo.options.measured_steps(10), 10]
    assert len(result.record) >= 6
    assert RunRecord.load(result.folder / "results").steps == result.record.steps
    profile = LayerProfile.from_parquet(result.folder / "results" / "profile.parquet")
    assert len(profile.tasks) == 10
    assert profile.layers == [1, 2, 3, 4, 5, 6]
    assert np.allclose(profile.matrix(step=0), 1, equal_nan=True)
    assert np.nanmean(profile.matrix()) < 0.999
    assert ReferenceBank.load(result.folder / "results" / "reference").name == "initial"
    assert all(name in result.report.read_text(encoding="utf-8") for name in profile.tasks)


def test_the_offline_run_holds_the_contract(result, run):
    profile = result.record.profile
    layers = [f"layerscope/cka/layer_{layer:02d}" for layer in range(1, 7)]
    clusters = sorted(set(profile.clusters.values()))
    assert run.exited
    measured = [row for row in run.history if layers[0] in row]
    assert [row["layerscope/step"] for row in measured] == result.record.steps
    assert all("trainer/global_step" in row for row in measured)
    for key in (*layers, *(f"layerscope/cka/cluster/{cluster}" for cluster in clusters), "layerscope/cost/seconds"):
        assert run.metrics[key] == "layerscope/step"
        assert len(run.column(key)) == len(result.record)
    logged = np.array([run.column(key) for key in layers])
    expected = np.array([profile.mean_curve(step=step)["value"] for step in profile.steps]).T
    np.testing.assert_allclose(logged, expected, atol=1e-6)
    (path,) = run.column("layerscope/profile/clusters_table/path")
    points = json.loads((run.files / path).read_text(encoding="utf-8"))["data"]
    assert [layer for layer, _, line, *_ in points if line == "all"] == [1, 2, 3, 4, 5, 6]
    for picture in PICTURES:
        (names,) = zip(*run.column(f"layerscope/{picture}/filenames"), strict=True)
        assert len(names) == len(measured)
        assert all((run.files / name).stat().st_size > 1000 for name in names)
    (path,) = run.column("layerscope/profile/results/path")
    table = json.loads((run.files / path).read_text(encoding="utf-8"))
    assert table["columns"] == ["step", "layer", "task", "cluster", "measure", "value", "low", "high"]
    rows = {(row[0], row[1], row[2]) for row in table["data"] if row[4] == "cka"}
    assert rows == {(step, layer, task) for step in profile.steps for layer in range(1, 7) for task in profile.tasks}
    assert len(run.column("train/loss")) >= 1
    assert run.config["layerscope"]["num_layers"] == 6
    assert len(run.config["layerscope"]["tasks"]) == 10


def test_its_models_can_be_compared_from_the_command_line(result, tasks_folder, tmp_path, capsys):
    common = ["--tasks", str(tasks_folder), "--examples-per-task", "6", "--max-length", "160"]
    for model, kind in (("base", ["--reference"]), ("tuned", [])):
        out = str(tmp_path / model)
        assert main(["extract", str(result.folder / model), "--out", out, *common, *kind]) == 0
    assert main(["compare", str(tmp_path / "tuned"), str(tmp_path / "base"), "--out", str(tmp_path / "p.parquet")]) == 0
    # The same probes, the same two models: what the monitor measured last.
    again = LayerProfile.from_parquet(tmp_path / "p.parquet")
    np.testing.assert_allclose(again.matrix(), result.record.measurements[-1].profile.matrix(), atol=1e-4)


def test_the_reading_says_what_moved_and_where_to_look(result):
    text = read_demo(result)
    assert "loss per answer token went from" in text
    assert "interval over tasks" in text
    assert "transition" in text
    assert str(result.report) in text
    assert f"wandb sync {result.wandb_folder}" in text
    assert list(result.wandb_folder.glob("run-*.wandb"))
    assert "WANDB_MODE=online" in text
    assert max(map(len, text.split("\nreport ")[0].splitlines())) <= 100
    assert all(cluster in text for cluster in set(result.record.profile.clusters.values()))


def test_losses_are_of_held_out_rows_before_and_after(result):
    summary = json.loads((result.folder / "demo.json").read_text(encoding="utf-8"))
    assert summary["scores"].keys() == result.before.keys() == result.after.keys()
    assert {score.examples for score in result.before.values()} == {6}
    assert np.mean([s.loss for s in result.after.values()]) < np.mean([s.loss for s in result.before.values()])


def test_a_second_run_is_quiet_the_same_and_leaves_the_first_alone(result, seldom, tasks_folder, capfd):
    before = {path: path.stat().st_mtime_ns for path in result.folder.rglob("*") if path.is_file()}
    mode = os.environ.get("WANDB_MODE")
    arguments = ["--tasks", tasks_folder, "--out", result.folder, "--steps", 10, "--pretrain-steps", 4]
    assert main([*map(str, ["demo", *arguments, "--examples-per-task", 6])]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith("10 tasks in 3 clusters")
    assert [line.split()[0] for line in lines[1:4]] == ["a", "pre-training:", "fine-tuning:"]
    assert lines[4] == ""
    assert len(lines) < 45
    assert {path: path.stat().st_mtime_ns for path in result.folder.rglob("*") if path.is_file()} == before
    again = RunRecord.load(result.folder.with_name("out-2") / "results")
    # To the last bit, although it was measured less often on the way.
    np.testing.assert_array_equal(again.profile.matrix(), result.record.profile.matrix())
    assert os.environ.get("WANDB_MODE") == mode


def test_a_model_of_ones_own_is_tuned_with_its_tokenizer(result, seldom, tasks_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    mine = options(tmp_path / "mine", tasks_folder, model=str(result.folder / "base"), steps=6, lora=True, chat=True)
    tuned = demo.run_demo(mine, say=lambda line: None, bars=False)
    assert not (tuned.folder / "base").exists()
    assert (tuned.folder / "tuned" / "adapter_config.json").is_file()
    assert tuned.record.config["num_layers"] == 6
    assert tuned.wandb_folder is None
    assert "not logged" in read_demo(tuned)


def test_all_real_tasks_are_in_the_heatmap(small, seldom, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(demo.options, "MAX_LENGTH", 256)  # a vocabulary of 400 makes long texts
    real = demo.run_demo(
        options(tmp_path / "real", shared_data / "instruct48", steps=6, examples_per_task=5),
        say=lambda line: None,
        bars=False,
    )
    assert len(real.record.profile.tasks) == 48
    assert real.record.measurements[-1].profile.matrix().shape == (48, 6)
    page = real.report.read_text(encoding="utf-8")
    assert all(task in page for task in real.record.profile.tasks)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="expected --steps of 6 or more, got 5"):
        demo.DemoOptions(steps=5)
    with pytest.raises(ValueError, match="4 or more examples per task, got 3"):
        demo.DemoOptions(examples_per_task=3)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FileExistsError, match="is a file"):
        demo.options.free_folder(tmp_path / "file")


@pytest.mark.parametrize("steps", [6, 7, 10, 50, 300, 5000])
def test_the_measured_steps_are_enough_and_inside(steps):
    chosen = demo.options.measured_steps(steps)
    assert len(chosen) >= 4
    assert chosen == sorted(set(chosen))
    assert 0 < chosen[0] < chosen[-1] < steps


def test_rows_of_one_split_are_parted_and_told(tmp_path):
    rows = [{"question": f"Which is {number}?", "answer": str(number)} for number in range(20)]
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    told = []
    columns = {"input": "question", "output": "answer"}
    tasks = demo.run._tasks(demo.DemoOptions(tasks=str(tmp_path), columns=columns, examples_per_task=6), told.append)
    assert {split: len(rows) for split, rows in tasks["quiz"].splits.items()} == {"train": 14, "test": 6}
    assert told == ["all rows are of the split 'train': up to 6 of each task are held out"]


def test_other_splits_are_told(tmp_path):
    rows = [{"input": "x", "split": "dev"}, {"input": "y", "split": "train"}]
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"measures on 'test', but .* has \['dev', 'train'\]"):
        demo.run._tasks(demo.DemoOptions(tasks=str(tmp_path)), print)
