"""What a person reads off the charts: names in order, values in place, ranges fixed, nothing cut off or overlapping."""

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from lightning_layerscope import charts
from lightning_layerscope.charts import theme
from lightning_layerscope.charts.words import axis_limits, group, limits
from lightning_layerscope.transitions import Transition
from tests.charts.drawn import marks, scene, texts, words

FOUND = Transition(
    True, 2, 3, (2, 2), (3, 4), 0.9, "drift from initial (cka)", "", (1, 2, 3, 4), "ramp", (1.0, 0.8, 0.7), 16
)
NONE = Transition(False, None, None, None, None, 0.9, "drift from initial (cka)", "the curve is flat", (1, 2, 3, 4))


def all_charts(profile, transition):
    layers, tasks = profile.layers, profile.tasks
    random = np.random.default_rng(0)
    cosine = np.corrcoef(random.normal(size=(len(tasks), 30)))
    similarity = np.exp(-np.abs(np.subtract.outer(layers, layers)) / len(layers))
    yield "curve", charts.layer_curve(profile, transition=transition)
    yield "layer_x_task", charts.heatmap_layer_x_task(profile, transition=transition)
    yield "layer_x_step", charts.heatmap_layer_x_step(profile)
    yield "layer_x_layer", charts.heatmap_layer_x_layer(similarity, layers, step=20, tasks=len(tasks))
    yield "task_x_task", charts.heatmap_task_x_task(cosine, tasks, profile.clusters, layers[-1], step=20)
    yield "difference", charts.heatmap_difference(profile.diff(profile, other_step=profile.steps[0]))


@pytest.mark.parametrize(
    ("tasks", "clusters", "layers", "steps"),
    [(16, 5, 4, (0, 10, 20)), (62, 12, 32, tuple(range(0, 2000, 100))), (2, 1, 2, (0,)), (9, 9, 80, (0, 10_000))],
)
@pytest.mark.parametrize("transition", [FOUND, NONE])
def test_no_word_leaves_the_picture_or_covers_its_neighbour(make_profile, tasks, clusters, layers, steps, transition):
    names = [f"a_rather_long_task_name_{position}" for position in range(tasks)]
    profile = make_profile(tasks, clusters, layers, steps, names=names)
    for name, chart in all_charts(profile, transition):
        graph, found = scene(chart), texts(chart)
        wide, high = graph["width"], graph["height"]
        outside = [
            text
            for text, (left, top, right, bottom) in found
            if left < -1 or top < -1 or right > wide + 1 or bottom > high + 1
        ]
        assert not outside, (name, outside)
        for position, (text, (left, top, right, bottom)) in enumerate(found):
            covered = [
                other
                for other, box in found[position + 1 :]
                if min(right, box[2]) - max(left, box[0]) > 2 and min(bottom, box[3]) - max(top, box[1]) > 2
            ]
            assert not covered, (name, text, covered)


def cells_of(chart):
    """Cell colours by place, left to right and top to bottom."""
    return {
        (round(x + item["x"]), round(y + item["y"])): item["fill"]
        for item, x, y in marks(scene(chart), "rect", "layer_0_marks")
    }


def labels(chart, *, side):
    """Names on the axis below (``bottom``) or on the left, in the order in which they are read."""
    found = [
        (item["x"] if side == "bottom" else item["y"], str(item["text"]))
        for item, _, _ in marks(scene(chart), "text")
        if item.get("align") == ("right" if side == "left" else "center") and item.get("limit") and not item["angle"]
    ]
    return [text for _, text in sorted(found)]


def test_heatmap_puts_every_value_where_its_task_and_layer_are(make_profile):
    profile = make_profile()
    chart = charts.heatmap_layer_x_task(profile)
    names = labels(chart, side="left")
    assert [profile.clusters[task] for task in names] == sorted(profile.clusters.values())
    assert labels(chart, side="bottom") == ["1", "2", "3", "4"]
    places = sorted(cells_of(chart).items(), key=lambda cell: (cell[0][1], cell[0][0]))
    drawn = np.asarray([brightness(colour) for _, colour in places]).reshape(16, 4)
    expected = profile.matrix()[[profile.tasks.index(task) for task in names]]
    np.testing.assert_array_equal(
        drawn.ravel().argsort(kind="stable")[:20], expected.ravel().argsort(kind="stable")[:20]
    )
    assert drawn[0, 0] == drawn.max(), "layer 1 of the first task is 1"
    shown = words(chart)
    assert {f"cluster {number}" for number in range(5)} <= set(shown)
    assert any("step 20" in text and "16 tasks" in text for text in shown)
    assert {"layer", "CKA", "0.0", "1.0"} <= set(shown)


