"""Results in a notebook cell and in a terminal."""

import copy
import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from lightning_layerscope import LayerProfile, Measurement, RunRecord, charts
from lightning_layerscope.cli import main
from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.transitions import Transition

FOUND = Transition(
    True, 2, 3, (2, 2), (3, 4), 0.9, "drift from initial (cka)", "", (1, 2, 3, 4), "ramp", (1.0, 0.8, 0.7), 16
)


@pytest.fixture
def record(make_profile):
    """Three measurements, of which the last has matrices."""
    profile = make_profile()
    measured = [Measurement(step=step, profile=profile.at_step(step), transition=FOUND) for step in (0, 10, 20)]
    measured[-1].layer_x_layer = np.eye(4)
    measured[-1].task_x_task = {1: np.eye(16), 4: np.full((16, 16), 0.5)}
    measured[-1].warnings = ["one direction decides everything <here>"]
    return RunRecord(measurements=measured)


def data(chart, name="cells"):
    return charts.spec(chart)["datasets"][name]


def test_results_plot_themselves(record):
    profile, last = record.profile, record.measurements[-1]
    assert {row["layer"] for row in data(profile.plot())} == {1, 2, 3, 4}
    assert {row["step"] for row in data(profile.plot("steps"))} == {0, 10, 20}
    assert len({row["series"] for row in data(profile.plot("curve"), "curves")}) == 3
    assert [row["part"] for row in data(last.plot(), "parts")] == ["shared", "drift transition", "refinement"]
    assert data(last.plot("curve"), "boundaries")
    assert {row["value"] for row in data(last.plot("layers"))} == {0.0, 1.0}
    assert {row["value"] for row in data(last.plot("between"))} == {0.5}, "the last layer by default"
    assert {row["value"] for row in data(last.plot("between", layer=1))} == {0.0, 1.0}
    assert {row["step"] for row in data(record.plot("steps"))} == {0, 10, 20}
    assert len({row["series"] for row in data(record.plot(), "curves")}) == 3
    assert data(record.plot("between", layer=1)) == data(last.plot("between", layer=1))
    assert {row["value"] for row in data(profile.diff(profile, other_step=0).plot(), "cells")} != {0.0}


def test_one_task_has_no_other_to_stand_beside(record):
    alone = copy.copy(record.measurements[-1])
    alone.task_x_task = {}
    with pytest.raises(ValueError, match=r"expected a measurement of task x task, got one of \d+ tasks without"):
        alone.plot("between")


def test_what_cannot_be_plotted_says_what_can(record):
    with pytest.raises(ValueError, match="one of 'tasks', 'curve', 'steps', got 'layers'"):
        record.profile.plot("layers")
    with pytest.raises(ValueError, match="layer x layer, got one without"):
        record.measurements[0].plot("layers")
    with pytest.raises(ValueError, match=r"got 2; there are \[1, 4\]"):
        record.plot("between", layer=2)
    with pytest.raises(ValueError, match="at least one measurement"):
        RunRecord().plot()
    with pytest.raises(KeyError, match=r"step 5 was not measured; measured were \[0, 10, 20\]"):
        record.show(5)


def test_html_is_short_true_and_escaped(record, make_profile):
    names = ["<script>alert(1)</script>", "b"]
    odd = make_profile(2, 2, 40, names=names)._repr_html_()
    assert "<script" not in odd
    assert len(odd) < 6000
    assert "2 tasks in 2 clusters, 40 of 40 layers, against initial" in odd
    assert len(re.findall("<th ", odd)) == 13, "12 of the layers"
    last = record.measurements[-1]
    html = last._repr_html_()
    assert "Measurement of step 20" in html
    assert "decides everything &lt;here&gt;" in html
    assert f"{last.task_mean[-1]:.3f}" in html
    assert "3 measurements, steps 0 to 20" in record._repr_html_()
    assert "nothing was measured yet" in RunRecord()._repr_html_()
    assert "<td" in FOUND._repr_html_()
    assert "refinement" in FOUND._repr_html_()
    assert "largest at layer 4" in record.profile.diff(record.profile, other_step=0)._repr_html_()


def test_html_of_probes_counts_and_holds_no_prompt():
    probes = [
        Probe(f"t{number}", f"c{number}", ("0",), (f"secret {number}",), ((1, 2, 3),), available=1)
        for number in range(15)
    ]
    html = ProbeSet(probes)._repr_html_()
    assert "15 tasks in 15 clusters: 15 prompts" in html
    assert "and 3 others" in html
    assert "secret" not in html


