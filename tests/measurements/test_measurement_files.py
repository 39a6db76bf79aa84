"""The files of a record: each measurement has its own, every bit is verified, earlier folders can be read."""

import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from lightning_layerscope import LayerProfile, RunRecord
from lightning_layerscope.measurements import storage


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_format_1(record, folder):
    """What records looked like before each measurement had files of its own."""
    folder.mkdir()
    record.profile.to_parquet(folder / "profile.parquet")
    matrices, entries = {}, []
    for each in record.measurements:
        matrices[f"{each.step}/layer_x_layer"] = each.layer_x_layer
        matrices.update({f"{each.step}/task_x_task/{layer}": matrix for layer, matrix in each.task_x_task.items()})
        entry = {"step": each.step, "seconds": each.seconds, "overhead": each.overhead, "warnings": each.warnings}
        meta = {key: list(getattr(each.profile.meta, key)) for key in ("warnings", "notes")}
        entries.append({**entry, "meta": meta, "transition": each.transition.to_dict()})
    save_file(matrices, folder / "matrices.safetensors")
    config = {"format": 1, "run_id": record.run_id, "config": record.config, "rewound": [], "measurements": entries}
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def test_a_further_measurement_leaves_the_files_of_the_others_alone(tmp_path, measure, record_of):
    record = record_of(0, 5)
    record.save(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("step-*")}
    assert len(before) == 6
    record.add(measure(10))
    record.save(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(tmp_path.rglob("step-*"))) == 9
    assert RunRecord.load(tmp_path).steps == [0, 5, 10]


