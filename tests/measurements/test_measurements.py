"""Measurements of a run and the record that keeps them: nothing is lost, nothing foreign is written over."""

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_layerscope import LayerProfile, ReferenceBank, RunRecord, compare, take_measurement
from lightning_layerscope.functional import linear_cka
from lightning_layerscope.functional.task_similarity import mean_noise, task_mean_cosine


def test_a_measurement_holds_everything_one_step_logs(measure, random_states, initial_bank):
    found = measure(5)
    states = random_states(6, change=1.0)
    pd.testing.assert_frame_equal(found.profile.frame, compare(states, initial_bank, step=5).frame)
    assert (found.transition.start, found.transition.end) == (4, 6)
    assert found.transition.signal == "drift from initial (cka)"
    pairs = [[[float(linear_cka(x, y)) for y in states[task]] for x in states[task]] for task in states]
    np.testing.assert_allclose(found.layer_x_layer, np.mean(pairs, axis=0), atol=1e-6)
    assert list(found.task_x_task) == [1, 4, 8]
    middle = torch.stack([states[task][3] for task in states])
    expected = task_mean_cosine(middle.mean(dim=1), mean_noise(middle))
    np.testing.assert_allclose(found.task_x_task[4], expected, atol=1e-6)


def test_the_middle_layer_stands_in_where_there_is_no_transition(measure):
    found = measure(0, change=0.0)
    assert not found.transition.found
    assert list(found.task_x_task) == [1, 5, 8]
    np.testing.assert_allclose(found.profile.matrix(), 1, atol=1e-6)


def test_grams_are_computed_once(monkeypatch, measure):
    from lightning_layerscope.functional import gram

    calls, original = [], gram.centered_gram

    def counted(x):
        calls.append(x.shape)
        return original(x)

    monkeypatch.setattr(gram, "centered_gram", counted)
    measure(1, robust=False)
    assert len(calls) == 10


def test_parts_can_be_left_out(measure, random_states, initial_bank):
    found = measure(1, layer_matrix=False, task_layers=[2], robust=False, diagnostics=False)
    assert found.layer_x_layer is None
    assert list(found.task_x_task) == [2]
    assert found.profile.measures == ["cka"]
    assert measure(1, task_layers=[]).task_x_task == {}
    with pytest.raises(ValueError, match=r"task layers among those measured .* got \[11\]"):
        measure(1, task_layers=[11])
    grams = ReferenceBank.from_states(random_states(3, change=1.0))
    assert take_measurement(grams, initial_bank, step=0).task_x_task == {}
    with pytest.raises(ValueError, match="Gram matrices, which lost the means"):
        take_measurement(grams, initial_bank, step=0, task_layers=[1])


def test_a_task_that_is_undefined_somewhere_does_not_hide_the_others(random_states, initial_bank):
    states = random_states(2, change=1.0)
    states.tensors["task0"][2] = 1.0
    found = take_measurement(states, initial_bank, step=0)
    assert np.isfinite(found.layer_x_layer).all()
    assert found.transition.notes[0] == "1 of 80 cells filled in from their neighbouring layers"
    assert found.transition.tasks == 10


def test_a_record_survives_the_disk(tmp_path, record_of, same):
    record = record_of(0, 5)
    record.measurements[1].seconds, record.measurements[1].overhead = 1.5, 0.01
    record.measurements[1].warnings.append("slow")
    record.save(tmp_path / "run")
    again = RunRecord.load(tmp_path / "run")
    assert (again.run_id, again.config, again.steps) == (record.run_id, {"probes": "p.json"}, [0, 5])
    for first, second in zip(record.measurements, again.measurements, strict=True):
        same(first, second)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "matrices", "measurements", "profile.parquet"]


def test_an_empty_record_survives_the_disk(tmp_path):
    record = RunRecord({"a": 1})
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).run_id == record.run_id
    with pytest.raises(ValueError, match="at least one profile"):
        _ = record.profile


def test_a_record_grows_across_a_resume(tmp_path, measure, record_of, same):
    record = record_of(0)
    record.save(tmp_path)
    again = RunRecord.load(tmp_path)
    again.add(measure(5))
    again.save(tmp_path)
    full = RunRecord.load(tmp_path)
    assert full.steps == [0, 5]
    same(full.measurements[0], record.measurements[0])
    assert isinstance(full.profile, LayerProfile)
    assert full.profile.steps == [0, 5]


def test_another_run_is_never_written_over(tmp_path, record_of):
    first = record_of(0)
    first.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(FileExistsError, match=r"holds another run .* 1 measurement\); choose another folder"):
        record_of(0, 5).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_a_record_that_was_not_loaded_does_not_drop_measurements(tmp_path, measure, record_of):
    record_of(0, 5).save(tmp_path)
    run_id = RunRecord.load(tmp_path).run_id
    forgetful = RunRecord(measurements=[measure(7)], run_id=run_id)
    with pytest.raises(FileExistsError, match=r"that the record does not have \(steps \[0, 5\]\); load it first"):
        forgetful.save(tmp_path)
    assert RunRecord.load(tmp_path).steps == [0, 5]


