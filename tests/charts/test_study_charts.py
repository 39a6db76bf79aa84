"""The figures of a study: what they hold, and that few or many clusters fit."""

import numpy as np
import pytest

from lightning_layerscope import charts
from lightning_layerscope.charts import Words, study, theme
from tests.charts.drawn import marks, scene, words

WORDS = Words("CKA with the control, 4 tasks", value="CKA with the control")


@pytest.fixture
def rows():
    values = {"base": np.linspace(0.2, 0.9, 12).reshape(4, 3), "multitask": np.full((4, 3), 0.5)}
    values["base"][1, 2] = np.nan
    return study.value_rows(values, [1, 2, 3], ["a", "b", "c", "d"], ["one", "two", "one", "two"])


def test_boxes_are_of_each_model_and_layer_and_leave_undefined_values_out(rows):
    chart = study.boxes_per_layer(rows, WORDS)
    boxes = [item for item, _, _ in marks(scene(chart), "rect") if item["fill"] in theme.CATEGORY]
    assert len({(item["fill"], round(item["x"])) for item in boxes}) == 2 * 3
    assert {"base model", "multi-task model", "layer", "CKA with the control"} <= set(words(chart))


def test_a_model_keeps_its_colour_where_it_is_alone(rows):
    def colours(some):
        graph = scene(study.boxes_per_layer(some, WORDS))
        return {item["fill"] for item, _, _ in marks(graph, "rect") if item["fill"] in theme.CATEGORY}

    alone = colours([row for row in rows if row["model"] == "multi-task model"])
    assert len(alone) == 1
    assert alone < colours(rows)


def test_every_cluster_has_a_panel_with_its_number_of_tasks(rows):
    chart = study.curves_per_cluster(rows, WORDS)
    assert {"one (2)", "two (2)"} <= set(words(chart))
    drawn = marks(scene(chart), "line")
    assert len(drawn) == 2 * 2 * 3


def test_one_cluster_fits_the_picture(rows):
    chart = study.curves_per_cluster([{**row, "cluster": "one"} for row in rows], WORDS)
    assert {"one (4)", "base model", "multi-task model"} <= set(words(chart))


def test_maps_tell_twelve_clusters_apart_by_colour_and_shape():
    points = [
        {"layer": layer, "x": float(place), "y": 0.0, "cluster": f"c{place}", "task": "t"}
        for layer in (1, 5)
        for place in range(12)
    ]
    chart = study.task_maps(points, Words("Prompts by cluster (PCA)"))
    drawn = [item for item, _, _ in marks(scene(chart), "symbol", "child_marks")]
    assert len(drawn) == 24
    assert len({(item["fill"], item["shape"]) for item in drawn}) == 12
    assert {"layer 1", "layer 5"} <= set(words(chart))


def test_components_have_their_limit_and_correlations_their_points(rows):
    counts = study.components_per_layer([{**row, "value": 5.0} for row in rows], Words(value="components"), limit=63)
    assert {"at most 63", "components"} <= set(words(counts))
    found = [
        {"covariate": name, "model": "base model", "layer": layer, "value": 0.1, "p": 0.01 if layer == 2 else 0.5}
        for name in ("length", "size")
        for layer in (1, 2, 3)
    ]
    chart = study.correlations_per_layer(found, Words(value="correlation over tasks"))
    points = [item for item, _, _ in marks(scene(chart), "symbol") if item.get("size") == 42]
    assert len(points) == 2
    assert set(charts.spec(chart)["datasets"]) == {"values"}
