"""What a study's page says and shows of few tasks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.study.results.page import _subtitle
from tests.browser_page import chromium, open_page, rows, show

ROLES = ("base", "multitask")


def test_one_is_singular():
    results = SimpleNamespace(names=["a"], clusters=["one"], layers=[1], has_controls=False, trained_here=False)
    assert _subtitle(results).startswith("1 task · 1 cluster · 1 layer · ")


@pytest.mark.browser
def test_the_page_of_a_study_is_one_to_work_with(finished):
    page = finished.results / "report.html"
    names = list(pd.read_csv(finished.results / "tasks.csv")["task"])
    with chromium() as browser, open_page(browser, page) as tab:
        show(tab, "tasks")
        captions = tab.locator("#tasks figcaption > span:first-child").all_inner_texts()
        assert [caption.split(": ")[1] for caption in captions] == [
            "base model",
            "multi-task model",
            "multi-task model − base model",  # noqa: RUF001
        ]
        show(tab, "difference")
        base, tuned = (LayerProfile.from_parquet(finished.results / "profiles" / f"{name}.parquet") for name in ROLES)
        expected = base.diff(tuned).mean_curve()["value"]
        held = [row["value"] for row in rows(tab, "difference")]
        np.testing.assert_allclose(held, expected, atol=2e-4)
        tab.fill("[data-filters=study-table]", names[0])
        assert tab.locator("#study-table tbody tr:visible").count() >= 1
        tab.click("#study-table th:nth-child(1) button")
        assert tab.locator("#study-table tbody tr").count() == len(names)
        assert tab.locator("#steps").is_hidden()
        tab.evaluate("document.querySelector('figure[data-name=figure2_layers]').scrollIntoView()")
        tab.wait_for_selector("#figure2_layers .picture canvas")
        assert tab.locator("#figure2_layers img").is_hidden()
        with tab.expect_download() as download:
            tab.click("#figure2_layers button:text-is('CSV')")
        saved = pd.read_csv(download.value.path())
        assert set(saved["task"]) <= set(names)
        assert {"model", "task", "layer", "value"} <= set(saved)
