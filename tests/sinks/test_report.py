"""The HTML report: whole, safe, true to the record, and independent of network and JavaScript."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.sinks.reading import overall, read_results
from lightning_layerscope.sinks.report import write_report

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects text, links and scripts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.addresses, self.data = [], [], [], {}
        self.ids = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [value for key, value in attributes.items() if key in ("src", "href", "xlink:href", "action")]
        self.ids += [attributes["id"]] if "id" in attributes else []
        assert not any(key.startswith("on") for key in attributes), attributes
        if tag not in VOID:
            self.open.append((tag, attributes))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.data[attributes["id"]] = json.loads(data)
        elif tag not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def record(kit):
    return kit.make_record(tasks=48, clusters=16, layers=32, config={"learning_rate": 3e-4, "seed": 17})


@pytest.fixture(scope="module")
def page(record, tmp_path_factory):
    path = write_report(record, tmp_path_factory.mktemp("report") / "report.html")
    return Page(path.read_text(encoding="utf-8"))


def test_one_file_that_asks_for_nothing(page, record, tmp_path):
    path = write_report(record, tmp_path / "deep" / "report.html")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert page.addresses
    assert all(re.match(r"#|data:", address) for address in page.addresses)
    text = path.read_text(encoding="utf-8")
    rest = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?://|url\((?!#)|@import", rest)
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))
    assert path.stat().st_size < 1_500_000


def test_it_tells_the_results_with_their_uncertainty(page, record):
    text = page.text
    for paragraph in read_results(record):
        assert re.sub(r"\s+", " ", paragraph) in text
    mean = overall(record.measurements[-1].profile)
    value, low, high = mean.value, mean.low, mean.high
    assert f"averages {value:.3f} over tasks and 32 layers (90% interval over tasks {low:.3f} to {high:.3f})" in text
    assert record.measurements[-1].transition.found
    assert record.measurements[-1].transition.describe() in text
    assert "layer 3: one dimension holds 97 % of the variance" in text
    assert "1 of 1536 values are undefined and left out of the means: zero variance (1)." in text
    assert "steps 0 to 40" in text


def test_the_lowest_layer_has_one_interval_in_cards_and_words(page, record):
    curve = record.measurements[-1].profile.mean_curve(simultaneous=True)
    lowest = curve.iloc[int(np.nanargmin(curve["value"]))]
    assert f"{lowest['value']:.3f}, 90% band over tasks: {lowest['low']:.3f} to {lowest['high']:.3f}" in page.text
    assert f"({lowest['value']:.3f}, 90% band over tasks {lowest['low']:.3f} to {lowest['high']:.3f})" in page.text


def test_numbers_in_words_are_those_of_the_profile(record, kit):
    profile = record.measurements[-1].profile
    task_means = np.nanmean(profile.matrix(), axis=1)
    mean = overall(profile)
    value, low, high = mean.value, mean.low, mean.high
    assert value == pytest.approx(task_means.mean())
    names = np.asarray([profile.clusters[task] for task in profile.tasks])
    sums = np.asarray([(task_means - value)[names == name].sum() for name in set(names)])
    count = len(sums)
    half = stats.t.ppf(0.95, count - 1) * np.sqrt(count / (count - 1) * np.square(sums).sum()) / 48
    assert (low, high) == pytest.approx((value - half, value + half), abs=1e-9)
    change = next(paragraph for paragraph in read_results(record) if paragraph.startswith("From step"))
    delta = np.nanmean(profile.matrix() - record.measurements[0].profile.matrix(), axis=0)
    layer = int(np.abs(delta).argmax()) + 1
    assert (
        f"From step 0 to step 40 the mean over tasks changed most at layer {layer}, by {delta[layer - 1]:+.3f}"
        in change
    )
    assert not any(paragraph.startswith("From step") for paragraph in read_results(kit.make_record((5,))))


def test_cells_under_the_pointer_are_the_values(page, record):
    profile = record.measurements[-1].profile
    cells = page.data["tasks-cells-3"]
    assert len(cells["rows"]) == 48
    expected = profile.matrix()[[profile.tasks.index(task) for task in cells["rows"]]]
    held = np.array([[np.nan if value is None else value for value in row] for row in cells["value"]])
    np.testing.assert_allclose(held, expected, atol=6e-5)
    assert cells["columns"][0] == "layer 1"
    assert all(0 < number < 1 for number in cells["box"])
    steps = page.data["training-cells-1"]
    assert steps["columns"] == ["step 0", "step 20", "step 40"]
    assert steps["rows"][0] == "layer 32"
    assert steps["value"][-1][0] == 1.0
    assert {"neighbours-cells-1", "between-cells-1", "between-cells-3"} <= set(page.data)


def test_tables_and_configuration_are_complete(page, record):
    text = page.text
    for task, cluster in record.profile.clusters.items():
        assert task in text
        assert cluster in text
    profile = record.measurements[-1].profile
    assert text.count("undefined") >= 1
    for value in profile.matrix()[7]:
        assert f"{value:.3f}" in text
    for part in ("learning rate", "0.0003", "every 20 steps", record.run_id, "ab" * 32, "debiased", "tiny-llama"):
        assert part in text


def test_one_measurement_is_enough(kit, tmp_path):
    record = kit.make_record((0,), tasks=3, clusters=1, layers=2)
    record.measurements[0].layer_x_layer = None
    record.measurements[0].task_x_task = {}
    page = Page(write_report(record, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "no drift transition found" in page.text
    assert "none found" in page.text
    assert not {"training", "neighbours", "between"} & set(page.ids)
    one = kit.make_record((0,), tasks=1, clusters=1, layers=4)
    assert "no interval" in Page(write_report(one, tmp_path / "one.html").read_text(encoding="utf-8")).text


def test_the_comparison_of_two_checkpoints_speaks_of_no_run(kit, tmp_path):
    record = kit.make_record((0,), tasks=6, clusters=1, layers=6, reference="base")
    record.measurements[0].seconds = record.measurements[0].overhead = 0.0
    page = Page(write_report(record, tmp_path / "report.html").read_text(encoding="utf-8"))
    for word in ("step", "in 1 cluster", "· 1 cluster", "0.0 s", "0.0%", "measurements"):
        assert word not in page.text.split("Configuration")[0], word
    assert "The hidden states of 6 tasks were compared with the base model" in page.text
    run = Page(write_report(kit.make_record((0,), tasks=6, clusters=1, layers=6), tmp_path / "run.html").read_text())
    assert "At step 0 the hidden states of 6 tasks were" in run.text
    assert "step 0; 0.2 s of measuring" in run.text


def test_all_undefined_is_said_and_drawn(kit, tmp_path):
    record = kit.make_record((0, 20), tasks=4, clusters=2, layers=4)
    for measurement in record.measurements:
        frame = measurement.profile.frame
        frame[["value", "low", "high"]] = np.nan
        frame["reason"] = "non-positive self-similarity"
    page = Page(write_report(record, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "averages undefined over tasks" in page.text
    assert "16 of 16 values are undefined" in page.text
    assert "non-positive self-similarity" in page.text


def test_names_are_shown_and_never_run(kit, tmp_path):
    evil = ['<script>alert("x")</script>', "</script><img src=x onerror=alert(1)>", "a & b", "'\"><b>"]
    clusters = {name: f"<i>{position % 2}</i>" for position, name in enumerate(evil)}
    record = RunRecord({"note": "</pre><script>1</script>", "cadence": "<every>"})
    for step in (0, 5):
        record.add(kit.make_measurement(step, clusters, 4, share=step / 10))
    record.measurements[-1].warnings.append("<b>bold</b>")
    text = write_report(record, tmp_path / "report.html", title="<u>title</u>").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"<(img|i|b|u)\b", text)
    assert text.count("<script>") == 1
    for name in [*evil, "<i>0</i>", "</pre><script>1</script>", "<every>", "<b>bold</b>", "<u>title</u>"]:
        assert name in " ".join(page.words)
    assert set(page.data["tasks-cells-1"]["rows"]) == set(evil)


def test_warnings_of_the_last_measurement_come_first_and_earlier_ones_are_folded(kit, tmp_path):
    record = kit.make_record((0, 20, 40), tasks=4, clusters=2, layers=4)
    for measurement in record.measurements:
        measurement.warnings.append(f"warned at {measurement.step}")
    text = write_report(record, tmp_path / "report.html").read_text(encoding="utf-8")
    notice = text[text.index('id="warnings"') : text.index("</section>", text.index('id="warnings"'))]
    shown, folded = notice.split("<details>")
    assert "warned at 40" in shown
    assert "warned at 0" not in shown
    assert "Earlier measurements (" in folded
    assert "warned at 0" in folded
    assert "warned at 20" in folded


def test_nothing_measured_is_no_report(tmp_path):
    with pytest.raises(ValueError, match="at least one measurement, got none"):
        write_report(RunRecord(), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.browser
def test_a_browser_shows_it_without_errors_or_requests(record, tmp_path):
    import shutil

    playwright = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("needs Chromium")
    path = write_report(record, tmp_path / "report.html")
    problems, requests = [], []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            tab = browser.new_page(viewport={"width": 1280, "height": 2400}, color_scheme=scheme)
            tab.on("console", lambda message: problems.append(message.text))
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(path.as_uri())
            shown = [panel.is_visible() for panel in tab.query_selector_all("#tasks .panel")]
            assert shown == [False, False, True, False]
            tab.click("#tasks label:first-of-type")
            shown = [panel.is_visible() for panel in tab.query_selector_all("#tasks .panel")]
            assert shown == [True, False, False, False]
            tab.click("#tasks label:nth-of-type(3)")
            svg = tab.query_selector("#tasks .panel-3 svg")
            svg.scroll_into_view_if_needed()
            place = svg.bounding_box()
            left, top, wide, high = json.loads(tab.text_content("#tasks-cells-3"))["box"]
            tab.mouse.move(
                place["x"] + place["width"] * (left + wide * 0.5 / 32),
                place["y"] + place["height"] * (top + high * 47.5 / 48),
            )
            assert tab.text_content("#tip").startswith("task_47 · layer 1\nundefined")
            tab.click("#table th:nth-child(3) button")
            numbers = [
                float(cell.inner_text()) for cell in tab.query_selector_all("#table .sortable tbody td:nth-child(3)")
            ]
            assert numbers == sorted(numbers)
            assert len(numbers) == 48
            wider = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, "the page scrolls sideways"
            tab.close()
        browser.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_what_was_drawn_for_an_earlier_report_is_not_drawn_again(kit, tmp_path, monkeypatch):
    from lightning_layerscope.charts import old_heatmaps

    heatmap, drawn = old_heatmaps.heatmap_layer_x_task, []

    def counted(profile, **options):
        drawn.append((profile.steps[0], options["scale"]))
        return heatmap(profile, **options)

    monkeypatch.setattr(old_heatmaps, "heatmap_layer_x_task", counted)
    whole = kit.make_record(tuple(range(0, 160, 20)), tasks=4, clusters=2, layers=6)
    growing = RunRecord(whole.config, run_id=whole.run_id)
    for measurement in whole.measurements:
        growing.add(measurement)
        write_report(growing, tmp_path / "report.html")
    assert [step for step, scale in drawn if scale is None] == list(range(0, 160, 20)), "each once"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "middle, step 80" in text
    fresh = RunRecord(whole.config, whole.measurements, run_id=whole.run_id)
    write_report(fresh, tmp_path / "fresh.html")
    assert (tmp_path / "fresh.html").read_text(encoding="utf-8") == text

    growing.rewind(130)
    growing.add(kit.make_measurement(140, kit.names(4, 2), 6, share=0.2))
    write_report(growing, tmp_path / "report.html")
    assert len([step for step, scale in drawn if (step, scale) == (140, None)]) == 3, "the new one, not the old"


def test_a_report_does_not_join_the_rows_of_all_measurements(kit, tmp_path, monkeypatch):
    record = kit.make_record(tuple(range(0, 160, 20)), tasks=4, clusters=2, layers=6)

    def whole(_):
        raise AssertionError("all rows of the run were joined")

    monkeypatch.setattr(RunRecord, "profile", property(whole))
    write_report(record, tmp_path / "report.html")
