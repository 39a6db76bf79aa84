"""The report as people work with it, in headless Chromium without a network."""

import csv
import io

import numpy as np
import pytest

from lightning_layerscope.charts import theme
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.profiles import LayerProfile
from lightning_layerscope.sinks.report import write_comparison, write_report
from tests.browser_page import chromium, open_page, rows, settle, show

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def record(kit):
    record = kit.make_record((0, 10, 20, 40), tasks=14, clusters=7, layers=12, measures=("cka", "cka_robust"))
    for place, measurement in enumerate(record.measurements):
        values = np.linspace(0, 0.01 * (place + 1), 12)
        measurement.curves = {"update": np.stack([values, values, values]), "answer_loss": np.stack([values + 1] * 3)}
    return record


@pytest.fixture(scope="module")
def page(record, tmp_path_factory):
    return write_report(record, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def comparison(record, kit, tmp_path_factory):
    other = kit.make_record((0, 20, 60), tasks=14, clusters=7, layers=12, measures=("cka", "cka_robust"), seed=5)
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    return other, write_comparison({"full": record, "lora": other}, path)


def values(found, column="value"):
    return np.array([np.nan if row[column] is None else row[column] for row in found])


def test_the_slider_goes_through_all_measurements(browser, page, record):
    with open_page(browser, page) as tab:
        show(tab, "layers")
        for place, measurement in enumerate(record.measurements):
            tab.fill("#step", str(place))
            show(tab, "layers")
            assert f"step {measurement.step} ({place + 1} of 4)" in tab.text_content("#step-name")
            now = [row for row in rows(tab, "layers") if row["series"] == f"step {measurement.step}"]
            curve = measurement.profile.mean_curve()
            for column in ("value", "low", "high"):
                np.testing.assert_allclose(values(now, column), curve[column], atol=6e-5)
        tab.fill("#step", "1")
        show(tab, "tasks")
        assert tab.text_content("#tasks figcaption span").endswith("step 10")
        tab.fill("#step", "2")
        show(tab, "tasks")
        expected = record.measurements[2].profile.matrix()
        held = {(row["task"], row["layer"]): row["value"] for row in rows(tab, "tasks")}
        assert held["task_03", 9] == pytest.approx(expected[3, 8], abs=6e-5)
        assert held["task_13", 1] is None


def test_cells_changed_on_the_way_look_as_cells_drawn_at_once(browser, kit, tmp_path):
    """Also those that are undefined in one measurement alone."""
    record = kit.make_record((0, 10, 20), tasks=6, clusters=3, layers=8)
    record.measurements[1].layer_x_layer[2, 5] = np.nan
    page = write_report(record, tmp_path / "report.html")

    def pictures(tab):
        show(tab, "neighbours")
        return tab.evaluate(
            "[...document.querySelectorAll('#tasks canvas, #neighbours canvas')].map(c => c.toDataURL())"
        )

    with open_page(browser, page) as tab:
        seen = []
        for place in ("2", "0", "1", "0", "1", "2"):
            tab.fill("#step", place)
            show(tab, "tasks")
            seen.append(pictures(tab))
    for step, found in ((20, seen[0]), (20, seen[-1]), (0, seen[1]), (0, seen[3]), (10, seen[2]), (10, seen[4])):
        with open_page(browser, page, anchor=f"#step={step}") as tab:
            show(tab, "tasks")
            assert len(found) == 2
            assert pictures(tab) == found
    assert len({tuple(each) for each in seen}) == 3


def test_keys_move_the_slider_and_the_address_keeps_what_was_chosen(browser, page):
    with open_page(browser, page) as tab:
        tab.keyboard.press("ArrowLeft")
        settle(tab)
        assert "step 20 (3 of 4)" in tab.text_content("#step-name")
        tab.focus("#step")
        tab.keyboard.press("Home")
        tab.select_option("#measure", index=1)
        settle(tab)
        tab.wait_for_function("location.hash.includes('step=0') && location.hash.includes('measure')")
        tab.reload()
        tab.wait_for_selector("html[data-ready]")
        assert "step 0 (1 of 4)" in tab.text_content("#step-name")
        assert tab.input_value("#measure") == "cka_robust debiased"


def test_an_address_that_fits_no_measurement_shows_the_last(browser, page):
    with open_page(browser, page, anchor="#step=7&measure=none&layers=3-99&without=[") as tab:
        assert "step 40 (4 of 4)" in tab.text_content("#step-name")


def test_means_and_intervals_are_those_of_the_chosen_tasks(browser, page, record):
    profile = record.measurements[-1].profile
    with open_page(browser, page) as tab:
        tab.click("#chooser summary")
        tab.fill("#tasks-search", "cluster 2")
        assert tab.locator("#tasks-list fieldset:visible").count() == 1
        tab.click("#tasks-list fieldset:visible button")
        settle(tab)
        two = [task for task in profile.tasks if profile.clusters[task] == "cluster 2"]
        show(tab, "layers")
        now = [row for row in rows(tab, "layers") if row["series"] == "step 40"]
        curve = profile.mean_curve(tasks=two)
        np.testing.assert_allclose(values(now, "low"), curve["low"], atol=2e-4)
        show(tab, "tasks")
        assert {row["task"] for row in rows(tab, "tasks")} == set(two)
        show(tab, "table")
        assert tab.locator("#task-table tbody tr").count() == 2
        tab.fill("#tasks-search", "")
        for box in tab.locator("#tasks-list .cluster input:checked").all():
            box.click()
        settle(tab)
        assert tab.text_content("#tasks-count") == "2 of 14", "the last tasks stay"
        tab.click("#tasks-all")
        settle(tab)
        assert tab.text_content("#tasks-count") == "all 14"


def test_the_pointer_reads_values(browser, page, record):
    value = record.measurements[-1].profile.matrix()[4, 6]
    with open_page(browser, page) as tab:
        show(tab, "tasks")
        move_to(tab, "tasks", 7, "task_04")
        tab.wait_for_selector("#tip:not([hidden])")
        text = tab.inner_text("#tip")
        for part in ("task_04", "cluster 4", "7", f"{value:.4f}", "interval from"):
            assert part in text, (part, text)
        move_to(tab, "tasks", 1, "task_13")
        tab.wait_for_function("tip.innerText.includes('zero variance')")
        show(tab, "layers")
        move_to(tab, "layers", 8, float(record.measurements[-1].task_mean[7]))
        tab.wait_for_function(
            "(text) => tip.innerText.includes(text)", arg=f"{record.measurements[-1].task_mean[7]:.4f}"
        )


def move_to(tab, section, x, y):
    """Put the pointer on what stands at these places of both axes."""
    left, top = tab.evaluate(
        """([id, x, y]) => {
          const holder = document.querySelector(`#${id} .picture`);
          holder.scrollIntoView({ block: "center" });
          const box = holder.querySelector("canvas").getBoundingClientRect();
          const at = holder.picture.place(x, y, {});
          return [box.left + at.x, box.top + at.y];
        }""",
        [section, x, y],
    )
    tab.mouse.move(left - 3, top - 2)
    tab.mouse.move(left, top)


def test_layers_are_brushed_by_dragging_and_by_choosing(browser, page, record):
    profile = record.measurements[-1].profile
    with open_page(browser, page) as tab:
        box = tab.locator(".ribbon").bounding_box()
        place = lambda layer: box["x"] + box["width"] * (layer - 0.5) / 12  # noqa: E731
        tab.mouse.move(place(4), box["y"] + 10)
        tab.mouse.down()
        tab.mouse.move(place(9), box["y"] + 10, steps=6)
        tab.mouse.up()
        settle(tab)
        assert (tab.input_value("#first-layer"), tab.input_value("#last-layer")) == ("4", "9")
        show(tab, "tasks")
        assert sorted({row["layer"] for row in rows(tab, "tasks")}) == [4, 5, 6, 7, 8, 9]
        show(tab, "layers")
        assert tab.locator("#layers .shade").count() == 1
        for layer, act in ((2, tab.mouse.down), (5, tab.mouse.up)):
            move_to(tab, "layers", layer, 0.7)
            act()
        settle(tab)
        assert (tab.input_value("#first-layer"), tab.input_value("#last-layer")) == ("2", "5")
        tab.select_option("#first-layer", "4")
        tab.select_option("#last-layer", "9")
        show(tab, "table")
        shown = tab.locator("#task-table tbody tr:has-text('task_05') td").nth(1).inner_text()
        assert float(shown) == pytest.approx(profile.matrix()[5, 3:9].mean(), abs=6e-4)
        tab.select_option("#first-layer", "9")
        show(tab, "table")
        assert "layer 9" in tab.text_content("#table-when")
        tab.click("#all-layers")
        show(tab, "table")
        assert "all layers" in tab.text_content("#table-when")


def test_the_table_sorts_and_filters_and_keeps_both(browser, page):
    with open_page(browser, page) as tab:
        show(tab, "table")
        tab.focus("#task-table th:nth-child(3) button")
        tab.keyboard.press("Enter")
        numbers = [float(each) for each in tab.locator("#task-table tbody td:nth-child(3)").all_inner_texts()]
        assert numbers == sorted(numbers)
        assert len(numbers) == 14
        tab.fill("[data-filters=task-table]", "cluster 3")
        assert tab.locator("#task-table tbody tr:visible").count() == 2
        assert "2 of 14 lines" in tab.inner_text(".filter")
        tab.fill("#step", "1")
        show(tab, "table")
        assert tab.locator("#task-table tbody tr:visible").count() == 2
        numbers = [float(each) for each in tab.locator("#task-table tbody td:nth-child(3)").all_inner_texts()]
        assert numbers == sorted(numbers)
        tab.click("#values summary")
        tab.wait_for_selector("#value-tables td")
        assert tab.locator("#value-tables td").count() == 14 * 12
        assert tab.locator("#value-tables td.undefined").get_attribute("title") == "zero variance"


def test_raw_and_robust_stand_beside_each_other(browser, page, record):
    robust = record.measurements[-1].profile.mean_curve("cka_robust")["value"]
    with open_page(browser, page) as tab:
        tab.select_option("#measure", "cka_robust debiased")
        show(tab, "layers")
        now = [row for row in rows(tab, "layers") if row["series"] == "step 40"]
        np.testing.assert_allclose(values(now), robust, atol=6e-5)
        tab.check("#own")
        settle(tab)
        show(tab, "tasks")
        low, high = tab.evaluate("document.querySelector('#tasks .picture').picture.what.limits")
        assert 0 < low < high <= 1.001


def test_every_signal_is_a_curve_over_layers_and_over_steps(browser, page, record):
    with open_page(browser, page) as tab:
        show(tab, "layer-signals")
        assert tab.locator("#layer-signals figcaption").all_inner_texts()[0].startswith("Update per layer")
        np.testing.assert_allclose(values(rows(tab, "layer-signals")), np.linspace(0, 0.04, 12), atol=5e-6)
        tab.check("input[name=over][value=steps]")
        show(tab, "layer-signals")
        found = rows(tab, "layer-signals", 1)
        assert [row["layer"] for row in found] == record.steps
        np.testing.assert_allclose(values(found), [1.005, 1.01, 1.015, 1.02], atol=6e-4)


def test_pictures_and_their_values_can_be_saved(browser, page, record):
    with open_page(browser, page) as tab:
        show(tab, "tasks")
        saved = {}
        for kind in ("PNG", "SVG", "CSV"):
            with tab.expect_download() as download:
                tab.click(f"#tasks figure button:text-is('{kind}')")
            saved[kind] = download.value.path().read_bytes()
            assert download.value.suggested_filename == f"CKA-per-layer-and-task-step-40.{kind.lower()}"
        assert saved["PNG"].startswith(b"\x89PNG")
        assert saved["SVG"].startswith(b"<svg")
        assert b"CKA per layer and task" in saved["SVG"]
        lines = list(csv.DictReader(io.StringIO(saved["CSV"].decode())))
        assert len(lines) == 14 * 12
        value = next(line for line in lines if (line["task"], line["layer"]) == ("task_02", "11"))
        assert float(value["value"]) == pytest.approx(record.measurements[-1].profile.matrix()[2, 10], abs=6e-5)


def test_the_keyboard_walks_over_cells_and_points(browser, page, record):
    profile = record.measurements[-1].profile
    with open_page(browser, page) as tab:
        show(tab, "tasks")
        tab.focus("#tasks .picture")
        for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
            tab.keyboard.press(key)
        spoken = tab.text_content("#spoken")
        assert "task_07" in spoken, "the second task of the first cluster"
        assert f"{profile.matrix()[7, 1]:.4f}" in spoken
        tab.keyboard.press("Escape")
        assert tab.locator("#tip").is_hidden()
        show(tab, "layers")
        tab.focus("#layers .picture")
        tab.keyboard.press("ArrowRight")
        assert f"{record.measurements[-1].task_mean[0]:.4f}" in tab.text_content("#spoken")


def test_task_by_task_is_shown_at_the_layers_that_a_measurement_has(browser, kit, tmp_path):
    record = kit.make_record((0, 20), tasks=5, clusters=2, layers=6)
    undefined = np.full((5, 5), np.nan)
    undefined[1, 2] = undefined[2, 1] = -0.25
    record.measurements[0].task_x_task = {1: np.eye(5), 4: np.eye(5)}
    record.measurements[1].task_x_task = {1: np.eye(5), 6: undefined}
    path = write_report(record, tmp_path / "report.html")
    with open_page(browser, path) as tab:
        assert tab.locator("#pair option").all_inner_texts() == ["layer 1", "layer 6"]
        show(tab, "between")
        held = {(row["task"], row["other"]): row for row in rows(tab, "between")}
        assert held["task_01", "task_02"]["value"] == -0.25
        assert held["task_00", "task_00"] == {
            "task": "task_00",
            "other": "task_00",
            "value": None,
            "reason": "a task mean lies hardly farther from the grand mean than its noise",
        }
        tab.fill("#step", "0")
        show(tab, "between")
        assert tab.locator("#pair option").all_inner_texts() == ["layer 1", "layer 4"]
        assert "layer 4" in tab.inner_text("#between figcaption")
        tab.select_option("#pair", "1")
        show(tab, "between")
        assert "layer 1" in tab.inner_text("#between figcaption")


def test_two_runs_stand_side_by_side_with_their_difference(browser, comparison, record):
    other, path = comparison
    with open_page(browser, path) as tab:
        assert "step 60; full: step 40" in tab.text_content("#step-name")
        show(tab, "layers")
        assert {row["series"] for row in rows(tab, "layers")} == {"full, step 40", "lora, step 60"}
        show(tab, "difference")
        for place, one, two in ((4, 3, 2), (2, 2, 1), (1, 1, 0)):
            tab.fill("#step", str(place))
            show(tab, "difference")
            first, second = record.measurements[one].profile, other.measurements[two].profile
            curve = first.diff(second).mean_curve()
            for column in ("value", "low", "high"):
                np.testing.assert_allclose(values(rows(tab, "difference"), column), curve[column], atol=2e-4)
        tab.fill("#step", "4")
        show(tab, "tasks")
        captions = tab.locator("#tasks figcaption > span:first-child").all_inner_texts()
        assert [caption.split(": ")[1] for caption in captions] == [
            "full, step 40",
            "lora, step 60",
            "lora − full, step 60 − step 40",  # noqa: RUF001
        ]
        difference = record.measurements[3].profile.diff(other.measurements[2].profile)
        frame = difference.frame.set_index(["task", "layer"])
        found = {(row["task"], row["layer"]): row for row in rows(tab, "tasks", 2)}
        assert found["task_06", 8]["value"] == pytest.approx(frame.loc[("task_06", 8), "delta"], abs=2e-4)
        assert found["task_06", 8]["high"] == pytest.approx(frame.loc[("task_06", 8), "high"], abs=3e-3)
        show(tab, "table")
        heads = tab.locator("#task-table thead th").all_inner_texts()
        assert heads == ["task", "cluster", "full: mean", "lora: mean", "lora − full"]  # noqa: RUF001


def test_runs_of_another_depth_are_compared_over_depth(browser, kit, tmp_path):
    deep = kit.make_record((0, 20), tasks=6, clusters=2, layers=12, undefined=False)
    flat = kit.make_record((0, 20), tasks=6, clusters=2, layers=6, undefined=False)
    path = write_comparison({"deep": deep, "flat": flat}, tmp_path / "comparison.html")
    with open_page(browser, path) as tab:
        show(tab, "layers")
        assert tab.locator("#layers figure").count() == 2
        show(tab, "difference")
        curve = deep.measurements[-1].profile.diff(flat.measurements[-1].profile).mean_curve()
        np.testing.assert_allclose(values(rows(tab, "difference")), curve["value"], atol=2e-4)


def test_runs_that_cannot_be_subtracted_are_shown_with_the_reason(browser, kit, tmp_path):
    one = kit.make_record((0, 20), tasks=6, clusters=2, layers=6)
    two = kit.make_record((0, 20), tasks=5, clusters=1, layers=6)
    path = write_comparison({"one": one, "two": two}, tmp_path / "comparison.html")
    with open_page(browser, path) as tab:
        assert "two minus one cannot be given: expected the same tasks" in tab.inner_text("#reading")
        assert tab.locator("#difference").is_hidden()
        show(tab, "tasks")
        assert tab.locator("#tasks figure").count() == 2


def test_two_checkpoints_have_no_slider_and_speak_of_no_step(browser, kit, tmp_path):
    one, two = (kit.make_record((0,), tasks=6, clusters=2, layers=6, reference="base", seed=seed) for seed in (1, 2))
    path = write_comparison({"before": one, "after": two}, tmp_path / "comparison.html")
    with open_page(browser, path) as tab:
        for section in ("layers", "difference", "tasks", "neighbours", "between"):
            show(tab, section)
        show(tab, "table")
        assert tab.locator("#steps").is_hidden()
        assert tab.locator("#training").is_hidden()
        shown = tab.inner_text("main").split("Configuration")[0]
        for word in ("step", "0.0 s", "first,"):
            assert word not in shown, word


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_cut_at_any_width(browser, comparison, width, scheme):
    with open_page(browser, comparison[1], width=width, scheme=scheme) as tab:
        for section in (
            "layers",
            "clusters",
            "difference",
            "tasks",
            "training",
            "steps-curve",
            "neighbours",
            "between",
        ):
            show(tab, section)
            wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"the page scrolls sideways at {section}"
        cut = tab.evaluate(
            "[...document.querySelectorAll('.wide .picture')].map((each) => each.scrollWidth - each.clientWidth)"
        )
        assert max(cut) <= 0, "legends stay within curves"


def test_long_names_leave_room_on_a_phone(browser, kit, tmp_path):
    record = kit.make_record((0, 20), tasks=6, clusters=2, layers=4)
    names = {name: f"{name}, which is a task of a very long name " * 3 for name in record.profile.tasks}
    for each in record.measurements:
        frame = each.profile.to_pandas()
        frame["task"] = frame["task"].map(names)
        meta = each.profile.meta.to_dict() | {"tasks": list(names.values()), "examples": {}}
        meta["clusters"] = {names[task]: cluster for task, cluster in each.profile.clusters.items()}
        each.profile = LayerProfile(frame, meta)
    with open_page(browser, write_report(record, tmp_path / "report.html"), width=400) as tab:
        for section in ("tasks", "between", "table"):
            show(tab, section)
        for section in ("tasks", "between"):
            found = "(id) => { const each = document.querySelector(`#${id} .picture`);"
            room, cells = tab.evaluate(
                f"{found} return [each.clientWidth - each.scrollWidth, each.picture.view.width()]; }}", section
            )
            assert room >= 0, "legends stay within the picture"
            assert cells > 80
        widths = tab.evaluate("[...document.querySelectorAll('#table tbody th')].map((each) => each.clientWidth)")
        assert max(widths) < 250


def test_paper_gets_every_picture_in_light_colours(browser, page):
    with open_page(browser, page, scheme="dark") as tab:
        tab.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
        tab.wait_for_function(
            "[...document.querySelectorAll('[data-view]:not([hidden])')].every((each) => each.querySelector('canvas'))"
        )
        spec = "document.querySelector('#tasks .picture').picture.embedded.spec"
        assert tab.evaluate(f"{spec}.config.axis.labelColor") == theme.config()["axis"]["labelColor"]
        tab.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
        dark = theme.config(dark=True)["axis"]["labelColor"]
        tab.wait_for_function(f"{spec}.config.axis.labelColor === '{dark}'")


def test_names_never_become_markup_or_scripts(browser, kit, tmp_path):
    evil = ['<script>alert("x")</script>', "</script><img src=x onerror=alert(1)>", "a & b", "'\"><b>", "${alert(1)}"]
    clusters = {name: f"<i>{place % 2}</i>" for place, name in enumerate(evil)}
    record = RunRecord({"note": "</pre><script>alert(2)</script>"})
    for step in (0, 5):
        record.add(kit.make_measurement(step, clusters, 4, share=step / 10))
    path = write_comparison({"<b>one</b>": record, "</script>": record}, tmp_path / "r.html", title="<u>title</u>")
    with open_page(browser, path) as tab:
        for section in ("layers", "clusters", "tasks", "between"):
            show(tab, section)
        show(tab, "table")
        tab.click("#chooser summary")
        assert tab.evaluate("document.querySelectorAll('main b, main i, main img, main u, main script').length") == 0
        assert {row["task"] for row in rows(tab, "tasks")} == set(evil)
        tab.focus("#tasks .picture")
        tab.keyboard.press("ArrowRight")
        assert evil[0] in tab.text_content("#spoken")


def test_a_page_that_follows_a_run_loads_itself_again(browser, record, tmp_path):
    path = write_comparison({"": record}, tmp_path / "live.html", follow=0.5)
    with open_page(browser, path) as tab:
        assert tab.locator("#follow-choice").is_visible()
        tab.evaluate("window.before = true")
        tab.wait_for_function("window.before === undefined")
        tab.wait_for_selector("html[data-ready]")


def test_it_works_inside_of_another_page_as_trackers_show_it(browser, page, tmp_path):
    around = tmp_path / "around.html"
    text = page.read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe sandbox="allow-scripts" width="1200" height="800" srcdoc="{text}"></iframe>'
    around.write_text(f'<html data-ready="yes">{frame}</html>', encoding="utf-8")
    with open_page(browser, around) as tab:
        inner = tab.frames[1]
        inner.wait_for_selector("html[data-ready]")
        inner.fill("#step", "1")
        inner.wait_for_function("document.getElementById('step-name').textContent.includes('step 10')")
        tab.wait_for_timeout(400)  # until the address would be kept
        inner.evaluate("async () => { await layerscope.refresh(document.getElementById('layers')); }")
        assert inner.locator("#layers canvas").count() == 1


def test_a_browser_that_cannot_unpack_the_numbers_is_told_so(browser, page):
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.add_init_script("delete window.DecompressionStream")
    tab.goto(page.as_uri())
    tab.wait_for_selector("#failed:not([hidden])")
    assert "one of 2023 or later can" in tab.inner_text("#failed")
    context.close()


def test_what_the_colours_do_not_show_is_said(browser, kit, tmp_path):
    record = kit.make_record((0, 10), tasks=6, clusters=3, layers=8)
    cosines = record.measurements[-1].task_x_task[8].copy()
    cosines[0, 1] = cosines[1, 0] = 3.5
    cosines[2, 3] = cosines[3, 2] = -2
    cosines[4] = cosines[:, 4] = np.nan
    record.measurements[-1].task_x_task = {8: cosines}
    with open_page(browser, write_report(record, tmp_path / "report.html")) as tab:
        show(tab, "between")
        caption = tab.text_content("#between figcaption span")
        assert caption.endswith("step 10, values below -1 have the colour of -1, values above 1 have the colour of 1")
        why = {row["reason"] for row in rows(tab, "between") if row["value"] is None}
        assert why == {"a task mean lies hardly farther from the grand mean than its noise"}
        tab.fill("#step", "0")
        show(tab, "between")
        assert tab.text_content("#between figcaption span").endswith("step 0")
