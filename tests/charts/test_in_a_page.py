"""The descriptions in a page, drawn by a browser without a network."""

import json

import pytest

from lightning_layerscope import charts
from lightning_layerscope.transitions import Transition
from tests.browser_page import chromium, open_page

pytestmark = pytest.mark.browser

FOUND = Transition(
    True, 2, 3, (2, 2), (3, 4), 0.9, "drift from initial (cka)", "", (1, 2, 3, 4), "ramp", (1.0, 0.8, 0.7), 16
)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def page_of(chart, folder):
    """A page with this chart and nothing else."""
    path = folder / "page.html"
    drawn = f"vegaEmbed('#chart', {json.dumps(charts.spec(chart))}, {{actions: false}})"
    scripts = [
        charts.javascript(),
        f"{drawn}.then(({{view}}) => {{ window.view = view; document.documentElement.dataset.ready = ''; }})",
    ]
    body = "".join(f"<script>{script}</script>" for script in scripts)
    path.write_text(f"<!doctype html><meta charset=utf-8><body><div id=chart></div>{body}", encoding="utf-8")
    return path


def hovered(tab, across, down):
    """What the tooltip says at this place of the chart, from 0 to 1."""
    box = tab.locator("#chart svg.marks").bounding_box()
    tab.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
    tab.wait_for_timeout(300)
    return " ".join(tab.text_content("#vg-tooltip-element").split())


def test_cells_tell_of_themselves_and_change_with_their_rows(browser, make_profile, tmp_path):
    hole = make_profile(change=lambda step, task, layer, value: float("nan") if (task, layer) == (0, 1) else 0.25)
    with open_page(browser, page_of(charts.heatmap_layer_x_task(hole, transition=FOUND), tmp_path)) as tab:
        x, y = tab.evaluate("[view.origin()[0] + view.padding().left, view.origin()[1] + view.padding().top]")
        box = tab.locator("#chart svg.marks").bounding_box()
        first = ((x + 10) / box["width"], (y + 9) / box["height"])
        second = ((x + 60) / box["width"], (y + 9) / box["height"])
        assert hovered(tab, *first).endswith("undefined becausezero variance")
        assert "0.2500" in hovered(tab, *second)
        tab.evaluate(
            "view.data('cells', JSON.parse(JSON.stringify(view.data('cells'))).map(row => ({...row, value: 0.75})))"
            ".runAsync().then(() => 0)"
        )
        hovered(tab, 0.99, 0.99)
        assert "0.7500" in hovered(tab, *second)


def test_curves_tell_of_the_layer_under_the_pointer(browser, make_profile, tmp_path):
    profile = make_profile()
    with open_page(browser, page_of(charts.layer_curve(profile, transition=FOUND), tmp_path)) as tab:
        dots = tab.locator("#chart .mark-symbol.role-mark path")
        for place, layer in enumerate((1, 2, 3, 4)):
            tab.mouse.move(2, 2)  # away from the last one, whose tooltip may lie over the next
            tab.wait_for_selector("#vg-tooltip-element:not(.visible)", state="attached" if place else "detached")
            box = dots.nth(place).bounding_box()
            tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            tab.wait_for_selector("#vg-tooltip-element.visible")
            told = tab.text_content("#vg-tooltip-element")
            assert f"layer{layer}" in told
            if layer > 1:  # in the first all curves meet
                assert f"{profile.mean_curve()['value'].iloc[place]:.4f}" in told
