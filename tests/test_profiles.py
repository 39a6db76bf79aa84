"""Profiles: tidy rows in, curves, files and differences out."""

import hashlib
import json
import random
import re
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_layerscope import LayerProfile
from lightning_layerscope.cli import main
from lightning_layerscope.profiles import COLUMNS, ProfileMeta, storage


def make(values, *, layers=None, step=0, measure="cka", half=0.1, **meta):
    """A profile of values (tasks, layers): tasks a, b, ... in clusters x (the first two) and y."""
    values = np.asarray(values, dtype=float)
    layers = list(layers or range(1, values.shape[1] + 1))
    rows = []
    for row, line in enumerate(values):
        for layer, value in zip(layers, line, strict=True):
            reason = "zero variance" if np.isnan(value) else ""
            cell = (step, layer, "abcdefgh"[row], "x" if row < 2 else "y", measure, "debiased")
            rows.append((*cell, value, value - half, value + half, reason))
    return LayerProfile(pd.DataFrame(rows, columns=list(COLUMNS)), {"measure": measure, "examples_digest": "e", **meta})


VALUES = [[1.0, 0.5, 0.0], [0.8, 0.6, 0.4], [0.6, 0.1, 0.2]]


def test_the_meta_is_typed_frozen_and_checked_where_it_comes_in():
    profile = make(VALUES, tasks=["a", "b", "c"], notes=["n"], colour="blue", model_name=None)
    assert (profile.meta.tasks, profile.meta.notes, profile.meta.model_name) == (("a", "b", "c"), ("n",), "")
    assert profile.meta.extra == {"colour": "blue"}
    with pytest.raises(FrozenInstanceError):
        profile.meta.reference = "base"
    with pytest.raises(ValueError, match=r"expected a list of numbers as 'layers' of a profile's meta, got 'all'"):
        LayerProfile(profile.frame, {"layers": "all"})
    with pytest.raises(ValueError, match="expected a list of texts as 'warnings' of a profile's meta, got 'careful'"):
        make(VALUES, warnings="careful")


def test_what_someone_added_to_the_meta_lies_beside_the_rest_and_comes_back(tmp_path):
    profile = make(VALUES, colour="blue", examples={"a": 3})
    assert profile.meta.to_dict()["colour"] == "blue"
    assert ProfileMeta.from_dict(json.loads(json.dumps(profile.meta.to_dict()))) == profile.meta
    again = LayerProfile.from_parquet(profile.to_parquet(tmp_path / "p.parquet"))
    assert again.meta.extra == {"colour": "blue"}
    assert LayerProfile.concat([again, make(VALUES, step=1)]).meta.extra == {"colour": "blue"}


def test_properties_are_read_off_rows_and_meta():
    profile = make(VALUES, num_layers=4, reference="initial")
    assert (profile.measure, profile.measures, profile.steps) == ("cka", ["cka"], [0])
    assert (profile.layers, profile.num_layers, profile.tasks) == ([1, 2, 3], 4, ["a", "b", "c"])
    assert profile.clusters == {"a": "x", "b": "x", "c": "y"}
    assert len(profile) == 9
    assert repr(profile) == "LayerProfile(measure='cka', 3 tasks, 3 of 4 layers, steps=[0], reference='initial')"
    np.testing.assert_array_equal(profile.matrix(), VALUES)
    np.testing.assert_allclose(profile.matrix(column="low"), np.asarray(VALUES) - 0.1)


def test_the_matrix_does_not_depend_on_the_order_of_rows():
    profile = make(VALUES)
    mixed = LayerProfile(profile.frame.sample(frac=1, random_state=0), profile.meta)
    np.testing.assert_array_equal(mixed.matrix(), VALUES)


def test_steps_are_joined_and_taken_apart():
    joined = LayerProfile.concat([make(VALUES), make(np.asarray(VALUES) / 2, step=10)])
    assert joined.steps == [0, 10]
    np.testing.assert_array_equal(joined.matrix(), np.asarray(VALUES) / 2)
    np.testing.assert_array_equal(joined.matrix(step=0), VALUES)
    np.testing.assert_array_equal(joined.at_step(0).matrix(), VALUES)
    assert joined.at_step(10).steps == [10]
    with pytest.raises(KeyError, match=r"step 5 was not measured; measured were \[0, 10\]"):
        joined.at_step(5)


