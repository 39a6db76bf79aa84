"""A run's folder is its own, complete after every measurement, and never one that others publish with its prompts."""

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import lightning.pytorch as pl
import pytest
from torch.utils.data import DataLoader

from lightning_layerscope import ProbeSet, ReferenceBank, RunRecord
from lightning_layerscope.callbacks import LayerSimilarityMonitor, TransformersLayerSimilarityMonitor
from lightning_layerscope.monitor import folder as folders
from lightning_layerscope.monitor.location import location_in

transformers = pytest.importorskip("transformers")


def watch(tiny, out, **options):
    settings = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False}
    settings["output_dir"] = None if out is None else str(out)
    return LayerSimilarityMonitor(tiny.probes(tasks=3, examples=6), **{**settings, **options})


def fit(tiny, tmp_path, *callbacks, steps=8, ckpt_path=None, **options):
    tiny.seed()
    settings = {"max_steps": steps, "accelerator": "cpu", "default_root_dir": str(tmp_path)}
    trainer = pl.Trainer(**{**tiny.quiet, **settings, **options}, callbacks=list(callbacks))
    trainer.fit(tiny.module(pl), DataLoader(tiny.rows(), batch_size=4), ckpt_path=ckpt_path)
    return trainer


class At(pl.Callback):
    """Does something after a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            self.act()


def _reserve(wanted, run_id, barrier, taken):
    barrier.wait()
    taken.put(str(folders.reserve(Path(wanted), run_id)))


def test_runs_that_start_at_one_moment_get_a_folder_each(tmp_path):
    """With the check and the claim in two steps some of these share a folder."""
    context = multiprocessing.get_context("fork")
    for trial in range(8):
        count, wanted = 6, tmp_path / str(trial) / "out"
        if trial % 2:
            wanted.mkdir(parents=True)  # empty, made by the user
        barrier, taken = context.Barrier(count), context.Queue()
        runs = [context.Process(target=_reserve, args=(wanted, f"run{i}", barrier, taken)) for i in range(count)]
        for run in runs:
            run.start()
        found = [taken.get(timeout=60) for _ in runs]
        for run in runs:
            run.join()
        assert len(set(found)) == count
        assert str(wanted) in found


def test_a_folder_that_another_run_takes_between_a_look_and_the_claim_is_not_shared(tmp_path, monkeypatch):
    def nothing_there(_):
        monkeypatch.undo()
        (tmp_path / "out" / "run.json").write_text('{"run_id": "quicker"}')
        return False

    monkeypatch.setattr(folders, "any", nothing_there, raising=False)
    assert folders.reserve(tmp_path / "out", "mine") == tmp_path / "out-2"


def test_a_folder_is_known_by_its_run(tmp_path):
    mine = folders.reserve(tmp_path / "out", "mine")
    assert folders.reserve(tmp_path / "out", "mine") == mine
    assert folders.reserve(tmp_path / "out", "yours") == tmp_path / "out-2"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("not results")
    assert folders.reserve(tmp_path / "notes", "mine") == tmp_path / "notes-2"
    (mine / folders.OWNER).write_text("{")
    assert not folders.is_own(mine, "mine")
    assert folders.reserve(tmp_path / "out", "mine") == tmp_path / "out-3"


def whole(out, steps):
    """Whether all that a run leaves behind can be read."""
    record = RunRecord.load(out)
    assert record.steps == steps
    assert ReferenceBank.load(out / "reference").digest == record.profile.meta.reference_digest
    assert ProbeSet.load(out / "probes.json").tokens_digest == record.profile.meta.tokens_digest
    assert json.loads((out / "run.json").read_text())["run_id"] == record.run_id
    return record


HARM = {
    "the folder is gone": lambda out: shutil.rmtree(out),
    "the reference is gone": lambda out: shutil.rmtree(out / "reference"),
    "the reference is damaged": lambda out: (out / "reference" / "manifest.json").write_text("{"),
    "the probes are gone": lambda out: (out / "probes.json").unlink(),
    "the probes are damaged": lambda out: (out / "probes.json").write_text("{"),
    "the configuration is gone": lambda out: (out / "config.json").unlink(),
    "the configuration is damaged": lambda out: (out / "config.json").write_text("{"),
    "its owner is gone": lambda out: (out / "run.json").unlink(),
}


@pytest.mark.parametrize("harm", HARM)
def test_the_next_measurement_makes_the_folder_complete_again(tiny, tmp_path, harm):
    out = tmp_path / "out"
    monitor = watch(tiny, out)
    fit(tiny, tmp_path, At(3, lambda: HARM[harm](out)), monitor)
    assert monitor.monitor.results.folder == out
    assert not monitor.monitor.failures.counts
    whole(out, [0, 2, 4, 6, 8])


def test_a_run_can_be_resumed_after_its_folder_was_deleted_and_written_again(tiny, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    out, keep = tmp_path / "out", ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=6, save_top_k=-1)
    first = watch(tiny, out)
    fit(tiny, tmp_path, At(3, lambda: shutil.rmtree(out)), first, keep, enable_checkpointing=True)
    [found] = (tmp_path / "kept").glob("*step=6*")
    again = watch(tiny, out)
    fit(tiny, tmp_path, again, ckpt_path=str(found))
    assert whole(out, [0, 2, 4, 6, 8]).run_id == first.monitor.record.run_id
    assert not list(out.glob("*damaged*"))


def test_a_disk_that_is_full_at_the_start_is_told_of_and_made_up_for(tiny, tmp_path, monkeypatch):
    real, full = Path.mkdir, [True]

    def mkdir(self, *args, **kwargs):
        if full[0] and self.name == "out":
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(RuntimeWarning, match=r"out could not be made.*No space left.*writes it again") as caught:
        fit(tiny, tmp_path, At(3, full.clear), At(3, lambda: full.append(False)), monitor)
    assert len([one for one in caught if "layerscope:" in str(one.message)]) == 1
    whole(tmp_path / "out", [0, 2, 4, 6, 8])


def test_what_is_missing_in_the_end_is_named(tiny, tmp_path, monkeypatch):
    def save(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReferenceBank, "save", save)
    monitor = watch(tiny, tmp_path / "out")
    with pytest.warns(RuntimeWarning) as caught:
        fit(tiny, tmp_path, monitor)
    told = [str(one.message) for one in caught]
    assert any("writing failed: reference/ could not be written" in text for text in told)
    assert any("are not complete: reference/ could not be written" in text for text in told)
    assert RunRecord.load(tmp_path / "out").steps == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("damage", [{"measurements": 3}, [], {"run_id": None, "measurements": [{}]}])
def test_a_damaged_record_leads_on_to_the_checkpoints_own_folder(tiny, tmp_path, monkeypatch, damage):
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=4, save_top_k=-1)
    first = watch(tiny, tmp_path / "first")
    fit(tiny, tmp_path, first, keep, enable_checkpointing=True)
    [found] = (tmp_path / "kept").glob("*step=4*")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    real = RunRecord.load

    def load(folder):
        if Path(folder).name == "second":
            raise KeyError(str(damage))
        return real(folder)

    monkeypatch.setattr(RunRecord, "load", load)
    again = watch(tiny, tmp_path / "second")
    fit(tiny, tmp_path, again, ckpt_path=str(found))
    assert again.monitor.record.steps == [0, 2, 4, 6, 8]
    assert again.monitor.record.run_id == first.monitor.record.run_id


def test_a_relative_folder_stays_where_it_was_said(tiny, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monitor = watch(tiny, "out")
    fit(tiny, tmp_path, At(3, lambda: os.chdir(tmp_path / "there")), monitor)
    whole(tmp_path / "here" / "out", [0, 2, 4, 6, 8])
    assert not list((tmp_path / "there").iterdir())


def test_a_remote_default_folder_is_told_of_and_a_local_one_taken(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor = watch(tiny, None)
    with pytest.warns(RuntimeWarning, match=rf"s3://bucket/run is no folder of this machine: .*{tmp_path}"):
        fit(tiny, "s3://bucket/run", monitor, steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layerscope"]
    whole(tmp_path / "layerscope", [0, 2])


def train(tiny, folder, monitor, **options):
    rows = [{"input_ids": row, "labels": row} for row in tiny.rows()]
    settings = {"max_steps": 4, "report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    arguments = transformers.TrainingArguments(output_dir=str(folder), **{**settings, **options})
    trainer = transformers.Trainer(tiny.llama(), arguments, train_dataset=rows, callbacks=[monitor])
    trainer.train()
    return trainer


def uploaded(folder):
    """What a push to the hub takes: all that lies in a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_the_hub_gets_holds_no_prompt(tiny, tmp_path):
    probes = tiny.probes(tasks=3, examples=6)
    monitor = TransformersLayerSimilarityMonitor(probes, every_n_steps=2, max_overhead=None, verbose=False)
    train(tiny, tmp_path / "model", monitor)
    files = uploaded(tmp_path / "model")
    assert Path("layerscope/config.json") in files
    texts = [text.encode() for probe in probes.values() for text in probe.texts]
    assert not [name for name, content in files.items() if any(text in content for text in texts)]
    assert not [name for name in files if name.name.startswith("probes")]
    kept = monitor.monitor.results.prompts_file
    assert not kept.is_relative_to(tmp_path / "model")
    assert ProbeSet.load(kept).tokens_digest == probes.tokens_digest


