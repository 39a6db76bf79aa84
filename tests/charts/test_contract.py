"""What pages and trackers rely on: names of data sets, plain rows, no colour but the theme's."""

import json
import re
import subprocess
import sys

import pytest

from lightning_layerscope import charts
from lightning_layerscope.charts import rows, theme
from lightning_layerscope.transitions import Transition

FOUND = Transition(
    True, 2, 3, (2, 2), (3, 4), 0.9, "drift from initial (cka)", "", (1, 2, 3, 4), "ramp", (1.0, 0.8, 0.7), 16
)


@pytest.fixture
def drawn(make_profile):
    """The specifications of a heatmap and of curves, by name."""
    profile = make_profile()
    spans = rows.cluster_spans(profile.tasks, profile.clusters)
    series = rows.series_names(profile, [0, 20], ["first", "current"])
    words, cut = charts.Words("title", "below", value="CKA"), rows.parts(FOUND)
    cells = rows.task_cells(profile)
    heatmap = charts.heatmap(cells, charts.LAYERS, charts.TASKS, words, limits=(0, 1), brackets=spans, parts=cut)
    curves = charts.curves(
        rows.mean_curves(profile, series),
        words,
        limits=(0, 1),
        parts=cut,
        boundaries=rows.boundaries(FOUND),
        clusters=rows.cluster_curves(profile, series),
    )
    return {"heatmap": charts.spec(heatmap), "curves": charts.spec(curves)}


def test_rows_stand_under_the_names_that_a_page_replaces(drawn):
    assert {name: set(each["datasets"]) for name, each in drawn.items()} == {
        "heatmap": {"cells", "brackets", "parts"},
        "curves": {"curves", "parts", "boundaries", "clusters"},
    }
    for each in drawn.values():
        json.dumps(each, allow_nan=False)


def test_every_colour_is_the_themes(drawn):
    for each in drawn.values():
        described = json.dumps({key: part for key, part in each.items() if key not in ("datasets", "config")})
        assert re.findall(r"#[0-9a-f]{3,8}|rgb|viridis|\"black\"|\"white\"", described) == []
        assert each["config"] == theme.config()


def test_rows_and_words_need_no_drawing_library():
    code = (
        "import sys\n"
        "from lightning_layerscope import charts\n"
        "from lightning_layerscope.charts import rows, theme, words\n"
        "heavy = {'altair', 'vl_convert', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "charts.png\n"
        "assert {'altair', 'vl_convert'} <= set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
