"""The HTML report as a file: whole, safe and true to the record; test_report_browser.py works with it."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.sinks.reading import overall, read_results
from lightning_layerscope.sinks.report import write_report
from lightning_layerscope.sinks.report.templates import drawing_script

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
        if tag == "script" and "id" in attributes:
            self.data[attributes["id"]] = json.loads(data) if attributes["type"] == "application/json" else data
        elif tag not in ("script", "style"):
            self.words.append(data)

    def column(self, number):
        """What the script reads of a column: variable bytes, differences along the first axis, multiples of a unit."""
        known = self.data["page-data"]["columns"][number]
        packed = zlib.decompress(base64.b64decode(self.data["numbers"]))[known["begin"] : known["end"]]
        found, value, shift = [], 0, 0
        for byte in packed:
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                found.append(value)
                value, shift = 0, 0
        gaps, codes = found[1 : found[0] + 1], np.array(found[found[0] + 1 :])
        changes = np.where(codes % 2, -(codes + 1) // 2, codes // 2).reshape(known["shape"])
        values = np.cumsum(changes, axis=0) * known["unit"]
        values.ravel()[np.cumsum(gaps, dtype=int)] = np.nan
        return values

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
    rest = text.replace(drawing_script(), "")
    assert len(rest) < len(text)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", rest)
    assert "://" not in rest
    assert "default-src &#39;none&#39;" in text
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


def test_the_numbers_of_the_page_are_those_of_the_record(page, record):
    run = page.data["page-data"]["runs"][0]
    assert run["steps"] == [0, 20, 40]
    assert run["layers"] == list(range(1, 33))
    profile = record.measurements[-1].profile
    order = [profile.tasks.index(task) for task in run["tasks"]]
    assert [profile.clusters[task] for task in run["tasks"]] == run["clusters"]
    assert run["clusters"] == sorted(run["clusters"], key=run["clusters"].index), "clusters side by side"
    cka = run["measures"][0]
    for part in ("value", "low", "high"):
        expected = np.stack([each.profile.matrix(column=part)[order] for each in record.measurements])
        held = page.column(cka[part])
        np.testing.assert_allclose(held, expected, atol=6e-5 if part == "value" else 6e-4)
    reasons = page.column(cka["reason"])
    assert {cka["reasons"][int(each)] for each in reasons[np.isnan(held)]} == {"zero variance"}
    above = np.triu_indices(32)
    neighbours = [each.layer_x_layer[above] for each in record.measurements]
    np.testing.assert_allclose(page.column(run["neighbours"]), neighbours, atol=6e-4)
    between = record.measurements[1].task_x_task[16][np.ix_(order, order)][np.triu_indices(48)]
    np.testing.assert_allclose(page.column(run["between"]["16"]["matrix"])[1], between, atol=6e-4)


def test_the_configuration_is_complete(page, record):
    text = page.text
    for part in ("learning rate", "0.0003", "every 20 steps", record.run_id, "ab" * 32, "debiased", "tiny-llama"):
        assert part in text


def test_one_measurement_is_enough(kit, tmp_path):
    record = kit.make_record((0,), tasks=3, clusters=1, layers=2)
    record.measurements[0].layer_x_layer = None
    record.measurements[0].task_x_task = {}
    page = Page(write_report(record, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "none found" in page.text
    assert "training" not in page.ids
    one = kit.make_record((0,), tasks=1, clusters=1, layers=4)
    assert "no interval" in Page(write_report(one, tmp_path / "one.html").read_text(encoding="utf-8")).text


def test_the_comparison_of_two_checkpoints_speaks_of_no_run(kit, tmp_path):
    record = kit.make_record((0,), tasks=6, clusters=1, layers=6, reference="base")
    record.measurements[0].seconds = record.measurements[0].overhead = 0.0
    page = Page(write_report(record, tmp_path / "report.html").read_text(encoding="utf-8"))
    for word in ("step", "in 1 cluster", "· 1 cluster", "0.0 s", "0.0%", "measurements", "training"):
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
    shown = text[: text.index("<script>")]
    assert not re.search(r"<(img|i|b|u)\b", shown)
    assert text.count("<script>") == 2
    for name in ["</pre><script>1</script>", "<every>", "<b>bold</b>", "<u>title</u>"]:
        assert name in " ".join(page.words)
    assert set(page.data["page-data"]["runs"][0]["tasks"]) == set(evil)


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