def brightness(colour):
    """Of viridis: brighter is more."""
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_heatmap_over_steps_has_one_column_per_measurement(make_profile):
    chart = charts.heatmap_layer_x_step(make_profile())
    assert labels(chart, side="bottom") == ["0", "10", "20"]
    assert labels(chart, side="left") == ["4", "3", "2", "1"], "the first layer is below"
    colours = cells_of(chart)
    assert len(colours) == 12
    (right, top) = max(colours, key=lambda place: (place[0], -place[1]))
    assert brightness(colours[right, top]) == min(map(brightness, colours.values())), "the last layer has moved most"


def test_tasks_of_a_cluster_stand_together_in_both_directions(make_profile):
    profile = make_profile()
    chart = charts.heatmap_task_x_task(np.arange(256.0).reshape(16, 16) / 256, profile.tasks, profile.clusters, 3)
    down = labels(chart, side="left")
    assert down == list(group(profile.tasks, profile.clusters).tasks)
    cells = charts.spec(chart)["datasets"]["cells"]
    assert [row["other"] for row in cells[:16]] == down
    [cell] = [row for row in cells if (row["task"], row["other"]) == ("task 7", "task 2")]
    assert cell["value"] == pytest.approx((7 * 16 + 2) / 256, rel=1e-5)


def test_undefined_cells_are_slashed_and_explained(make_profile):
    hole = make_profile(change=lambda step, task, layer, value: np.nan if (task, layer) == (0, 2) else value)
    chart = charts.heatmap_layer_x_task(hole)
    assert any("1 cell undefined (zero variance)" in text for text in words(chart))
    [(item, _, _)] = marks(scene(chart), "symbol", "layer_2_marks")
    assert (item["x"], item["y"]) == (72, 9), "second layer, first task"
    assert not any("undefined" in text for text in words(charts.heatmap_layer_x_task(make_profile())))


def test_undefined_cells_leave_a_picture_its_size(make_profile):
    profile = make_profile(tasks=24, clusters=2)
    whole = np.eye(24)
    holed = np.where(whole == 1, np.nan, whole)
    drawn = [charts.heatmap_task_x_task(each, profile.tasks, profile.clusters, 1) for each in (whole, holed)]
    drawn += [charts.heatmap_layer_x_layer(each, range(24)) for each in (whole, holed)]
    sizes = [(scene(chart)["width"], scene(chart)["height"]) for chart in drawn]
    assert sizes[0] == sizes[1]
    assert sizes[2] == sizes[3]


def test_undefined_cells_leave_the_order_of_names(make_profile):
    hole = make_profile(change=lambda step, task, layer, value: np.nan if task == 0 else value)
    whole = charts.heatmap_layer_x_task(make_profile())
    assert labels(charts.heatmap_layer_x_task(hole), side="left") == labels(whole, side="left")


def test_values_below_zero_are_said_and_not_clamped(make_profile):
    profile = make_profile(change=lambda step, task, layer, value: -0.04 if (task, layer) == (3, 4) else value)
    chart = charts.heatmap_layer_x_task(profile)
    assert min(row["value"] for row in charts.spec(chart)["datasets"]["cells"]) == -0.04
    assert "values below 0 have the colour of 0" in words(chart)
    curve = charts.layer_curve(make_profile(clusters=1, change=lambda *_: -0.04))
    lowest = max(item["y"] for item, _, _ in marks(scene(curve), "symbol"))
    assert lowest < curve.height, "the axis reaches down to it"


