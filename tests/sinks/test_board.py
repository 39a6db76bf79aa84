"""Workspace, report and presets: what would be saved without a network, and what a server is sent."""

import builtins
import json
import re
import sys
from dataclasses import replace

import pytest

from lightning_layerscope import RunRecord
from lightning_layerscope.cli import main
from lightning_layerscope.sinks import WandbSink
from lightning_layerscope.sinks.board import presets
from lightning_layerscope.sinks.board.panels import Board
from lightning_layerscope.sinks.keys import plan_keys, root_of, under
from tests.loopback import start

pytest.importorskip("wandb_workspaces", reason='needs pip install "lightning-layerscope[workspaces]"')


@pytest.fixture
def nowhere(monkeypatch):
    """Nobody is logged in, and a connection is an error."""
    import socket

    def refuse(*_):
        raise AssertionError("the network was touched")

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def printed(capsys, *arguments):
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def panels_of(workspace):
    """View type and configuration of every panel, by section."""
    sections = workspace["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [(p["viewType"], p["config"]) for p in section["panels"]] for section in sections}


def test_a_workspace_is_printed_without_a_network(nowhere, capsys, kit):
    found = printed(capsys, "workspace", "me/test", "--dry-run", "--baseline", "one", "--pin", "two")
    sections = panels_of(found)
    assert list(sections) == ["Over the layers", "Pictures", "Over the steps", "Transition", "Answers", "Runs", "Cost"]
    (profile, clusters) = sections["Over the layers"]
    assert profile[1]["panelDefId"] == clusters[1]["panelDefId"] == "wandb/lineseries/v0"
    table = profile[1]["userQuery"]["queryFields"][0]["fields"][0]
    assert table["args"] == [{"name": "tableKey", "value": "layerscope/profile/layers_table"}]
    for kind, config in sections["Pictures"]:
        assert kind == "Media Browser"
        assert config["mode"] == "grid"
        assert config["gridSettings"] == {"xAxis": "step", "yAxis": "run"}
    assert {kind for kind, _ in sections["Runs"]} == {"Run Comparer"}
    assert sections["Runs"][0][1]["diffOnly"] == "split"
    runs = found["section"]["runSets"][0]
    assert runs["baselineRunId"] in runs["pinnedRunIds"]
    assert len(runs["pinnedRunIds"]) == 2
    assert found["section"]["settings"]["shouldAutoGeneratePanels"] is False


@pytest.mark.parametrize("monitor", ["layerscope", "early layers"])
def test_every_key_of_a_panel_is_one_that_is_logged(nowhere, capsys, kit, monitor):
    root = root_of(monitor)
    plan = replace(
        plan_keys(kit.make_profile(0, kit.names(8, 3), 12), root=root),
        signals=("update",),
        scores={"answers/loss": {}, "retention/loss_change": {}},
    )
    logged = {*plan.shown(), *plan.hidden(), *plan.pictures(), *plan.charts(), *plan.chart_tables()}
    sections = panels_of(printed(capsys, "workspace", "me/test", "--dry-run", "--monitor", monitor))
    lines = [config for panels in sections.values() for kind, config in panels if kind == "Run History Line Plot"]
    assert lines
    assert {config["xAxis"] for config in lines} == {under(root, "layerscope/step")}
    named = {key for config in lines for key in config.get("metrics", [])}
    named |= {key for _, config in sections["Pictures"] for key in config["mediaKeys"]}
    named |= {config["userQuery"]["queryFields"][0]["fields"][0]["args"][0]["value"]
              for _, config in sections["Over the layers"]}  # fmt: skip
    assert named <= logged
    patterns = [config["metricRegex"] for config in lines if "metricRegex" in config]
    matched = [[key for key in sorted(logged) if re.search(pattern, key)] for pattern in patterns]
    assert [len(keys) for keys in matched] == [12, 3, 1], "layers, clusters, the mean of one signal"


def test_presets_take_the_place_of_wandbs_own_charts(nowhere, capsys):
    sections = panels_of(printed(capsys, "workspace", "me/test", "--dry-run", "--presets", "team"))
    charts = [config for _, config in sections["Over the layers"]]
    assert [chart["panelDefId"] for chart in charts] == [*["team/layerscope-curve"] * 2, "team/layerscope-heatmap"]
    for chart in charts:
        spec = json.dumps(presets.specs()[chart["panelDefId"].partition("/")[2]])
        assert set(re.findall(r"\$\{field:(\w+)\}", spec)) == set(chart["fieldSettings"])
        assert set(re.findall(r"\$\{string:(\w+)\}", spec)) <= set(chart["stringSettings"])


def test_presets_draw_what_is_logged(kit):
    """Vega-Lite itself draws them, with the fields and the rows as W&B puts them in."""
    vl_convert = pytest.importorskip("vl_convert")
    from lightning_layerscope.sinks.log_rows import CHART_COLUMNS, cluster_rows

    record = kit.make_record((0, 20), tasks=4, clusters=2, layers=6)
    measurement = record.measurements[-1]
    plan = plan_keys(measurement.profile)
    curve = [dict(zip(CHART_COLUMNS, row, strict=True), name="run one") for row in cluster_rows(measurement, plan)]
    table = [{**row, "name": "run one"} for row in record.profile.to_pandas().fillna(0).to_dict("records")]
    charts = Board(presets="team").over_layers()
    for chart, name, rows in ((charts[1], presets.CURVE, curve), (charts[2], presets.HEATMAP, table)):
        text = json.dumps(presets.specs()[name])
        for field, column in chart.chart_fields.items():
            text = text.replace(f"${{field:{field}}}", column)
        for string, words in chart.chart_strings.items():
            text = text.replace(f"${{string:{string}}}", words)
        spec = json.loads(text)
        spec["data"] = {"values": rows}
        svg = vl_convert.vegalite_to_svg(spec)
        assert svg.count("<path") > 10
        marks = 4 * 6 if name == presets.HEATMAP else 3
        assert len(re.findall(r'aria-roledescription="(?:rect mark|line mark container)"', svg)) in (marks, 1)


def test_workspace_and_presets_reach_the_server(server, capsys):
    arguments = ["workspace", "me/test", "--name", "Drift", "--presets", "me", "--upload-presets", "--pin", "one"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "me/layerscope-curve me/layerscope-heatmap" in out
    assert f"workspace: {server.address}/me/test?nw=" in out
    (view,) = server.views
    assert (view["type"], view["displayName"], view["entityName"]) == ("project-view", "Drift", "me")
    assert "team/" not in view["spec"]
    assert set(server.presets) == {presets.CURVE, presets.HEATMAP}
    for preset in server.presets.values():
        assert preset["access"] == "PRIVATE"
        assert json.loads(preset["spec"])["data"] == {"name": "wandb"}


def folders(kit, tmp_path):
    """Two runs' results on this machine."""
    places = []
    for name, share in (("one", 0), ("two", 7)):
        record = kit.make_record(tasks=6, clusters=3, layers=8, seed=share)
        record.save(tmp_path / name)
        places.append(tmp_path / name)
    return places


def texts_of(report):
    return [text for text in re.findall(r'"text": ?"((?:[^"\\]|\\.)*)"', json.dumps(report)) if text]


def test_a_report_says_what_differs_without_a_network(nowhere, capsys, kit, tmp_path):
    one, two = folders(kit, tmp_path)
    found = printed(capsys, "wandb-report", "me/test", f"abc={one}", f"def={two}", "--dry-run")
    text = "\n".join(texts_of(found))
    assert re.search(r"abc: at step 40, CKA \(debiased\) against .* averages 0\.\d{3} \(90 % interval over tasks", text)
    assert "def against abc: the monitor's settings are the same. Mean over 6 tasks of the difference in cka" in text
    grids = [block for block in found["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == 4
    for grid in grids:
        (runs,) = grid["metadata"]["runSets"]
        assert runs["filters"]["filters"][0]["value"] == ["abc", "def"]
        places = [panel["layout"] for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
        assert len({(place["x"], place["y"]) for place in places}) == len(places), "no panel lies on another"
    record = RunRecord.load(two)
    other = RunRecord({**record.config, "signals": ["kl"], "retention_tolerance": 0.1}, record.measurements)
    other.save(tmp_path / "other")
    found = printed(capsys, "wandb-report", "me/test", f"abc={one}", f"def={tmp_path / 'other'}", "--dry-run")
    assert "different are the signals and what must not be lost." in "\n".join(texts_of(found))
    text = "\n".join(texts_of(printed(capsys, "wandb-report", "me/test", "abc", "--dry-run")))
    assert "abc: its rows are not at hand" in text
    assert "What differs" not in text


def test_a_measure_that_a_run_does_not_have_is_told(nowhere, capsys, kit, tmp_path):
    one, _ = folders(kit, tmp_path)
    assert main(["wandb-report", "me/test", f"abc={one}", "--measure", "nope", "--dry-run"]) == 2
    assert re.search(r"expected a measure of .* \(cka\), got 'nope'", capsys.readouterr().err)


def test_profiles_that_cannot_be_subtracted_are_said_to_be_such(nowhere, capsys, kit, tmp_path):
    one, _ = folders(kit, tmp_path)
    other = kit.make_record(tasks=5, clusters=3, layers=8)
    other.save(tmp_path / "other")
    found = printed(capsys, "wandb-report", "me/test", f"abc={one}", f"def={tmp_path / 'other'}", "--dry-run")
    text = "\n".join(texts_of(found))
    assert "different are the tasks (task_05)." in text
    assert "cannot be subtracted: expected the same tasks" in text


def test_a_report_reads_runs_and_their_artifacts_and_reaches_the_server(server, capsys, kit, tmp_path):
    run = start(tmp_path)
    record = kit.make_record(tasks=6, clusters=2, layers=4)
    kit.replay(WandbSink(run), record)
    run.finish()
    config = {"layerscope": {"value": {"measure": "cka", "estimator": "debiased", "tasks": record.profile.tasks}}}
    attributes = {
        "id": "r",
        "tags": [],
        "name": run.id,
        "displayName": "first try",
        "state": "finished",
        "projectId": 1,
    }
    attributes |= {"config": json.dumps(config), "summaryMetrics": "{}", "systemMetrics": "{}", "historyKeys": {}}
    attributes |= {
        "user": {"name": "me", "username": "me"},
        "sweepName": None,
        "group": None,
        "jobType": None,
        "createdAt": "2026-01-01T00:00:00Z",
    }
    server.runs[run.id] = attributes
    assert main(["wandb-report", "me/test", run.id, "--title", "What moved"]) == 0
    assert f"report: {server.address}/me/test/reports/What-moved--" in capsys.readouterr().out
    (view,) = server.views
    assert view["type"] == "runs"
    assert f"first try ({run.id}): at step 40, CKA (debiased)" in view["spec"]
    server.runs["bare"] = {**attributes, "name": "bare", "config": "{}"}
    assert main(["wandb-report", "me/test", "bare"]) == 2
    assert "the run bare has no results of a monitor" in capsys.readouterr().err
    assert main(["wandb-report", "me/test", "missing"]) == 2
    assert "could not be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["workspace", "test", "--dry-run"], "expected ENTITY/PROJECT"),
        (["workspace", "me/test", "--upload-presets", "--dry-run"], "--upload-presets needs --presets ENTITY"),
        (["wandb-report", "me/test", "a/b", "--dry-run"], "expected the id of a run, or ID=FOLDER"),
        (["wandb-report", "me/test", "abc=/not/there", "--dry-run"], "there is no profile at /not/there"),
        (["wandb-report", "me/test", "abc", "abc", "--dry-run"], "expected each run once, got abc more than once"),
    ],
)
def test_mistakes_are_told_in_one_line(nowhere, capsys, arguments, words):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_server_that_refuses_is_told_in_one_line(server, capsys, monkeypatch):
    monkeypatch.setattr(server, "answer_reader", lambda query, variables: {})
    assert main(["workspace", "me/test"]) == 2
    assert "W&B did not take it" in capsys.readouterr().err


def test_without_the_library_the_command_that_installs_it_is_named(capsys, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="wandb_workspaces")
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.startswith("wandb_workspaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.import_module", lambda name: missing(name))
    from lightning_layerscope.sinks.board.workspace import make_workspace

    with pytest.raises(ImportError, match=r'pip install "lightning-layerscope\[workspaces\]"'):
        make_workspace("me", "test", Board())