def test_measures_stand_side_by_side():
    both = LayerProfile.concat([make(VALUES), make(np.asarray(VALUES) / 4, measure="cka_robust")])
    assert both.measure == "cka"
    np.testing.assert_array_equal(both.matrix("cka_robust"), np.asarray(VALUES) / 4)
    with pytest.raises(KeyError, match=r"no measure 'svcca' in this profile; it has \['cka', 'cka_robust'\]"):
        both.matrix("svcca")


def test_warnings_of_all_steps_are_kept_once():
    joined = LayerProfile.concat([make(VALUES, warnings=["w", "v"]), make(VALUES, step=1, warnings=["u", "w"])])
    assert joined.meta.warnings == ("w", "v", "u")


def of_task(task, step=0, **meta):
    cells = [(step, layer, task, f"of {task}", "cka", "debiased", 0.5, 0.4, 0.6, "") for layer in (1, 2)]
    return LayerProfile(pd.DataFrame(cells, columns=list(COLUMNS)), {"measure": "cka", "examples": {task: 8}, **meta})


def test_profiles_of_other_tasks_join_under_a_digest_of_all_of_theirs():
    own = {"reference_digest": "r", "tokens_digest": "t"}
    parts = [
        of_task("b", examples_digest="eb", warnings=["v"], **own),
        of_task("a", examples_digest="ea", warnings=["w"], **own),
        of_task("b", 1, examples_digest="eb", **own),
    ]
    joined = LayerProfile.concat(parts)
    assert (joined.tasks, joined.clusters) == (["b", "a"], {"b": "of b", "a": "of a"})
    assert joined.meta.examples == {"b": 8, "a": 8}
    assert joined.meta.examples_digest == hashlib.sha256(b"eb\0ea").hexdigest()
    assert (joined.meta.tokens_digest, joined.meta.reference_digest) == ("t", "r")
    assert joined.meta.warnings == ("v", "w")
    np.testing.assert_array_equal(joined.matrix(step=1), [[0.5, 0.5], [np.nan, np.nan]])
    unknown = LayerProfile.concat([parts[0], of_task("a", **own)])
    assert unknown.meta.examples_digest == ""


def test_profiles_that_share_some_tasks_do_not_join():
    both = LayerProfile.concat([of_task("a"), of_task("b")])
    with pytest.raises(ValueError, match=r"got \['a'\] among different ones: tasks=\[\['a', 'b'\], \['a'\]\]"):
        LayerProfile.concat([both, of_task("a", 1)])
    with pytest.raises(ValueError, match="profile 1 with reference='base' where an earlier one has ''"):
        LayerProfile.concat([of_task("a"), of_task("b", reference="base")])


def test_profiles_of_other_runs_do_not_join():
    with pytest.raises(ValueError, match=r"profile 1 with reference_digest='z' .* use `diff`"):
        LayerProfile.concat([make(VALUES), make(VALUES, step=1, reference_digest="z")])
    with pytest.raises(ValueError, match="expected each cell once, got 9 repeated"):
        LayerProfile.concat([make(VALUES), make(VALUES)])
    with pytest.raises(ValueError, match="at least one profile"):
        LayerProfile.concat([])


