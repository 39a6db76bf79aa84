"""Runs of W&B as they come, with a monitor in them: begun already, disabled, grouped, of a sweep, several monitors."""

import pytest

import lightning_layerscope as ls
from lightning_layerscope.callbacks import Output
from tests.loopback import serving, start
from tests.offline_run import read_offline

wandb = pytest.importorskip("wandb")
OPTIONS = {"at_steps": [1], "max_overhead": None, "report": False, "verbose": False}


@pytest.fixture
def probes(tiny):
    return tiny.probes(tasks=3, examples=6)


def watch(monitors, run):
    """A training of two steps that trains nothing, and logs like a user with ``step=``."""
    for monitor in monitors:
        monitor.start()
    for step in (1, 2):
        run.log({"loss": 1.0 / step}, step=step)
        for monitor in monitors:
            monitor.step(step)
    for monitor in monitors:
        monitor.close()
        assert not monitor.monitor.failures.counts


def numbers(found, root="layerscope"):
    """The steps of the rows with numbers; charts of the end may have one of their own."""
    return [row[f"{root}/step"] for row in found.history if f"{root}/cost/seconds" in row]


def finished(run, folder):
    run.finish()
    wandb.teardown()
    return read_offline(folder)


@pytest.mark.draws
def test_several_monitors_in_one_run_share_no_key(tiny, tmp_path, probes):
    run = wandb.init(mode="offline", dir=tmp_path, project="test")
    model = tiny.llama()
    two = [
        ls.watch(model, probes, output_dir=tmp_path / "all", loggers=run, **OPTIONS),
        ls.watch(
            model, probes, output_dir=tmp_path / "early", loggers=run, layers="1-2", output=Output("early"), **OPTIONS
        ),
    ]
    watch(two, run)
    found = finished(run, tmp_path)
    for root, layers in (("layerscope", 4), ("layerscope_early", 2)):
        assert numbers(found, root) == [0, 1, 2]
        assert len([key for key in found.metrics if key.startswith(f"{root}/cka/layer_")]) == layers
        assert found.metrics[f"{root}/cka/mean"] == f"{root}/step"
        assert found.config[root]["measure"] == "cka"
        assert f"{root}/final/mean" in found.summary
        assert [key for row in found.history for key in row if key.startswith(f"{root}/heatmap/layer_x_task")]
    names = {artifact.name for artifact in found.artifacts if artifact.type == "layerscope-results"}
    assert names == {f"layerscope-results-{run.id}", f"layerscope_early-results-{run.id}"}
    assert [(row["_step"], row["loss"]) for row in found.history if "loss" in row] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("how", ["sweep", "group", "disabled"])
def test_a_run_of_any_kind_is_logged_to_as_it_is(tiny, tmp_path, probes, how, monkeypatch):
    if how == "sweep":  # what an agent sets before it starts the user's script
        monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
        monkeypatch.setenv("WANDB_RUN_ID", "run1")
    options = {"group": "study"} if how == "group" else {}
    run = wandb.init(mode="disabled" if how == "disabled" else "offline", dir=tmp_path, project="test", **options)
    watch([ls.watch(tiny.llama(), probes, output_dir=tmp_path / "out", loggers=run, **OPTIONS)], run)
    assert ls.RunRecord.load(tmp_path / "out").steps == [0, 1, 2]
    if how == "disabled":
        run.finish()
        return
    found = finished(run, tmp_path)
    assert numbers(found) == [0, 1, 2]
    assert found.id == ("run1" if how == "sweep" else run.id)


@pytest.mark.draws
def test_only_what_was_asked_for_is_uploaded(tiny, tmp_path, probes):
    for name, output, files in (
        ("plain", Output(), {"profile.parquet", "matrices"}),
        (
            "asked",
            Output(upload_reference=True, upload_report=True, upload_prompts=True),
            {"profile.parquet", "matrices", "report.html"},
        ),
    ):
        run = wandb.init(mode="offline", dir=tmp_path / name, project="test")
        options = {**OPTIONS, "report": True}
        watch(
            [
                ls.watch(
                    tiny.llama(), probes, output_dir=tmp_path / f"out {name}", loggers=run, output=output, **options
                )
            ],
            run,
        )
        found = finished(run, tmp_path / name)
        kinds = {artifact.type: {entry.path.partition("/")[0] for entry in artifact.manifest.contents}
                 for artifact in found.artifacts if artifact.type.startswith("layerscope")}  # fmt: skip
        assert kinds.pop("layerscope-results") == files
        expected = {} if name == "plain" else {
            "layerscope-reference": {"bank.safetensors", "manifest.json"}, "layerscope-probes": {"probes.json"}
        }  # fmt: skip
        assert kinds == expected


def test_a_bank_of_another_run_is_the_reference_and_the_lineage_says_so(tiny, tmp_path, probes, monkeypatch):
    with serving(monkeypatch) as server:
        first = start(tmp_path)
        output = Output(upload_reference=True)
        watch(
            [ls.watch(tiny.llama(), probes, output_dir=tmp_path / "one", loggers=first, output=output, **OPTIONS)],
            first,
        )
        first.finish()
        (ident, bank) = next(
            (k, v) for k, v in server.artifacts.items() if v["name"].startswith("layerscope-reference")
        )
        second = start(tmp_path)
        reference = f"wandb:me/test/{bank['name']}:latest"
        monitor = ls.watch(
            tiny.llama(), probes, output_dir=tmp_path / "two", loggers=second, reference=reference, **OPTIONS
        )
        watch([monitor], second)
        second.finish()
        assert server.used == [ident]
    record = ls.RunRecord.load(tmp_path / "two")
    assert record.config["reference_artifact"] == f"me/test/{bank['name']}:v3"
    assert record.profile.meta.reference_digest == ls.RunRecord.load(tmp_path / "one").profile.meta.reference_digest
    logged = [config["layerscope"]["value"] for config in server.configs if "layerscope" in config]
    assert logged[-1]["reference_artifact"] == f"me/test/{bank['name']}:v3"


def test_a_resumed_run_goes_on_in_its_charts(tiny, tmp_path, probes, monkeypatch):
    """W&B's own count goes on from where the server says it was."""
    with serving(monkeypatch) as server:
        model = tiny.llama()
        run = start(tmp_path)
        monitor = ls.watch(model, probes, output_dir=tmp_path / "out", loggers=run, **OPTIONS)
        monitor.start()
        run.log({"loss": 1.0}, step=1)
        monitor.step(1)
        kept = monitor.state_dict()
        run.log({"loss": 0.5}, step=2)
        monitor.monitor.crash()
        run.finish()
        server.resume(run.id)
        again = start(tmp_path, id=run.id, resume="must")
        monitor = ls.watch(model, probes, output_dir=tmp_path / "out", loggers=again, **OPTIONS)
        monitor.load_state_dict(kept)
        monitor.start()
        again.log({"loss": 0.25}, step=5)
        monitor.step(2)
        monitor.close()
        again.finish()
    rows = [row for _, row in sorted(server.lines["wandb-history.jsonl"].items())]
    assert [row["layerscope/step"] for row in rows if "layerscope/cost/seconds" in row] == [0, 1, 2]
    assert [row["loss"] for row in rows if "loss" in row] == [1.0, 0.5, 0.25]
    assert ls.RunRecord.load(tmp_path / "out").steps == [0, 1, 2]