def test_going_back_to_a_checkpoint_is_said(tmp_path, measure, record_of):
    record_of(0, 5, 10).save(tmp_path)
    record = RunRecord.load(tmp_path)
    with pytest.raises(ValueError, match=r"a step after 10, got 10; .*rewind\(step\)"):
        record.add(measure(10))
    assert record.rewind(7) == [10]
    assert record.rewind(7) == []
    record.add(measure(9))
    record.save(tmp_path)
    again = RunRecord.load(tmp_path)
    assert again.steps == [0, 5, 9]
    assert again.rewound == [{"to": 7, "dropped": [10]}]


def test_measurements_of_other_probes_or_references_are_refused(measure, record_of, random_states):
    record = record_of(0)
    other = ReferenceBank.from_states(random_states(9, change=1.0), name="initial")
    with pytest.raises(ValueError, match=r"reference_digest=.* start a new record in another folder"):
        record.add(measure(5, bank=other))
    probes = random_states(3, examples_digest="f" * 64)
    with pytest.raises(ValueError, match="probes and reference of this record, got examples_digest='f"):
        record.add(take_measurement(probes, ReferenceBank.from_states(probes, name="initial"), step=5))
    joined = LayerProfile.concat([measure(5).profile, measure(6).profile])
    mixed = measure(5)
    mixed.profile = joined
    with pytest.raises(ValueError, match=r"profile of step 5 alone, got one of steps \[5, 6\]"):
        record.add(mixed)
    assert record.steps == [0]


@pytest.mark.parametrize(
    "last", ["step-0000000005.parquet", "step-0000000005.safetensors", "step-0000000005.json", "config.json"]
)
def test_a_process_that_dies_while_writing_loses_no_measurement(
    tmp_path, monkeypatch, last, measure, record_of, same, dies_at
):
    record = record_of(0)
    record.save(tmp_path)
    record.add(measure(5))
    record.config["learning_rate"] = 0.1  # what the file of it holds already is not written again
    dies_at(last)
    with pytest.raises(KeyboardInterrupt):
        record.save(tmp_path)
    monkeypatch.undo()
    if last.endswith((".safetensors", "5.json")):
        with pytest.warns(UserWarning, match="the measurement of step 5 .* was not completed"):
            again = RunRecord.load(tmp_path)
    else:
        again = RunRecord.load(tmp_path)
    assert again.steps == [0]
    same(again.measurements[0], record.measurements[0])
    again.add(measure(5))
    again.save(tmp_path)
    assert RunRecord.load(tmp_path).steps == [0, 5]


def test_the_configuration_is_written_when_it_changes(tmp_path, measure, record_of):
    record = record_of(0)
    record.config["layers"] = (1, 2)
    record.save(tmp_path)
    before = (tmp_path / "config.json").stat().st_ino
    record.add(measure(5))
    record.save(tmp_path)
    assert (tmp_path / "config.json").stat().st_ino == before
    record.config["layers"] = (1, 2, 3)
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).config["layers"] == [1, 2, 3]


def test_a_first_measurement_cut_off_can_be_written_again(tmp_path, monkeypatch, measure, record_of, dies_at):
    record = record_of(0)
    dies_at("step-0000000000.json")
    with pytest.raises(KeyboardInterrupt):
        record.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(FileExistsError, match=r"holds another run .* 0 measurements"):
        record_of(0).save(tmp_path)
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).steps == [0]


def test_rows_that_belong_to_no_run_are_left_alone(tmp_path, record_of):
    record_of(0).profile.to_parquet(tmp_path / "profile.parquet")
    with pytest.raises(FileExistsError, match=r"profile\.parquet of something else"):
        record_of(0).save(tmp_path)
    assert (tmp_path / "profile.parquet").is_file()


def test_other_files_in_the_folder_are_left_alone(tmp_path, record_of):
    (tmp_path / "report.html").write_text("report")
    record_of(0).save(tmp_path)
    assert (tmp_path / "report.html").read_text() == "report"


def test_foreign_and_damaged_folders_are_refused(tmp_path, record_of):
    with pytest.raises(FileNotFoundError, match="expected a run's record"):
        RunRecord.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model": "tiny"}')
    with pytest.raises(ValueError, match="got something else or a damaged file"):
        RunRecord.load(tmp_path)
    with pytest.raises(FileExistsError, match="is not written to"):
        record_of(0).save(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"model": "tiny"}'


def test_a_measurement_says_where_its_signals_change(measure):
    found = measure(5)
    cuts = {cut.name: cut for cut in found.signals.cuts}
    assert list(cuts) == ["median", "spread", "components", "neighbours"]
    assert (cuts["median"].start, cuts["median"].end) == (4, 6)
    assert "too few prompts" in cuts["components"].reason
    assert [cut.name for cut in measure(5, layer_matrix=False, diagnostics=False).signals.cuts] == ["median", "spread"]