def test_mean_curve_has_a_t_interval_over_tasks():
    curve = make(VALUES).mean_curve(confidence=0.9)
    np.testing.assert_allclose(curve["value"], np.mean(VALUES, axis=0))
    # t(0.95, 2) = 2.91999
    half = 2.91999 * np.std(VALUES, axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(curve["high"] - curve["value"], half, rtol=1e-5)
    np.testing.assert_allclose(curve["value"] - curve["low"], half, rtol=1e-5)
    assert curve["tasks"].tolist() == [3, 3, 3]
    np.testing.assert_allclose(make(VALUES).mean_curve(tasks=["c"])["value"], VALUES[2])
    with pytest.raises(KeyError, match="no task 'z'"):
        make(VALUES).mean_curve(tasks=["z"])
    with pytest.raises(ValueError, match="confidence between 0 and 1"):
        make(VALUES).mean_curve(confidence=90)


def test_the_interval_over_tasks_covers_the_mean_of_other_tasks():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        curve = make(rng.normal(0.5, 0.2, (5, 1))).mean_curve()
        covered.append(curve["low"][0] <= 0.5 <= curve["high"][0])
    assert 0.86 < np.mean(covered) < 0.94


def test_undefined_cells_are_left_out_of_means_and_counted():
    values = [[1.0, np.nan, np.nan], [0.8, 0.6, np.nan], [0.6, 0.1, np.nan]]
    profile = make(values)
    curve = profile.mean_curve()
    assert curve["tasks"].tolist() == [3, 2, 0]
    assert curve["value"][1] == pytest.approx(0.35)
    assert np.isnan(curve["value"][2])
    clusters = profile.cluster_curves()
    np.testing.assert_allclose(clusters["x"], [0.9, 0.6, np.nan])
    np.testing.assert_allclose(clusters["y"], [0.6, 0.1, np.nan])


def test_a_profile_survives_parquet(tmp_path):
    profile = make([[1.0, np.nan]], reference="initial", warnings=["careful"])
    assert profile.to_parquet(tmp_path / "deep" / "p.parquet") == tmp_path / "deep" / "p.parquet"
    again = LayerProfile.from_parquet(tmp_path / "deep" / "p.parquet")
    pd.testing.assert_frame_equal(again.frame, profile.frame)
    assert again.meta == profile.meta
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p.parquet"]
    # Any reader of parquet sees the rows.
    assert list(pd.read_parquet(tmp_path / "deep" / "p.parquet").columns) == list(COLUMNS)


def test_undefined_values_survive_parquet_whatever_their_bits(tmp_path):
    """Arithmetic gives NaN of either sign, a file gives one kind back."""
    values = np.array([[np.nan, -np.nan, 0.5], [-0.0, 1.0, np.nan]])
    values[0, 0] = np.array([0xFFF8000000000001], dtype=np.uint64).view(np.float64)[0]
    profile = make(values)
    np.testing.assert_array_equal(LayerProfile.from_parquet(profile.to_parquet(tmp_path / "p")).matrix(), values)


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    make(VALUES).to_parquet(tmp_path / "p.parquet")

    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(OSError, match="no space"):
        make(VALUES, step=3).to_parquet(tmp_path / "p.parquet")
    assert LayerProfile.from_parquet(tmp_path / "p.parquet").steps == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_other_files_are_refused(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ValueError, match="got another parquet file"):
        LayerProfile.from_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="damaged or other file"):
        LayerProfile.from_parquet(tmp_path / "text.parquet")
    with pytest.raises(FileNotFoundError, match="no such file"):
        LayerProfile.from_parquet(tmp_path / "none.parquet")


def test_no_flipped_bit_gives_other_numbers(tmp_path):
    profile = make([[1.0, 0.5, 0.25], [0.8, np.nan, 0.4]], reference="initial", warnings=["careful"])
    path = profile.to_parquet(tmp_path / "p.parquet")
    whole, draw, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        place = draw.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            again = LayerProfile.from_parquet(path)
        except ValueError as error:
            refused += path.name in str(error)
        else:  # a bit that says nothing about the rows, of the file's statistics say
            pd.testing.assert_frame_equal(again.frame, profile.frame)
            assert again.meta == profile.meta
    assert refused > 100


def test_names_are_written_once_and_read_as_names(tmp_path):
    names = ["a", 'say "b"', "\u6f22", "", "\n"]
    profile = LayerProfile.concat([make(np.eye(5) + 0.5, step=step, names=names) for step in (0, 1)])
    path = profile.to_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(LayerProfile.from_parquet(path).frame, profile.frame)
    assert not pa.types.is_dictionary(pq.read_schema(path).field("task").type)


def test_rows_that_were_changed_by_another_program_are_refused(tmp_path):
    path = make(VALUES).to_parquet(tmp_path / "p.parquet")
    table = pq.read_table(path)
    place = table.column_names.index("value")
    changed = table.set_column(place, "value", pa.array(np.ones(len(table))))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(ValueError, match=r"p\.parquet is damaged or was changed .* write the profile again"):
        LayerProfile.from_parquet(path)