def test_differences_have_two_colours_that_meet_at_zero(make_profile):
    first = make_profile(change=lambda *_: 0.5)
    second = make_profile(change=lambda step, task, layer, _: 0.5 + (0.2 if task == 0 else -0.1 if task == 5 else 0))
    chart = charts.heatmap_difference(first.diff(second))
    found = charts.spec(chart)["datasets"]["cells"]
    assert {row["task"]: row["value"] for row in found}["task 0"] == pytest.approx(0.2)
    colours = [brightness(colour) for _, colour in sorted(cells_of(chart).items(), key=lambda cell: cell[0][::-1])]
    middle = colours[4 * 2]
    assert middle > colours[0], "where nothing differs it is brightest"
    assert {"\N{MINUS SIGN}0.2", "0.2"} <= set(words(chart)), "the scale is as long on both sides"


def test_a_png_keeps_the_colours_of_cells(make_profile):
    rng = np.random.default_rng(0)
    values = rng.random((48, 32))
    profile = make_profile(48, 8, 32, change=lambda step, task, layer, value: values[task, layer - 1])
    chart = charts.heatmap_layer_x_task(profile)
    whole, small = charts.png(chart), charts.png(chart, colours=256)
    assert len(small) < len(whole) / 4
    assert len(small) < 60_000
    one, other = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in (whole, small))
    assert np.abs(one - other).max() <= 2
    assert Image.open(io.BytesIO(charts.png(chart, scale=2))).width == 2 * one.shape[1]


def test_curve_shows_mean_band_and_every_cluster_of_three_measurements(make_profile):
    profile = make_profile(steps=(0, 10, 20, 30))
    data = charts.spec(charts.layer_curve(profile))["datasets"]
    means = {row["series"]: [] for row in data["curves"]}
    assert list(means) == ["current, step 30", "previous, step 20", "first, step 0"]
    for step, name in zip((30, 20, 0), means, strict=True):
        drawn = [row["value"] for row in data["curves"] if row["series"] == name]
        np.testing.assert_allclose(drawn, profile.matrix(step=step).mean(axis=0), atol=1e-5)
        for cluster, curve in profile.cluster_curves(step=step).items():
            rows = [row for row in data["clusters"] if (row["series"], row["cluster"]) == (name, cluster)]
            np.testing.assert_allclose([row["value"] for row in rows], curve, atol=1e-5)
    assert all(row["low"] <= row["value"] <= row["high"] for row in data["curves"])
    chart = charts.layer_curve(profile)
    shown = words(chart)
    assert shown.count("current, step 30") == 2, "in the legend and over its panel"
    assert {*profile.clusters.values(), "clusters; thick line: all tasks"} <= set(shown)
    assert len([item for item, _, _ in marks(scene(chart), "area")]) == 3 * 4


def test_without_clusters_there_is_nothing_to_show_of_them(make_profile):
    profile = make_profile(clusters=1)
    chart = charts.layer_curve(profile)
    assert "clusters" not in charts.spec(chart)["datasets"]
    assert "cluster" not in " ".join(words(chart))
    assert "cluster" not in " ".join(words(charts.heatmap_layer_x_task(profile)))


def test_one_task_has_a_line_and_no_band(make_profile):
    chart = charts.layer_curve(make_profile(tasks=1, clusters=1))
    assert all(row["low"] is None for row in charts.spec(chart)["datasets"]["curves"])
    assert marks(scene(chart), "line")


def test_two_checkpoints_have_no_step(make_profile):
    compared = make_profile(steps=(0,), reference="base")
    for chart in (charts.layer_curve(compared), charts.heatmap_layer_x_task(compared)):
        assert not any("step" in text for text in words(chart))
    for profile in (make_profile(steps=(0,), reference="initial"), make_profile(steps=(0, 10), reference="base")):
        assert any("step" in text for text in words(charts.layer_curve(profile)))


def test_curve_names_the_parts_or_says_that_there_are_none(make_profile):
    profile = make_profile()
    found = words(charts.layer_curve(profile, transition=FOUND))
    assert {"shared", "drift transition", "refinement"} <= set(found)
    assert any(
        text.startswith("shared 1 · drift transition 2-3 · refinement 4 · starts at 2, ends at 3-4") for text in found
    )
    [(part, _, _)] = marks(scene(charts.layer_curve(profile, transition=FOUND)), "rect", "layer_0_marks")
    assert (part["x"], part["width"]) == (700 / 4, 700 / 2)
    assert "no drift transition found: the curve is flat" in words(charts.layer_curve(profile, transition=NONE))
    assert not any("transition" in text for text in words(charts.layer_curve(profile)))


