"""Stage ``results``: profiles, transitions, correlations, figures, table and report of the whole study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_layerscope import charts
from lightning_layerscope.study.engine.stage import Stage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.results.curves import StudySummary, signals, summarise, transitions
from lightning_layerscope.study.results.draw import draw
from lightning_layerscope.study.results.learning import learning_curves
from lightning_layerscope.study.results.markdown import markdown
from lightning_layerscope.study.results.page import write_page
from lightning_layerscope.study.results.statistics import correlate
from lightning_layerscope.study.results.study_results import DRIFT, StudyResults, gather
from lightning_layerscope.study.results.table import Means, beside_rows, task_rows
from lightning_layerscope.study.stages.check import CheckStage, gather_check
from lightning_layerscope.study.stages.compare import CompareStage
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.controls import CONTROLS, write_index
from lightning_layerscope.study.stages.data import DataStage
from lightning_layerscope.study.stages.records import read_record, write_record
from lightning_layerscope.study.stages.states import StatesStage

SUMMARY, TABLE, PAGE, CHECK = "summary.json", "table.md", "report.html", "layer_check.csv"


@dataclass(frozen=True)
class WrittenResults:
    """The results of a study, in files.

    Attributes:
        folder: Where they lie.
        summary: In numbers.
    """

    folder: Path
    summary: StudySummary


@dataclass(frozen=True, eq=False)
class ResultsStage(Stage[StudyContext, WrittenResults]):
    """Puts all comparisons together.

    Attributes:
        comparisons: One per task.
        checks: One per task where the plan asks for the causal check.
        data: The training rows of the tasks that have any.
        trained: Tasks that the multi-task model was trained on.
        study: Its name.
        map_layers: Layers whose tasks are drawn in a plane; empty: five of them.
        confidence: Nominal coverage of all intervals.
    """

    comparisons: tuple[CompareStage, ...]
    checks: tuple[CheckStage, ...]
    data: tuple[DataStage, ...]
    trained: tuple[str, ...]
    study: str
    map_layers: tuple[int, ...]
    confidence: float
    kind = "results"

    @property
    def name(self) -> str:
        """``results``."""
        return self.kind

    @property
    def measured_controls(self) -> list[tuple[StatesStage, bool]]:
        """The stages that measured controls of this study, and whether these stand beside the others."""
        groups = [(stage.controls, False) for stage in self.comparisons]
        groups += [(stage.beside, True) for stage in self.comparisons]
        return [(each, beside) for stages, beside in groups for each in stages if isinstance(each, StatesStage)]

    def settings(self) -> Mapping[str, Any]:
        """What is shown, and how."""
        return {
            "trained": list(self.trained),
            "study": self.study,
            "map_layers": list(self.map_layers),
            "confidence": self.confidence,
        }

    def run(self, context: StudyContext, folder: Path) -> None:
        """Write all files of the results, and the index of the controls that were trained."""
        results = gather(self.comparisons, self.data, self.trained, context.store)
        for role, profile in results.profiles.items():
            profile.to_parquet(folder / "profiles" / f"{role}.parquet")
        _write_rows(task_rows(results), folder / "tasks.csv")
        if beside := beside_rows(results):
            _write_rows(beside, folder / "budgets.csv")
        learned = learning_curves([stage for stage, _ in self.measured_controls], context.store)
        if len(learned):
            learned.to_csv(folder / "convergence.csv", index=False)
        (folder / TABLE).write_text(markdown(results), encoding="utf-8")
        cuts = transitions(results, self.confidence)
        (folder / "transitions.json").write_text(
            json.dumps({name: cut.to_dict() for name, cut in cuts.items()}, indent=1), encoding="utf-8"
        )
        table = signals(results, self.confidence)
        (folder / "signals.json").write_text(json.dumps(table.to_dict(), indent=1), encoding="utf-8")
        summary = summarise(results, cuts, table, name=self.study, figures=self._draw(results, folder))
        if self.checks:
            drift = dict(zip(results.names, 1 - results.profiles[DRIFT].matrix(), strict=True))
            check = gather_check(self.checks, context.store, drift, self.confidence)
            check.to_frame().to_csv(folder / CHECK, index=False)
            summary = replace(summary, layer_check=check.describe())
        write_record(summary, folder / SUMMARY)
        write_page(results, cuts, summary, context.plan, folder)
        write_index(self.measured_controls, context.store, folder / CONTROLS)

    def load(self, store: Store) -> WrittenResults:
        """The folder and the numbers."""
        folder = store.verified(self)
        return WrittenResults(folder, read_record(StudySummary, folder / SUMMARY))

    def _draw(self, results: StudyResults, folder: Path) -> dict[str, str]:
        correlations = correlate(results.values(), results.covariates())
        correlations.rows(results.layers).to_csv(folder / "correlations.csv", index=False)
        (folder / "figures").mkdir()
        captions = {}
        for name, chart, caption in draw(results, correlations, self.map_layers):
            target = folder / "figures" / name
            target.with_suffix(".png").write_bytes(charts.png(chart, scale=2, colours=256))
            target.with_suffix(".svg").write_text(charts.svg(chart), encoding="utf-8")
            target.with_suffix(".vl.json").write_text(json.dumps(charts.spec(chart)), encoding="utf-8")
            captions[name] = caption
        return captions


def _write_rows(rows: Sequence[Means], path: Path) -> None:
    names = [field.name for field in fields(rows[0])]
    # What a row is of comes first, then its numbers.
    order = sorted(names, key=lambda name: name not in ("task", "cluster", "control_budget"))
    pd.DataFrame([asdict(row) for row in rows])[order].to_csv(path, index=False)