def test_profiles_of_earlier_versions_are_read(tmp_path):
    profile = make(VALUES, reference="initial")
    table = pa.Table.from_pandas(profile.frame, preserve_index=False)
    known = {"lightning_layerscope.profile": json.dumps(profile.meta.to_dict())}
    pq.write_table(table.replace_schema_metadata(known), tmp_path / "p.parquet")
    again = LayerProfile.from_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(again.frame, profile.frame)
    assert again.meta == profile.meta


def digest_of_every_text(frame, meta):
    """As the second version of the files had it."""
    digest = hashlib.sha256(meta.encode())
    for name, kind in COLUMNS.items():
        column = frame[name]
        cells = json.dumps(column.tolist()).encode() if kind == "text" else column.to_numpy().tobytes()
        digest.update(f"{name} {len(cells)}\n".encode() + cells)
    return digest.hexdigest()


def test_profiles_of_the_version_with_a_digest_of_every_text_are_verified(tmp_path):
    profile = make(VALUES, reference="initial")
    table, meta = pa.Table.from_pandas(profile.frame, preserve_index=False), json.dumps(profile.meta.to_dict())
    known = {"lightning_layerscope.profile.2": f"{digest_of_every_text(profile.frame, meta)}\n{meta}"}
    pq.write_table(table.replace_schema_metadata(known), tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(LayerProfile.from_parquet(tmp_path / "p.parquet").frame, profile.frame)
    changed = table.set_column(table.column_names.index("task"), "task", pa.array(["other"] * len(table)))
    pq.write_table(changed.replace_schema_metadata(known), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="damaged or was changed"):
        LayerProfile.from_parquet(tmp_path / "p.parquet")


def test_a_small_file_that_would_unpack_to_a_huge_table_is_refused_on_the_way(tmp_path, monkeypatch):
    path = make(VALUES).to_parquet(tmp_path / "p.parquet")
    table = pq.read_table(path)
    many = pa.concat_tables([table.slice(0, 1)] * 10_000)
    pq.write_table(many.replace_schema_metadata(table.schema.metadata), path)
    monkeypatch.setattr(storage, "ROWS_AT_A_TIME", 500)
    with pytest.raises(ValueError, match=r"at most 576 rows per step .* got 1,000 and more of 1 step; the rest"):
        LayerProfile.from_parquet(path)


def test_to_pandas_is_a_copy():
    profile = make(VALUES)
    copy = profile.to_pandas()
    copy["value"] = 7
    np.testing.assert_array_equal(profile.matrix(), VALUES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="low"), r"\['low'\] missing"),
        (lambda frame: frame.assign(colour=1), r"\['colour'\] unknown"),
        (lambda frame: frame.assign(value=np.inf), "finite values or NaN with a reason"),
        (lambda frame: frame.assign(value=np.nan), "a reason for every undefined value"),
        (lambda frame: frame.assign(layer=1), "each cell once, got 6 repeated"),
        (lambda frame: frame.assign(task=frame["task"] + "?"), r"rows of the tasks in meta, got \['a\?'"),
    ],
)
def test_malformed_rows_are_refused(change, message):
    profile = make(VALUES)
    with pytest.raises(ValueError, match=message):
        LayerProfile(change(profile.frame), profile.meta)


def test_difference_is_the_second_minus_the_first():
    first, second = make(VALUES, half=0.3), make(np.asarray(VALUES) + 0.25, half=0.4)
    found = first.diff(second)
    np.testing.assert_allclose(found.matrix(), 0.25)
    np.testing.assert_allclose(found.matrix("high") - found.matrix(), 0.5)
    np.testing.assert_allclose(found.matrix() - found.matrix("low"), 0.5)
    assert not found.by_depth
    assert found.to_pandas()["layer"].tolist() == [1, 2, 3] * 3
    assert found.mean_curve()["value"].tolist() == pytest.approx([0.25] * 3)
    assert "difference in cka is largest at layer" in found.describe()


