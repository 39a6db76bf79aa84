"""``layerscope report`` with several runs, and with runs that go on."""

import time

import pytest

from lightning_layerscope.cli import main
from lightning_layerscope.measurements import RunRecord


@pytest.fixture
def runs(kit, tmp_path):
    """Two runs in folders, and a profile of another."""
    for name, seed in (("one", 1), ("two", 2)):
        kit.make_record((0, 20), tasks=4, clusters=2, layers=4, seed=seed).save(tmp_path / "runs" / name / "layerscope")
    kit.make_record((0,), tasks=4, clusters=2, layers=4, seed=3).profile.to_parquet(tmp_path / "three.parquet")
    return tmp_path


def report(*arguments):
    return main(["report", *map(str, arguments)])


def test_one_run_has_its_page_in_its_folder(runs, capsys):
    folder = runs / "runs" / "one" / "layerscope"
    for _ in range(2):
        assert report(folder) == 0
    assert (folder / "report.html").is_file()
    assert str(folder / "report.html") in capsys.readouterr().out


def test_several_runs_get_one_page_with_the_names_that_tell_them_apart(runs, capsys):
    sources = [runs / "runs" / name / "layerscope" for name in ("one", "two")]
    page = runs / "comparison.html"
    assert report(*sources, "--out", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "two minus one at step 20: Mean over 3 tasks of the difference in cka is largest at layer" in text
    assert "<h1>one · two</h1>" in text
    assert report(*sources, "--out", page) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert report(*sources, "--out", page, "--overwrite", "--names", "before", "after") == 0
    assert "<h1>before · after</h1>" in page.read_text(encoding="utf-8")


def test_runs_and_profiles_can_be_mixed(runs, monkeypatch):
    monkeypatch.chdir(runs)
    assert report("runs/one/layerscope", "three.parquet") == 0
    assert "<h1>runs/one/layerscope · three</h1>" in (runs / "comparison.html").read_text(encoding="utf-8")


def test_the_rows_of_a_run_are_shown_as_a_profile(runs):
    page = runs / "rows.html"
    assert report(runs / "runs" / "one" / "layerscope" / "profile.parquet", "--out", page) == 0
    assert "steps 0 to 20" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("names", [["a"], ["a", "a"]])
def test_names_must_fit_the_runs(runs, capsys, names):
    sources = [runs / "runs" / name / "layerscope" for name in ("one", "two")]
    assert report(*sources, "--out", runs / "page.html", "--names", *names) == 2
    assert "expected 2 different names" in capsys.readouterr().err
    assert not (runs / "page.html").exists()


def test_a_run_that_goes_on_is_followed_until_interrupted(kit, tmp_path, capsys, monkeypatch):
    whole = kit.make_record((0, 20, 40), tasks=4, clusters=2, layers=4)
    growing = RunRecord(whole.config, run_id=whole.run_id)
    folder, page = tmp_path / "layerscope", tmp_path / "live.html"
    written, looks = [], iter(range(7))

    def sleep(seconds):
        """Instead of waiting: every second look finds a new measurement."""
        assert seconds == 3
        look = next(looks)
        written.append(page.read_text(encoding="utf-8") if page.exists() else "")
        if look == 6:
            raise KeyboardInterrupt
        if look % 2 == 0:
            growing.add(whole.measurements[look // 2])
            growing.save(folder)

    monkeypatch.setattr(time, "sleep", sleep)
    assert report(folder, "--watch", "--every", 3, "--out", page) == 130
    assert written[0] == "", "nothing was measured yet"
    assert len(set(written)) == 4, "one page per measurement"
    for text, step in zip((written[1], written[3], written[5]), (0, 20, 40), strict=True):
        assert f"At step {step} the hidden states" in text
        assert 'data-follow="3"' in text
    told = capsys.readouterr()
    assert "waiting: there is no profile at" in told.err
    assert "(3 measurements)" in told.out


def test_a_run_is_followed_beside_an_earlier_one(runs, capsys, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    page = runs / "live.html"
    sources = [runs / "runs" / name / "layerscope" for name in ("two", "one")]
    assert report(*sources, "--watch", "--out", page) == 130
    assert "one minus two" in page.read_text(encoding="utf-8")
