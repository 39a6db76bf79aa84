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
from lightning_layerscope.sinks.log_rows import cluster_rows, measurement_row, table_rows
from lightning_layerscope.sinks.pictures import MOST_BYTES, draw_pictures
from lightning_layerscope.transitions import find_transitions


def test_many_clusters_do_without_keys_rather_than_break_the_budget(caplog, kit):
    own = {f"task {number}": f"own cluster {number}" for number in range(62)}
    profile = kit.make_profile(0, own, layers=4, reference="bank")
    plan = plan_keys(profile)
    keys = [*plan.shown(), *plan.hidden(), *plan.pictures(), *plan.charts(), *plan.chart_tables()]
    assert plan.count() == len(set(keys)) + 3 <= 150
    assert plan.left_out == ()
    many = {f"task {number}": f"own cluster {number}" for number in range(160)}
    plan = plan_keys(kit.make_profile(0, many, layers=4, reference="bank"))
    keys = [*plan.shown(), *plan.hidden(), *plan.pictures(), *plan.charts(), *plan.chart_tables()]
    assert plan.count() == len(set(keys)) + 3 <= 150
    assert plan.left_out == ("the means of 160 clusters",)
    few = plan_keys(kit.make_profile(0, kit.names(48, 16), layers=32))
    assert few.left_out == ()
    deep = plan_keys(kit.make_profile(0, kit.names(8, 4), layers=80))
    assert deep.count() <= 2 * 80 + 100
    assert deep.left_out == ()

    class Run:
        config: dict = {}  # noqa: RUF012
        summary: dict = {}  # noqa: RUF012
        step = 0

        def define_metric(self, *args, **kwargs):
            pass

        log = define_metric

    with caplog.at_level(logging.WARNING):
        WandbSink(Run()).start(RunRecord({}, [kit.make_measurement(0, many, 4, reference="bank")]))
    assert "the means of 160 clusters have none" in caplog.text


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
    rows = cluster_rows(measurement, plan)
    assert [layer for layer, _, line, *_ in rows if line == "all"] == [1, 3, 4]
    assert {line for _, _, line, *_ in rows} == {"all", "cluster_0"}
    assert all(value is None or np.isfinite(value) for row in rows for value in row[3:])


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


@pytest.mark.parametrize("tasks", [48, 62, 110, 150])
def test_pictures_keep_to_their_budget_and_are_drawn_once(tasks, kit, monkeypatch):
    from lightning_layerscope import charts

    record = kit.make_record((0, 20), tasks=tasks, clusters=12, layers=32)
    drawn, png = [], charts.png
    monkeypatch.setattr(charts, "png", lambda chart, **how: drawn.append(how) or png(chart, **how))
    found = draw_pictures(record.measurements[-1], record)
    assert draw_pictures(record.measurements[-1], record) is found, "the next tracker gets the same"
    assert sum(len(picture.png) for picture in found) <= MOST_BYTES
    squares = [picture for picture in found if picture.key == "layerscope/heatmap/task_x_task"]
    assert len(squares) == (0 if tasks > 120 else 3)
    assert len(found) == len(drawn) == 4 + len(squares)
    assert all("scale" not in how for how in drawn), "one resolution"
    assert all(picture.png.startswith(b"\x89PNG") for picture in found)


def test_a_picture_that_is_larger_than_expected_is_left_out_and_named(kit, monkeypatch, caplog):
    from lightning_layerscope.sinks import pictures

    record = kit.make_record((0,), tasks=8, clusters=2, layers=8)
    whole = draw_pictures(record.measurements[0], record)
    largest = max(len(picture.png) for picture in whole)
    monkeypatch.setattr(pictures, "MOST_BYTES", sum(len(picture.png) for picture in whole) - 1)
    again = kit.make_record((0,), tasks=8, clusters=2, layers=8)
    found = draw_pictures(again.measurements[0], again)
    assert len(found) == len(whole) - 1
    assert largest not in [len(picture.png) for picture in found]
    assert "is too large to be logged; the report shows it" in caplog.text


def test_what_is_drawn_for_a_measurement_does_not_read_those_before(kit, monkeypatch):
    record = kit.make_record(tuple(range(0, 120, 20)), tasks=6, clusters=2, layers=6)
    draw_pictures(record.measurements[-1], record)
    record.add(kit.make_measurement(120, kit.names(6, 2), 6, share=0.5))

    def whole(_):
        raise AssertionError("all rows of the run were joined")

    monkeypatch.setattr(RunRecord, "profile", property(whole))
    for measurement in record.measurements[1:-2]:
        monkeypatch.setattr(measurement, "profile", None)
    assert len(draw_pictures(record.measurements[-1], record)) == 7


def test_a_run_must_be_one_and_its_failure_is_not_hidden(kit):
    with pytest.raises(TypeError, match="expected a W&B run, got str"):
        WandbSink("run")

    class Broken:
        summary, config = {}, {}

        def define_metric(self, *args, **kwargs):
            pass

        step, id = 0, "x"

        def log(self, row, commit):
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

        step = 0

        def log(self, row, commit=None):
            rows.extend([row] if row else [])

    record = kit.make_record(tuple(range(100)), tasks=1, clusters=1, layers=2)
    sink = WandbSink(Run())
    for step in (100, 101):
        record.add(kit.make_measurement(step, kit.names(1, 1), 2))
        with caplog.at_level(logging.WARNING):
            sink.log(record.measurements[-1], record, step)
            assert not sink.wants_pictures(record)
    assert [row["layerscope/step"] for row in rows] == [100, 101]
    assert not any("heatmap" in key for row in rows for key in row)
    assert caplog.text.count("no more pictures are logged to W&B after 100 measurements") == 1
