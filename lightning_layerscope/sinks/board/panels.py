"""Panels of W&B for the keys that a monitor logs, the same in a workspace and in a report."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.options import Signals
from lightning_layerscope.sinks.board import presets
from lightning_layerscope.sinks.keys import (
    BOUNDARIES,
    CLUSTERS,
    CURVE,
    HEATMAPS,
    PROFILE,
    RESULTS,
    ROOT,
    SECONDS,
    SHARE_OF_RUN,
    STEP,
    cluster_key,
    layer_key,
    mean_key,
    under,
)


@dataclass(frozen=True)
class Board:
    """Which keys the panels are for.

    Attributes:
        root: Where they begin, see :func:`~lightning_layerscope.sinks.keys.root_of`.
        measure: The headline measure of the runs.
        presets: Whose uploaded presets are used: an entity of W&B; None for W&B's own charts alone.
    """

    root: str = ROOT
    measure: str = "cka"
    presets: str | None = None

    def over_steps(self) -> list[Any]:
        """Means over tasks, layers and clusters along training."""
        line = _library().LinePlot
        mean, measure = self._key(mean_key(self.measure)), self.measure
        return [
            line(title=f"{measure}: mean over tasks and layers", x=self._step, y=[mean]),
            line(
                title=f"{measure}: mean over tasks and layers, runs of a group with their standard error",
                x=self._step,
                y=[mean],
                groupby="Group",
                groupby_aggfunc="mean",
                groupby_rangefunc="stderr",
            ),
            line(title=f"{measure} of each layer", x=self._step, metric_regex=self._layers()),
            line(title=f"{measure} of each cluster", x=self._step, metric_regex=self._clusters()),
            line(title="signals: mean over layers", x=self._step, metric_regex=self._signals()),
        ]

    def transition(self) -> list[Any]:
        """Where the transition begins and ends, with its intervals."""
        line = _library().LinePlot
        ends = [self._key(key) for key in BOUNDARIES]
        return [
            line(title=f"transition {name}, with its interval (layer)", x=self._step, y=keys)
            for name, keys in (("begins", ends[:3]), ("ends", ends[3:]))
        ]

    def over_layers(self) -> list[Any]:
        """The newest profiles of the chosen runs over each other, and the clusters' of each."""
        reports = _library()
        profile = {"x": "layer", "value": "value", "low": "low", "high": "high", "line": "line"}
        if self.presets is None:
            name, fields = "wandb/lineseries/v0", {"step": "layer", "lineKey": "line", "lineVal": "value"}
        else:
            name, fields = f"{self.presets}/{presets.CURVE}", profile
        panels = [
            reports.CustomChart(
                query={"summaryTable": {"tableKey": f"{self._key(key)}_table"}},
                chart_name=name,
                chart_fields=fields,
                chart_strings={"title": title, "xname": "layer", "x_title": "layer", "y_title": self.measure},
            )
            for key, title in ((PROFILE, f"{self.measure}, mean over tasks"), (CLUSTERS, f"{self.measure} of clusters"))
        ]
        if self.presets is not None:
            panels.append(
                reports.CustomChart(
                    query={"summaryTable": {"tableKey": self._key(RESULTS)}},
                    chart_name=f"{self.presets}/{presets.HEATMAP}",
                    chart_fields={
                        "column": "layer",
                        "row": "task",
                        "value": "value",
                        "step": "step",
                        "measure": "measure",
                    },
                    chart_strings={"title": f"{self.measure} of each task at each layer", "measure": self.measure},
                )
            )
        return panels

    def answers(self) -> list[Any]:
        """How the model answers, on the probes and on what must not be lost; empty panels where neither is measured."""
        line = _library().LinePlot
        return [
            line(title=title, x=self._step, y=[self._key(f"{ROOT}/{key}{end}") for end in ("", "_low", "_high")])
            for title, key in (
                ("loss of answers (nats)", "answers/loss"),
                ("rise of the retention set's loss (nats)", "retention/loss_change"),
            )
        ]

    def heatmaps(self) -> list[Any]:
        """Pictures as a grid of step and run, so that runs stand side by side."""
        media = _library().MediaBrowser
        return [
            media(title=title, media_keys=[self._key(key)], mode="grid", grid_x_axis="step", grid_y_axis="run")
            for title, key in (
                ("curves over layers", CURVE),
                *((name.replace("_x_", " x ").replace("_", " "), key) for name, key in HEATMAPS.items()),
            )
        ]

    def cost(self) -> list[Any]:
        """What the measurements took."""
        line = _library().LinePlot
        return [
            line(title="seconds of a measurement", x=self._step, y=[self._key(SECONDS)]),
            line(title="share of the run's time", x=self._step, y=[self._key(SHARE_OF_RUN)]),
        ]

    def runs(self) -> list[Any]:
        """What differs in the runs' configurations and summaries."""
        return [_library().RunComparer(diff_only="split")]

    @property
    def _step(self) -> str:
        return self._key(STEP)

    def _key(self, key: str) -> str:
        return under(self.root, key)

    def _layers(self) -> str:
        return re.escape(self._key(layer_key(self.measure, 0)).removesuffix("00")) + r"\d+$"

    def _signals(self) -> str:
        names = "|".join(each.name for each in fields(Signals))
        return f"{re.escape(self.root)}/({names})/mean$"

    def _clusters(self) -> str:
        return re.escape(self._key(cluster_key(self.measure, ""))) + r"[^/]+$"


def placed(panels: list[Any]) -> list[Any]:
    """The panels side by side, two in a row, as a report does not do by itself."""
    layout = _library().Layout
    for number, panel in enumerate(panels):
        panel.layout = layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8)
    return panels


def _library() -> Any:
    return require("wandb_workspaces.reports.v2", "workspaces")
