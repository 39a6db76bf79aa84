"""A study's results as one W&B run: figures, the table, curves over layers, profiles and banks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from lightning_layerscope.sinks.wandb_files import plain_rows


class LayerCurve(Protocol):
    """A measure over layers, over all tasks; None where it is undefined."""

    @property
    def mean(self) -> Sequence[float | None]:
        """Over tasks."""

    @property
    def median(self) -> Sequence[float | None]:
        """Over tasks."""


@dataclass(frozen=True)
class StudyRun:
    """The W&B run that results are logged to.

    Attributes:
        project: Of W&B.
        entity: Of W&B; None: the user's default.
        mode: ``"online"`` or ``"offline"``.
        group: Which the trainings' runs are in, too.
        id: The same results are logged to the same run again.
        config: Of the run.
    """

    project: str
    entity: str | None
    mode: Literal["online", "offline"]
    group: str
    id: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class StudyLog:
    """What is logged of a study; prompt texts are in none of it.

    Attributes:
        folder: Of the results: ``tasks.csv``, ``figures/<name>.png``, ``report.html``, ``profiles/*.parquet``.
        layers: Numbers of the layers.
        curves: Role to its curve.
        figures: Name to caption.
        counts: Key below ``study/`` to a number or a sentence of the run's summary.
        banks: Name to a stored reference bank and its digest; one artifact holds them.
        controls: The published controls, laid out so that another plan can name the downloaded folder; None without.
    """

    folder: Path
    layers: Sequence[int]
    curves: Mapping[str, LayerCurve]
    figures: Mapping[str, str]
    counts: Mapping[str, int | str]
    banks: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    controls: Path | None = None


def log_study(log: StudyLog, target: StudyRun) -> None:
    """Log a study's results."""
    import pandas as pd
    import wandb

    run = wandb.init(
        project=target.project,
        entity=target.entity,
        mode=target.mode,
        group=target.group,
        job_type="results",
        name=f"{target.group} results",
        id=target.id,
        resume="allow",
        dir=str(log.folder.parent),
        config=dict(target.config),
    )
    try:
        _log_curves(run, log)
        table = pd.read_csv(log.folder / "tasks.csv")
        media: dict[str, Any] = {"study/tasks": wandb.Table(columns=list(table.columns), data=plain_rows(table))}
        for name, caption in log.figures.items():
            media[f"study/{name}"] = wandb.Image(str(log.folder / "figures" / f"{name}.png"), caption=caption)
        media["study/report"] = wandb.Html((log.folder / "report.html").read_text(encoding="utf-8"), inject=False)
        run.log(media)
        run.summary.update({f"study/{key}": value for key, value in log.counts.items()})
        results = wandb.Artifact(f"study-results-{target.id[-16:]}", type="study-results")
        for path in sorted(log.folder.glob("profiles/*.parquet")):
            results.add_file(str(path), name=path.name)
        run.log_artifact(results)
        run.log_artifact(bank_artifact(log, target.id))
    finally:
        run.finish()


def _log_curves(run: Any, log: StudyLog) -> None:
    run.define_metric("study/layer")
    for role in log.curves:
        for kind in ("mean", "median"):
            run.define_metric(f"study/cka/{role}/{kind}", step_metric="study/layer")
    for position, layer in enumerate(log.layers):
        row = {
            f"study/cka/{role}/{kind}": values[position]
            for role, curve in log.curves.items()
            for kind, values in (("mean", curve.mean), ("median", curve.median))
            if values[position] is not None
        }
        run.log({"study/layer": layer, **row})


def bank_artifact(log: StudyLog, run_id: str) -> Any:
    """All banks as one artifact with their digests."""
    import wandb

    artifact = wandb.Artifact(f"study-banks-{run_id[-16:]}", type="layerscope-references")
    names = safe_names(list(log.banks))
    for name, (bank, _) in log.banks.items():
        artifact.add_dir(str(bank), name=f"banks/{names[name]}")
    if log.controls is not None:
        artifact.add_dir(str(log.controls), name="controls")
    artifact.metadata = {
        "digests": {name: digest for name, (_, digest) in log.banks.items()},
        "folders": {name: f"banks/{folder}" for name, folder in names.items()},
    }
    return artifact


def safe_names(names: Sequence[str]) -> dict[str, str]:
    """Each name to a folder name of its own, of letters, digits, ``_``, ``-`` and single dots inside.

    Names of tasks come from files and hubs: ``a:b`` may stand beside ``a/b``, and ``..`` is a name like any other.
    """
    taken: set[str] = set()
    folders = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_-]+", ".", name).strip(".")[:80] or "unnamed"
        folder, number = plain, 2
        while folder.lower() in taken:
            folder, number = f"{plain}.{number}", number + 1
        taken.add(folder.lower())
        folders[name] = folder
    return folders
