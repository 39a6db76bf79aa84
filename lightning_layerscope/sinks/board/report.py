"""A report in W&B on chosen runs, with text that says what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.sinks.board.panels import Board, placed
from lightning_layerscope.sinks.board.runs import LoggedRun, tell_difference, tell_run
from lightning_layerscope.wording import count

_CAUTION = (
    "Similarity says that representations are arranged alike, not that they are used alike. Intervals are over tasks; "
    "a difference whose band holds 0 is none that was shown."
)


def make_report(entity: str, project: str, board: Board, runs: Sequence[LoggedRun], *, title: str = "") -> Any:
    """The report, which ``save()`` keeps in W&B; the first run is what the others are compared with.

    Args:
        entity: Of W&B.
        project: Of W&B.
        board: Which keys it shows.
        runs: At least one.
        title: Of the report; by default from the runs.

    Raises:
        ImportError: Without ``wandb-workspaces``; the message says what installs it.
    """
    wr = require("wandb_workspaces.reports.v2", "workspaces")
    expr = require("wandb_workspaces.expr", "workspaces")
    first, *others = runs
    chosen = expr.And(expr.Metric("ID").isin([run.id for run in runs]))

    def grid(panels: list[Any]) -> Any:
        runset = wr.Runset(name="Runs", filters=chosen)  # of the report's own project: another is asked for
        return wr.PanelGrid(runsets=[runset], panels=placed(panels))

    blocks = [wr.UnorderedList(items=[tell_run(run) for run in runs])]
    if others:
        blocks += [wr.H2("What differs"), wr.UnorderedList(items=[tell_difference(first, run) for run in others])]
        blocks.append(grid(board.runs()))
    for heading, panels in (
        ("Over the layers", board.over_layers()),
        ("Pictures, step by step and run by run", board.heatmaps()),
        ("Over the steps", [*board.over_steps(), *board.transition()]),
    ):
        blocks += [wr.H2(heading), grid(panels)]
    blocks.append(wr.P(_CAUTION))
    names = first.title + (f" and {count(len(others), 'other run')}" if others else "")
    return wr.Report(
        entity=entity,
        project=project,
        title=(title or f"Layers of {names}")[:128],
        description="Made by layerscope wandb-report.",
        blocks=blocks,
        width="fluid",
    )


def report_json(report: Any) -> str:
    """What would be saved, without a network."""
    specification: str = report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return specification