def test_a_difference_without_a_band_names_none():
    same, one = make(VALUES), make(VALUES[:1])
    assert same.diff(same).describe() == "The mean over 3 tasks of the difference in cka is 0 everywhere."
    told = one.diff(make(np.asarray(VALUES[:1]) + 0.25)).describe()
    assert told.startswith("Mean over 1 task of the difference in cka is largest at layer")
    assert told.endswith(": +0.250.")


def test_difference_aligns_tasks_by_name():
    second = make(VALUES[::-1])
    renamed = second.frame.assign(task=second.frame["task"].map({"a": "c", "b": "b", "c": "a"}))
    reordered = LayerProfile(renamed, replace(second.meta, tasks=("c", "b", "a")))
    np.testing.assert_allclose(make(VALUES).diff(reordered).matrix(), 0)


def test_models_of_other_depth_are_compared_over_relative_depth():
    deep_layers = np.arange(1, 9)
    shallow, deep = make([[0.5, 1.0]] * 2, half=0), make([deep_layers / 8] * 2, half=0)
    for found, sign in ((shallow.diff(deep), 1), (deep.diff(shallow), -1)):
        assert found.by_depth
        assert found.frame["depth"].tolist() == [0.5, 1.0] * 2
        np.testing.assert_allclose(found.matrix(), 0, atol=1e-12)
        assert found.frame["layer"].tolist() == ([1, 2] * 2 if sign == 1 else [-1] * 4)
    steeper = make([[0.0, 1.0]] * 2, half=0)
    np.testing.assert_allclose(steeper.diff(deep).matrix()[0], [0.5, 0.0])


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_the_command_prints_depths_where_models_differ_in_them(tmp_path, capsys, names):
    make([[1.0, 0.5], [0.8, 0.6]]).to_parquet(tmp_path / "a")
    make([[0.9, 0.8, 0.7, 0.6], [0.6, 0.5, 0.4, 0.3]]).to_parquet(tmp_path / "b")
    assert main(["diff", *(str(tmp_path / name) for name in names)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("over relative depth (layer / number of layers)")
    assert lines[2].split() == ["depth", "mean", "low", "high"]
    assert [line.split()[0] for line in lines[3:5]] == ["0.50", "1.00"]


def test_depths_that_one_model_was_not_measured_at_are_undefined():
    late = make([[0.7, 0.8, 0.9]], layers=[6, 7, 8])
    found = make([[0.5, 1.0]]).diff(late)
    assert found.frame["reason"].tolist() == ["undefined in the second", ""]
    assert np.isnan(found.frame["delta"][0])


def test_differences_that_mean_nothing_are_refused():
    profile = make(VALUES)
    with pytest.raises(
        ValueError, match=r"profiles of the same examples, got the digests e and f; .*one saved ProbeSet"
    ):
        profile.diff(make(VALUES, examples_digest="f"))
    with pytest.raises(ValueError, match="got the digests e and none"):
        profile.diff(make(VALUES, examples_digest=""))
    with pytest.raises(ValueError, match=r"expected the same tasks, got \['c'\]"):
        profile.diff(make(VALUES[:2]))
    with pytest.raises(ValueError, match=r"same layers of models of one depth, got \[2\]"):
        profile.diff(make([row[::2] for row in VALUES], layers=[1, 3]))
    with pytest.raises(ValueError, match=re.escape("one headline measure, got cka (debiased) and svcca (debiased)")):
        profile.diff(make(VALUES, measure="svcca"))
    with pytest.raises(KeyError, match="no rows of 'cka' at step 4"):
        profile.diff(profile, other_step=4)


def test_names_of_the_profile_written_before_are_not_taken_for_those_of_the_next(tmp_path):
    """Texts that repeat from measurement to measurement are encoded once."""
    first, same = make(VALUES), make(np.asarray(VALUES) + 1)
    other = LayerProfile(first.to_pandas().assign(cluster="another"), {"measure": "cka"})
    part = LayerProfile(first.to_pandas().iloc[:-1], {"measure": "cka"})
    for number, profile in enumerate((first, same, other, part, first)):
        found = LayerProfile.from_parquet(profile.to_parquet(tmp_path / f"{number}.parquet"))
        pd.testing.assert_frame_equal(found.frame, profile.frame)
