"""What is logged, before any run sees it: keys within their budget, rows, the table, and pictures small enough."""

import logging
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.sinks import WandbSink
from lightning_layerscope.sinks.keys import plan_keys, slugs
from lightning_layerscope.sinks.pictures import MOST_BYTES, pictures
from lightning_layerscope.sinks.rows import measurement_row, profile_rows, table_rows
from lightning_layerscope.transitions import find_transitions


def test_many_clusters_do_without_keys_rather_than_break_the_budget(caplog, kit):
    own = {f"task {number}": f"own cluster {number}" for number in range(62)}
    profile = kit.make_profile(0, own, layers=4, reference="bank")
    plan = plan_keys(profile)
    keys = [*plan.scalars(), *plan.media(), *plan.over_layers()]
    assert plan.count() == len(set(keys)) + 3 <= 150
    assert plan.left_out == ("62 clusters in profile_init", "62 clusters in profile_final")
    assert "layerscope/profile_final/all" in keys
    few = plan_keys(kit.make_profile(0, kit.names(48, 16), layers=32))
    assert few.left_out == ()
    deep = plan_keys(kit.make_profile(0, kit.names(8, 4), layers=80))
    assert deep.count() <= 2 * 80 + 100
    assert deep.left_out == ()

    class Run:
        config: dict = {}  # noqa: RUF012
        summary: dict = {}  # noqa: RUF012

        def define_metric(self, *args, **kwargs):
            pass

        log = define_metric

    with caplog.at_level(logging.WARNING):
        WandbSink(Run()).start(RunRecord({}, [kit.make_measurement(0, own, 4, reference="bank")]))
    assert "62 clusters in profile_final" in caplog.text


def test_slugs_are_plain_unique_and_the_same_in_every_run():
    messy = ["a b", "a-b", "all", "情感", "sst2", "", "a/b"]
    found = slugs(messy, taken=("all", "all_low", "all_high"))
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", slug) for slug in found.values())
    assert len(set(found.values())) == len(messy)
    assert found["sst2"] == "sst2"
    assert found["all"] != "all"
    assert slugs(messy[::-1], taken=("all", "all_low", "all_high")) == found


def test_undefined_values_have_no_entry(kit):
    clusters = kit.names(2, 2)
    profile = kit.make_profile(0, clusters, layers=4)
    frame = profile.to_pandas()
    hidden = (frame["layer"] == 2) | (frame["cluster"] == "cluster 1")
    frame.loc[hidden, ["value", "low", "high"]] = np.nan
    frame.loc[hidden, "reason"] = "zero variance"
    empty = type(profile)(frame, profile.meta)
    plan = plan_keys(empty)
    measurement = kit.make_measurement(0, clusters, 4)
    measurement.profile, measurement.transition = empty, find_transitions(empty)
    row = measurement_row(measurement, plan)
    assert "layerscope/cka/layer_02" not in row
    assert "layerscope/cka/layer_03" in row
    assert "layerscope/cka/cluster/cluster_1" not in row
    rows = list(profile_rows(empty, 0, plan, "final"))
    assert ["layerscope/profile_final/all" in row for row in rows] == [True, False, True, True]
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_a_large_table_keeps_whole_measurements_and_says_how_much_it_left_out(kit):
    record = kit.make_record(tuple(range(0, 200, 20)), tasks=48, clusters=16, layers=32, measures=("cka", "svcca"))
    rows, left_out = table_rows(record.profile)
    assert len(rows) + left_out == len(record.profile) == 10 * 2 * 48 * 32
    assert len(rows) <= 10_000
    assert set(Counter(zip(rows["step"], rows["measure"], strict=True)).values()) == {48 * 32}
    assert {(180, "cka"), (0, "cka"), (160, "cka")} <= set(zip(rows["step"], rows["measure"], strict=True))
    huge = kit.make_profile(0, kit.names(300, 4), layers=48)
    rows, left_out = table_rows(huge)
    assert len(rows) + left_out == 300 * 48
    assert set(rows["layer"]) == set(range(2, 49, 2)), "every second layer, the last among them"
    assert isinstance(rows, pd.DataFrame)


@pytest.mark.parametrize("tasks", [48, 62])
def test_pictures_are_made_coarser_before_they_break_the_budget(tasks, kit):
    measurement = kit.make_measurement(20, kit.names(tasks, 12), 32, share=0.5)
    found = pictures(measurement, measurement.profile)
    assert len(found["layerscope/heatmap/task_x_task"]) == 3

    def size(image):
        import io

        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.tell()

    assert sum(size(image) for images in found.values() for image, _ in images) <= MOST_BYTES


def test_a_run_must_be_one_and_its_failure_is_not_hidden(kit):
    with pytest.raises(TypeError, match="expected a W&B run, got str"):
        WandbSink("run")

    class Broken:
        summary, config = {}, {}

        def define_metric(self, *args, **kwargs):
            pass

        def log(self, row):
            raise ConnectionError("disk full")

    record = kit.make_record((0,), tasks=2, clusters=1, layers=2)
    with pytest.raises(ConnectionError, match="disk full"):
        WandbSink(Broken()).log(record.measurements[0], record, 0)


def test_after_a_hundred_measurements_only_numbers_are_logged(kit, caplog):
    rows = []

    class Run:
        summary, config = {}, {}

        def define_metric(self, *args, **kwargs):
            pass

        def log(self, row):
            rows.append(row)

    record = kit.make_record(tuple(range(100)), tasks=1, clusters=1, layers=2)
    sink = WandbSink(Run())
    for step in (100, 101):
        record.add(kit.make_measurement(step, kit.names(1, 1), 2))
        with caplog.at_level(logging.WARNING):
            sink.log(record.measurements[-1], record, step)
    assert [row["layerscope/step"] for row in rows] == [100, 101]
    assert not any("heatmap" in key for row in rows for key in row)
    assert caplog.text.count("no more pictures are logged to W&B after 100 measurements") == 1