def test_the_rows_of_all_measurements_are_one_table_for_any_reader(tmp_path, record_of):
    record = record_of(0, 5)
    record.save(tmp_path)
    rows = pd.read_parquet(tmp_path / "profile.parquet")
    pd.testing.assert_frame_equal(rows, record.profile.frame)
    pd.testing.assert_frame_equal(LayerProfile.from_parquet(tmp_path / "profile.parquet").frame, record.profile.frame)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"a folder without \.parquet files"):
        LayerProfile.from_parquet(tmp_path / "empty")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "profile.parquet/step-0000000005.parquet",
        "matrices/step-0000000005.safetensors",
        "measurements/step-0000000005.json",
    ],
)
def test_any_flipped_bit_is_found_and_told_with_its_file(tmp_path, name, record_of):
    record_of(0, 5).save(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(60):
        place = draw.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged") as told:
            RunRecord.load(tmp_path)
        assert path.name in str(told.value)
        assert "restore it from a copy, or delete" in str(told.value)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        RunRecord.load(tmp_path)
    path.write_bytes(whole)
    assert RunRecord.load(tmp_path).steps == [0, 5]


def test_the_way_out_that_a_damaged_measurement_names_works(tmp_path, record_of):
    record_of(0, 5).save(tmp_path)
    (tmp_path / "matrices" / "step-0000000005.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"delete profile.parquet/step-0000000005.parquet, matrices/.*, measurements/"):
        RunRecord.load(tmp_path)
    for path in tmp_path.rglob("step-0000000005.*"):
        path.unlink()
    assert RunRecord.load(tmp_path).steps == [0]
    (tmp_path / "matrices" / "step-0000000000.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"safetensors, which belongs to step 0, got no such file"):
        RunRecord.load(tmp_path)


def test_measurements_can_be_had_without_the_configuration(tmp_path, record_of):
    record = record_of(0, 5)
    record.save(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.warns(UserWarning, match=r"config\.json is gone: how the run was configured is unknown"):
        again = RunRecord.load(tmp_path)
    assert (again.run_id, again.steps, again.config) == (record.run_id, [0, 5], {})


@pytest.mark.parametrize("gone", ["", "config.json", "profile.parquet", "matrices/step-0000000000.safetensors"])
def test_what_was_deleted_while_the_run_went_on_is_written_again(tmp_path, gone, record_of):
    folder = tmp_path / "run"
    record = record_of(0, 5)
    record.save(folder)
    before = contents(folder)
    victim = folder / gone
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    record.save(folder)
    assert contents(folder) == before
    assert RunRecord.load(folder).steps == [0, 5]


def test_a_damaged_configuration_is_written_again_by_the_run_that_wrote_it(tmp_path, record_of):
    record = record_of(0)
    record.save(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileExistsError, match="holds another run"):
        record_of(0).save(tmp_path)
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).steps == [0]


def test_a_folder_taken_over_by_another_run_is_not_written_to(tmp_path, measure, record_of):
    record = record_of(0)
    record.save(tmp_path)
    shutil.rmtree(tmp_path)
    record_of(7).save(tmp_path)
    before = contents(tmp_path)
    record.add(measure(5))
    with pytest.raises(FileExistsError, match=r"holds another run .* 1 measurement"):
        record.save(tmp_path)
    assert contents(tmp_path) == before


def test_a_file_of_another_run_among_the_measurements_is_refused(tmp_path, record_of):
    record_of(0).save(tmp_path / "own")
    record_of(5).save(tmp_path / "other")
    shutil.copytree(tmp_path / "other", tmp_path / "own", dirs_exist_ok=True, ignore=lambda *_: ["config.json"])
    with pytest.raises(ValueError, match=r"expected measurements of run .*step-0000000005\.json; move it"):
        RunRecord.load(tmp_path / "own")


def test_measurements_given_up_are_kept_aside(tmp_path, measure, record_of, same):
    record = record_of(0, 5, 10)
    record.save(tmp_path)
    old = record.measurements[-1]
    again = RunRecord.load(tmp_path)
    again.rewind(7)
    again.add(measure(10, change=0.5))
    again.save(tmp_path)
    same(RunRecord.load(tmp_path).measurements[-1], again.measurements[-1])
    kept = LayerProfile.from_parquet(tmp_path / "given-up" / "1" / "profile.parquet")
    pd.testing.assert_frame_equal(kept.frame, old.profile.frame)
    again.rewind(5)
    again.save(tmp_path)
    assert RunRecord.load(tmp_path).steps == [0, 5]
    assert (tmp_path / "given-up" / "2" / "measurements" / "step-0000000010.json").is_file()


def test_folders_of_the_earlier_format_are_read_and_gone_on_with(tmp_path, measure, record_of, same):
    record = record_of(0, 5)
    record.measurements[1].seconds = 1.5
    write_format_1(record, tmp_path / "run")
    again = RunRecord.load(tmp_path / "run")
    assert (again.run_id, again.steps, again.config) == (record.run_id, [0, 5], record.config)
    for first, second in zip(record.measurements, again.measurements, strict=True):
        same(first, second)
    with pytest.raises(FileExistsError, match=r"holds another run .* 2 measurements"):
        record_of(0).save(tmp_path / "run")
    again.add(measure(10))
    again.save(tmp_path / "run")
    assert RunRecord.load(tmp_path / "run").steps == [0, 5, 10]
    assert (tmp_path / "run" / "profile.parquet").is_dir()


@pytest.mark.parametrize("last", ["step-0000000000.json", "step-0000000010.parquet", "config.json"])
def test_a_process_that_dies_while_it_changes_the_format_loses_nothing(
    tmp_path, monkeypatch, last, measure, record_of, dies_at
):
    write_format_1(record_of(0, 5), tmp_path / "run")
    again = RunRecord.load(tmp_path / "run")
    again.add(measure(10))
    dies_at(last)
    with pytest.raises(KeyboardInterrupt):
        again.save(tmp_path / "run")
    monkeypatch.undo()
    later = RunRecord.load(tmp_path / "run")
    assert later.steps == [0, 5]
    later.add(measure(10))
    later.save(tmp_path / "run")
    assert RunRecord.load(tmp_path / "run").steps == [0, 5, 10]


def test_later_formats_are_refused(tmp_path):
    from lightning_layerscope.sealed import write_sealed

    write_sealed(tmp_path / "config.json", {"format": storage.FORMAT + 1, "run_id": "a"})
    with pytest.raises(ValueError, match=r"expected record format 2, got 3 .*use a later version"):
        RunRecord.load(tmp_path)


def test_undefined_values_survive(tmp_path, record_of):
    record = record_of(0)
    record.measurements[0].layer_x_layer[0, 0] = np.nan
    record.save(tmp_path)
    assert np.isnan(RunRecord.load(tmp_path).measurements[0].layer_x_layer[0, 0])