def printed(profile, width=100, **options):
    console = Console(width=width, file=io.StringIO(), no_color=True, force_jupyter=False)
    charts.show(profile, console=console, **options)
    return console.file.getvalue().splitlines()


def test_a_terminal_gets_cells_and_curve_column_under_column(make_profile):
    profile = make_profile()
    lines = printed(profile, transition=FOUND)
    assert any(line.startswith("shared 1 · drift transition 2-3 · refinement 4") for line in lines)
    [row] = [line for line in lines if line.startswith("task 7 ")]
    assert row.split()[2:] == ["1.0", ".88", ".77", ".65"]
    numbers = [line for line in lines if line.startswith("layer")]
    assert len(set(numbers)) == 1, "the same columns above and below"
    assert len(numbers) == 2
    first, last = numbers[0].index("1"), numbers[0].index("4")
    top = lines.index(next(line for line in lines if "│" in line))
    heights = [sum(line[place : place + 1] == "█" for line in lines[top:]) for place in (first, last)]
    assert heights[0] > heights[1], "layer 4 has moved"


@pytest.mark.parametrize(("layers", "width"), [(80, 100), (80, 40), (32, 80), (2, 20)])
def test_no_line_is_wider_than_the_terminal(make_profile, layers, width):
    hole = make_profile(6, 2, layers, change=lambda step, task, layer, value: np.nan if task == 0 else value)
    lines = [line for line in printed(hole, width) if "│" in line or "task" in line.split(" ")[0]]
    assert max(map(len, lines)) <= width
    assert any("/" in line for line in lines), "undefined cells"


def test_long_names_are_told_apart(make_profile):
    profile = make_profile()
    frame = profile.to_pandas()
    numbers = frame["task"].str.extract(r"(\d+)")[0]
    names = "some rather long name of a task, number " + numbers + " of the whole suite"
    long = LayerProfile(frame.assign(task=names), {"measure": "cka"})
    for width in (60, 100):
        lines = [line for line in printed(long, width) if "of the whole suite" in line]
        assert len(lines) == len(profile.tasks)
        assert len({line.split("of the whole suite")[0] for line in lines}) == len(lines)


def test_layers_that_do_not_fit_are_counted(make_profile):
    lines = printed(make_profile(6, 2, 80), 40)
    assert any("of 80 layers: more are wider than the terminal" in line for line in lines)


def test_the_highest_line_of_blocks_is_what_its_label_says(make_profile):
    profile = make_profile(2, 3, 4)
    profile.frame["value"] = 1.0
    text = printed(profile, 60)
    top = next(line for line in text if "│" in line)
    assert top.split("│")[0].strip() == "1"
    assert "█" in top


def test_colours_are_those_of_the_value(make_profile):
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor", force_jupyter=False)
    charts.show(make_profile(change=lambda step, task, layer, _: 0.0 if layer == 1 else 1.0), console=console)
    text = console.file.getvalue()
    assert "48;2;68;1;84" in text, "the darkest of viridis"
    assert "48;2;253;231;37" in text, "its brightest"


def test_a_notebook_gets_charts_instead(record, monkeypatch):
    shown = []
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.append))
    last = record.measurements[-1]
    charts.show(last.profile, transition=FOUND, console=SimpleNamespace(is_jupyter=True))
    assert [set(charts.spec(chart)["datasets"]) for chart in shown] == [
        {"curves", "parts", "boundaries", "clusters"},
        {"cells", "brackets", "parts"},
    ]


def test_a_record_shows_its_last_measurement(record, capsys):
    record.show()
    assert "step 20" in capsys.readouterr().out
    record.show(10)
    assert "step 10" in capsys.readouterr().out


def test_the_command_draws_any_measurement_of_a_run(record, tmp_path, capsys):
    record.save(tmp_path / "run" / "results")
    for folder in (tmp_path / "run", tmp_path / "run" / "results"):
        assert main(["show", str(folder), "--step", "10"]) == 0
        out = capsys.readouterr().out
        assert "step 10" in out
        assert "drift transition 2-3" in out
    assert main(["show", str(tmp_path / "run"), "--step", "11"]) == 2
    assert "step 11 was not measured; measured were [0, 10, 20]" in capsys.readouterr().err
