"""What a person reads off the charts: names in order, values in place, ranges fixed, nothing cut off or overlapping."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_layerscope import charts
from lightning_layerscope.charts import style
from lightning_layerscope.charts.words import axis_limits, group, limits, ticks
from lightning_layerscope.transitions import Transition

FOUND = Transition(
    True, 2, 3, (2, 2), (3, 4), 0.9, "drift from initial (cka)", "", (1, 2, 3, 4), "ramp", (1.0, 0.8, 0.7), 16
)
NONE = Transition(False, None, None, None, None, 0.9, "drift from initial (cka)", "the curve is flat", (1, 2, 3, 4))


def texts(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.canvas.draw()
    found = figure.findobj(matplotlib.text.Text)
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in found
        if text.get_visible() and text.get_text().strip()
    ]


def words(figure):
    return [text for text, _ in texts(figure)]


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


@pytest.mark.parametrize(
    ("tasks", "clusters", "layers", "steps"),
    [(16, 5, 4, (0, 10, 20)), (62, 12, 32, tuple(range(0, 2000, 100))), (2, 1, 2, (0,)), (9, 9, 80, (0, 10_000))],
)
@pytest.mark.parametrize("transition", [FOUND, NONE])
def test_no_word_leaves_the_picture_or_covers_its_neighbour(make_profile, tasks, clusters, layers, steps, transition):
    names = [f"a_rather_long_task_name_{position}" for position in range(tasks)]
    profile = make_profile(tasks, clusters, layers, steps, names=names)
    for name, figure in all_charts(profile, transition):
        whole = figure.bbox
        found = texts(figure)
        outside = [
            text
            for text, box in found
            if not (box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.width + 1 and box.y1 <= whole.height + 1)
        ]
        assert not outside, (name, outside)
        for position, (text, box) in enumerate(found):
            inner = box.padded(-1.5)
            covered = [other for other, box_ in found[position + 1 :] if inner.overlaps(box_.padded(-1.5))]
            assert not covered, (name, text, covered)


def test_heatmap_puts_every_value_where_its_task_and_layer_are(make_profile):
    profile = make_profile()
    figure = charts.heatmap_layer_x_task(profile)
    axes = figure.axes[0]
    image = axes.images[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [profile.clusters[task] for task in labels] == sorted(profile.clusters.values())
    expected = profile.matrix()[[profile.tasks.index(task) for task in labels]]
    np.testing.assert_array_equal(np.asarray(image.get_array()), expected)
    assert image.get_clim() == (0.0, 1.0)
    assert axes.get_xlabel() == "layer"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    assert {f"cluster {number}" for number in range(5)} <= set(words(figure))
    assert any("step 20" in text and "16 tasks" in text for text in words(figure))


def test_heatmap_over_steps_has_one_column_per_measurement(make_profile):
    profile = make_profile()
    axes = charts.heatmap_layer_x_step(profile).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10", "20"]
    expected = np.stack([profile.matrix(step=step).mean(axis=0) for step in (0, 10, 20)], axis=1)
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), expected)
    assert axes.images[0].origin == "lower"


def test_tasks_of_a_cluster_stand_together_in_both_directions(make_profile):
    profile = make_profile()
    matrix = np.arange(256.0).reshape(16, 16) / 256
    axes = charts.heatmap_task_x_task(matrix, profile.tasks, profile.clusters, 3).axes[0]
    across = [label.get_text() for label in axes.get_xticklabels()]
    down = [label.get_text() for label in axes.get_yticklabels()]
    assert across == down == list(group(profile.tasks, profile.clusters).tasks)
    row, column = down.index("task 7"), across.index("task 2")
    assert np.asarray(axes.images[0].get_array())[row, column] == matrix[7, 2]
    assert axes.images[0].get_clim() == (-1.0, 1.0)


def test_undefined_cells_are_hatched_and_explained(make_profile):
    hole = make_profile(change=lambda step, task, layer, value: np.nan if (task, layer) == (0, 2) else value)
    figure = charts.heatmap_layer_x_task(hole)
    assert any("1 cell undefined (zero variance)" in text for text in words(figure))
    axes = figure.axes[0]
    assert np.asarray(np.ma.getmaskarray(axes.images[0].get_array()))[0, 1]
    left, bottom, right, top = axes.bbox.extents
    picture = np.asarray(charts.to_image(figure).convert("RGB"))
    high, wide = (top - bottom) / 16, (right - left) / 4
    x, y = int(left + 1.5 * wide), int(picture.shape[0] - top + 0.5 * high)
    cell = picture[y - 4 : y + 4, x - 20 : x + 20].reshape(-1, 3)
    assert len(np.unique(cell, axis=0)) > 1
    assert (np.ptp(cell.astype(int), axis=1) < 30).all(), "greys, no colour of the scale"
    assert not any("undefined" in text for text in words(charts.heatmap_layer_x_task(make_profile())))


def test_undefined_cells_leave_a_picture_its_size(make_profile):
    profile = make_profile(tasks=4, clusters=2)
    whole = np.eye(4)
    holed = np.where(whole == 1, np.nan, whole)
    figures = [charts.heatmap_task_x_task(each, profile.tasks, profile.clusters, 1) for each in (whole, holed)]
    figures += [charts.heatmap_layer_x_layer(each, [1, 2, 3, 4]) for each in (whole, holed)]
    sizes = [tuple(figure.get_size_inches()) for figure in figures]
    assert sizes[0] == sizes[1]
    assert sizes[2] == sizes[3]


def test_values_below_zero_point_the_colour_bar_and_are_not_clamped(make_profile):
    profile = make_profile(change=lambda step, task, layer, value: -0.04 if (task, layer) == (3, 4) else value)
    figure = charts.heatmap_layer_x_task(profile)
    assert np.asarray(figure.axes[0].images[0].get_array()).min() == -0.04
    assert any("pointed end: below 0" in text for text in words(figure))
    assert figure.axes[0].images[0].colorbar.extend == "min"
    curve = charts.layer_curve(make_profile(change=lambda *_: -0.04))
    assert curve.axes[0].get_ylim()[0] <= -0.04


def test_colours_survive_the_small_palette(make_profile):
    profile = make_profile(48, 16, 32)
    figure = charts.heatmap_layer_x_task(profile)
    image = figure.axes[0].images[0]
    left, bottom, right, top = figure.axes[0].bbox.extents
    picture = np.asarray(charts.to_image(figure).convert("RGB"))
    values = np.asarray(image.get_array())
    for row, column in [(0, 0), (20, 16), (47, 31)]:
        x = int(left + (column + 0.5) * (right - left) / 32)
        y = int(picture.shape[0] - top + (row + 0.5) * (top - bottom) / 48)
        expected = image.get_cmap()(values[row, column], bytes=True)[:3]
        np.testing.assert_array_equal(picture[y, x], expected)
    assert len(charts.to_png(figure)) < 60_000


def test_curve_shows_mean_band_and_every_cluster_of_three_measurements(make_profile):
    profile = make_profile(steps=(0, 10, 20, 30))
    figure = charts.layer_curve(profile)
    main, *panels = figure.axes
    assert len(panels) == 3
    legend = [text.get_text() for text in main.get_legend().get_texts()]
    assert legend == ["first\nstep 0", "previous\nstep 20", "current\nstep 30"]
    for line, step in zip(main.get_lines(), (0, 20, 30), strict=True):
        np.testing.assert_allclose(line.get_ydata(), profile.matrix(step=step).mean(axis=0))
    assert len(main.collections) == 3
    for axes, step in zip(panels, (0, 20, 30), strict=True):
        assert f"step {step}" in axes.get_title(loc="left")
        curves = profile.cluster_curves(step=step)
        every, *lines = axes.get_lines()
        np.testing.assert_allclose(every.get_ydata(), profile.matrix(step=step).mean(axis=0))
        for line, curve in zip(lines, curves.values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), curve)
    named = {
        text.get_text(): line
        for text, line in zip(figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True)
    }
    assert set(named) == {"all tasks", *profile.clusters.values()}
    for line in panels[-1].get_lines():
        assert named[line.get_label()].get_color() == line.get_color()


def test_without_clusters_there_is_nothing_to_show_of_them(make_profile):
    profile = make_profile(clusters=1)
    figure = charts.layer_curve(profile)
    assert len(figure.axes) == 1
    assert figure.legends == []
    assert "cluster" not in " ".join(words(charts.heatmap_layer_x_task(profile)))


def test_two_checkpoints_have_no_step(make_profile):
    compared = make_profile(steps=(0,), reference="base")
    for figure in (charts.layer_curve(compared), charts.heatmap_layer_x_task(compared)):
        assert not any("step" in text for text in words(figure))
    for profile in (make_profile(steps=(0,), reference="initial"), make_profile(steps=(0, 10), reference="base")):
        assert any("step" in text for text in words(charts.layer_curve(profile)))


def test_curve_names_the_parts_or_says_that_there_are_none(make_profile):
    profile = make_profile()
    assert {"shared 1", "drift transition 2-3", "refinement 4"} <= set(
        words(charts.layer_curve(profile, transition=FOUND))
    )
    tinted = charts.layer_curve(profile, transition=FOUND).axes[0].patches
    assert [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in tinted] == [(1.5, 3.5)]
    assert "no drift transition found: the curve is flat" in words(charts.layer_curve(profile, transition=NONE))
    assert not any("transition" in text for text in words(charts.layer_curve(profile)))


def test_steps_and_names_must_fit(make_profile):
    profile = make_profile()
    figure = charts.layer_curve(profile, steps=[0, 20], names=["before", "after"])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["before\nstep 0", "after\nstep 20"]
    with pytest.raises(ValueError, match="one to three steps, got 4"):
        charts.layer_curve(profile, steps=[0, 10, 20, 30])
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
    for count in (1, 2, 7, 33, 100):
        for most in (2, 5, 20):
            shown = ticks(count, most)
            assert shown == sorted(set(shown))
            assert len(shown) <= most + 1
            assert shown[0] == 0
            assert shown[-1] == count - 1


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "cost $x_1$ & $", "a\nb\x00c", "情感分析", "x" * 300, '"quoted\\"']
)
def test_any_name_is_drawn_as_text(make_profile, name):
    names = [name, *(f"t{position}" for position in range(7))]
    profile = make_profile(8, 3, 4, names=names)
    for chart, figure in all_charts(profile, NONE):
        svg = charts.to_svg(figure, name=chart, label=f"picture of {name}")
        root = ElementTree.fromstring(re.sub(r"[\x00]", "", svg))
        assert root.tag.endswith("svg")
        assert "<script" not in svg


def test_svg_fits_into_a_page_with_others(make_profile):
    profile = make_profile(change=lambda step, task, layer, value: np.nan if task == 0 else value)
    svgs = [charts.to_svg(figure, name=name, label=name) for name, figure in all_charts(profile, FOUND)]
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in svgs]
    assert all(ids)
    assert sum(map(len, ids)) == len(set().union(*ids)), "ids of two pictures collide"
    for svg in svgs:
        for colour in (style.INK, style.MUTED, style.PAPER):
            assert set(re.findall(rf"[^ ,]{{2}}[ ,]{colour}|\"{colour}", svg)) <= {
                f"nk, {colour}",
                f"ed, {colour}",
                f"er, {colour}",
            }
        assert "var(--ink, " in svg
        assert not re.search(r'(href|src)="(?!#|data:)', svg)
    again = charts.to_svg(charts.layer_curve(profile), name="curve", label="")
    assert again == charts.to_svg(charts.layer_curve(profile), name="curve", label=""), "same input, same bytes"


def test_drawing_follows_no_user_settings_and_changes_none(make_profile):
    profile = make_profile()
    before = charts.to_png(charts.layer_curve(profile))
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black", "font.size": 30}):
        kept = dict(matplotlib.rcParams)
        figure = charts.layer_curve(profile)
        assert charts.to_png(figure) == before
        assert dict(matplotlib.rcParams) == kept


def test_drawing_loads_no_pyplot():
    code = (
        "import sys, numpy as np\n"
        "from lightning_layerscope import charts\n"
        "charts.to_png(charts.heatmap_layer_x_layer(np.eye(3), [1, 2, 3]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'\n"
        "import matplotlib.pyplot\n"
        "assert 'matplotlib.pyplot' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
