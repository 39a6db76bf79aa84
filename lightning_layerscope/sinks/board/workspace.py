"""A workspace of W&B for the runs of a project: the panels of a monitor's keys, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.sinks.board.panels import Board
from lightning_layerscope.sinks.keys import BOUNDARIES, ROOT, STEP, under


def make_workspace(
    entity: str,
    project: str,
    board: Board,
    *,
    name: str = "Layers",
    baseline: str | None = None,
    pinned: Sequence[str] = (),
) -> Any:
    """The workspace, which ``save()`` keeps in W&B as a saved view of its own.

    Args:
        entity: Of W&B.
        project: Of W&B.
        board: Which keys it shows.
        name: Of the view.
        baseline: Id of the run that the others are compared with.
        pinned: Ids of the runs that stay in sight.

    Raises:
        ImportError: Without ``wandb-workspaces``; the message says what installs it.
    """
    ws = require("wandb_workspaces.workspaces", "workspaces")
    sections = [
        ("Over the layers", board.over_layers(), 2),
        ("Pictures", board.heatmaps(), 2),
        ("Over the steps", board.over_steps(), 2),
        ("Transition", board.transition(), 2),
        ("Answers", board.answers(), 2),
        ("Runs", board.runs(), 1),
        ("Cost", board.cost(), 2),
    ]
    columns = [f"summary:{under(board.root, key)}" for key in (f"{ROOT}/final/mean", BOUNDARIES[0], BOUNDARIES[3])]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(
                name=title,
                panels=panels,
                is_open=title not in ("Answers", "Cost"),
                layout_settings=ws.SectionLayoutSettings(columns=columns_of, rows=-(-len(panels) // columns_of)),
            )
            for title, panels, columns_of in sections
        ],
        settings=ws.WorkspaceSettings(x_axis=under(board.root, STEP)),
        runset_settings=ws.RunsetSettings(
            baseline_run=baseline,
            pinned_runs=list(pinned),
            pinned_columns=columns,
        ),
    )


def workspace_json(workspace: Any) -> str:
    """What would be saved, without a network."""
    specification: str = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return specification