def test_a_part_without_room_for_its_name_has_none(make_profile):
    layers = tuple(range(1, 81))
    narrow = Transition(True, 40, 41, (40, 40), (41, 41), 0.9, "drift", "", layers, "ramp", (1.0, 0.8, 0.7), 16)
    found = words(charts.layer_curve(make_profile(layers=80), transition=narrow))
    assert {"shared", "refinement"} <= set(found)
    assert "drift transition" not in found


def test_steps_and_names_must_fit(make_profile):
    profile = make_profile(steps=(0, 10, 20, 30))
    chart = charts.layer_curve(profile, steps=[0, 20], names=["before", "after"])
    assert [row["series"] for row in charts.spec(chart)["datasets"]["curves"]][::4] == [
        "after, step 20",
        "before, step 0",
    ]
    four = charts.spec(charts.layer_curve(profile, steps=[0, 10, 20, 30]))["datasets"]["curves"]
    assert [row["series"] for row in four][::4] == ["step 30", "step 20", "step 10", "step 0"]
    with pytest.raises(ValueError, match="at least one step"):
        charts.layer_curve(profile, steps=[])
    with pytest.raises(ValueError, match="one name per step, got 1 for 2"):
        charts.layer_curve(profile, steps=[0, 10], names=["a"])
    with pytest.raises(KeyError, match="no measure 'svcca'"):
        charts.layer_curve(profile, measure="svcca")
    with pytest.raises(KeyError, match="no rows of 'cka' at step 5"):
        charts.heatmap_layer_x_task(profile, step=5)
    with pytest.raises(ValueError, match=r"shape \(4, 4\) for 4 layers, got \(2, 2\)"):
        charts.heatmap_layer_x_layer(np.eye(2), profile.layers)
    with pytest.raises(ValueError, match="for 16 tasks"):
        charts.heatmap_task_x_task(np.eye(2), profile.tasks, profile.clusters, 1)


def test_ranges_are_fixed_for_similarities_and_free_for_counts():
    assert limits("cka", [0.9, 0.95]) == limits("cka", [-0.1, 0.2]) == (0.0, 1.0)
    assert limits("rsa", [0.5]) == (-1.0, 1.0)
    assert limits("dimensionality", [3.0, 40.0]) == (0.0, 40.0)
    assert axis_limits("cka", [0.3, 0.9])[0] == 0.0
    low, high = axis_limits("cka", [-0.23, 1.02])
    assert low <= -0.23
    assert high >= 1.02


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "cost $x_1$ & $",
        "a\nb\x00c",
        "\b\x1f\ufffe",
        "\\u0000 \N{GRINNING FACE}",
        "情感分析",
        "x" * 300,
        '"quoted\\"',
        "a.b[0]",
    ],
)
def test_any_name_is_drawn_as_text(make_profile, name):
    names = [name, *(f"t{position}" for position in range(7))]
    profile = make_profile(8, 3, 4, names=names)
    for _, chart in all_charts(profile, NONE):
        svg = charts.svg(chart)
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "<script" not in svg
    assert charts.png(chart).startswith(b"\x89PNG")


def test_letters_of_any_kind_survive_and_only_what_is_no_text_goes(make_profile):
    names = ["\\u0000 \N{GRINNING FACE} 情", "a\x00b", "c", "d"]
    svg = charts.svg(charts.heatmap_layer_x_task(make_profile(4, 2, 4, names=names)))
    assert names[0] in svg
    assert "a b" in svg


def test_same_input_gives_same_bytes(make_profile):
    profile = make_profile()
    again = [re.sub(r"(clip|gradient_?)\d+", r"\1", charts.svg(charts.layer_curve(profile))) for _ in range(2)]
    assert again[0] == again[1]
    assert charts.png(charts.layer_curve(profile)) == charts.png(charts.layer_curve(profile))
    assert theme.DARK_INK in charts.svg(charts.layer_curve(profile), dark=True)
    assert theme.DARK_INK not in again[0]


def test_drawing_follows_no_theme_of_the_users_and_changes_none(make_profile):
    import altair

    profile = make_profile()
    before, active = charts.png(charts.layer_curve(profile)), altair.theme.active
    with altair.theme.enable("dark"):
        assert charts.png(charts.layer_curve(profile)) == before
        assert altair.theme.active == "dark"
    assert altair.theme.active == active