def test_results_that_the_user_puts_inside_are_kept_apart_from_their_prompts_too(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "model")
    (tmp_path / "model").mkdir()
    inside = location_in(tmp_path / "link" / "mine", tmp_path / "model", "layerscope")
    assert inside.prompts == tmp_path / "model-layerscope-prompts"
    assert location_in(tmp_path / "elsewhere", tmp_path / "model", "layerscope").prompts is None


def test_a_trackers_run_folder_holds_no_prompt(tiny, tmp_path):
    near = watch(tiny, None)
    fit(tiny, tmp_path, near, logger=pl.loggers.CSVLogger(tmp_path / "csv"), log_every_n_steps=1)
    assert (near.monitor.results.folder / "probes.json").is_file()

    class Unknown(pl.loggers.logger.DummyLogger):
        name, version = "unknown", "run-7"
        save_dir = str(tmp_path / "tracked")

        def log_metrics(self, *args, **kwargs):
            pass

    far = watch(tiny, None)
    fit(tiny, tmp_path, far, logger=Unknown(), log_every_n_steps=1)
    assert far.monitor.results.folder == tmp_path / "tracked" / "unknown" / "run-7" / "layerscope"
    assert not list((tmp_path / "tracked" / "unknown" / "run-7").rglob("probes*"))
    assert far.monitor.results.prompts_file.is_file()


def test_a_resumed_run_finds_its_prompts_beside_the_published_folder(tiny, tmp_path):
    first = TransformersLayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6), every_n_steps=2, max_overhead=None, report=False, verbose=False
    )
    trainer = train(tiny, tmp_path / "model", first, save_strategy="steps", save_steps=2)
    changed = TransformersLayerSimilarityMonitor(
        tiny.probes(tasks=3, examples=6, longest=7), every_n_steps=2, max_overhead=None, report=False, verbose=False
    )
    trainer.args.max_steps = 6
    again = transformers.Trainer(tiny.llama(), trainer.args, train_dataset=trainer.train_dataset, callbacks=[changed])
    with pytest.warns(RuntimeWarning, match="goes on with its own"):
        again.train(resume_from_checkpoint=str(tmp_path / "model" / "checkpoint-4"))
    assert changed.monitor.record.steps == [0, 2, 4, 6]
    assert changed.monitor.record.run_id == first.monitor.record.run_id
