"""What goes to W&B besides rows: configuration, the table's cells, and artifacts."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.sinks.log_rows import CHART_COLUMNS, cluster_rows, profile_rows

if TYPE_CHECKING:
    import pandas as pd

    from lightning_layerscope.measurements import Measurement
    from lightning_layerscope.profiles import LayerProfile, ProfileMeta
    from lightning_layerscope.sinks.keys import KeyPlan
    from lightning_layerscope.sinks.picture import Picture

SCHEMA = 4
"""Of the logged keys; raised when their meaning changes."""

_CONFIG = (
    "role",
    "num_layers",
    "tasks",
    "clusters",
    "examples_digest",
    "tokens_digest",
    "reference",
    "reference_digest",
    "reference_artifact",
    "measure",
    "estimator",
    "cadence",
    "signals",
    "retention_tolerance",
)
"""These and no others are taken from a run's configuration: prompts cannot slip through."""


def config(configured: Mapping[str, Any], meta: ProfileMeta | None) -> dict[str, Any]:
    """The configuration to log: the run's own values, the profile's where it has none.

    Args:
        configured: of the run's record.
        meta: of the profile; None before the first measurement.
    """
    measured = {} if meta is None else meta.to_dict()
    config: dict[str, Any] = {"schema": SCHEMA, "role": "training"}
    for key in _CONFIG:
        value = configured.get(key, measured.get(key))
        if value is not None:
            config[key] = dict(value) if isinstance(value, Mapping) else value
    tasks = measured.get("tasks") or config.get("tasks")
    if isinstance(tasks, list | tuple):
        config["tasks"] = [str(task) for task in tasks]
    if meta is not None and meta.clusters:
        config["clusters"] = dict(meta.clusters)
    return config


def profile_chart(measurement: Measurement, plan: KeyPlan, line: str) -> Any:
    """W&B's own chart of the mean over tasks over the layers.

    It has one line, of the run's name, so that the charts of several runs lie over each other. The interval is in the
    numbers below the chart, for presets that draw it.

    Args:
        measurement: What to show.
        plan: Of the run's keys.
        line: Name of the line.
    """
    return _chart(profile_rows(measurement, line), f"{plan.measure} over layers, mean over tasks")


def cluster_chart(measurement: Measurement, plan: KeyPlan) -> Any:
    """W&B's own chart of the mean over all tasks and that of every cluster, over the layers."""
    return _chart(cluster_rows(measurement, plan), f"{plan.measure} over layers at step {measurement.step}")


def _chart(rows: list[list[Any]], title: str) -> Any:
    import wandb

    # That any column may lack a value takes W&B twice the time.
    lacking = [any(row[column] is None for row in rows) for column in range(len(CHART_COLUMNS))]
    return wandb.plot_table(
        "wandb/lineseries/v0",
        wandb.Table(columns=list(CHART_COLUMNS), data=rows, optional=lacking),
        {"step": "layer", "lineKey": "line", "lineVal": "value"},
        {"title": title, "xname": "layer"},
    )


def images(pictures: Sequence[Picture], folder: Path) -> dict[str, list[Any]]:
    """Pictures as W&B's images, by key.

    Args:
        pictures: Finished PNG files.
        folder: For them, until they are logged.
    """
    import wandb

    found: dict[str, list[Any]] = {}
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.png"
        path.write_bytes(picture.png)
        found.setdefault(picture.key, []).append(wandb.Image(str(path), caption=picture.caption))
    return found


def plain_rows(frame: pd.DataFrame) -> list[list[Any]]:
    """Rows of a table as plain values; undefined ones are ``None``."""
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def results_artifact(name: str, profile: LayerProfile, status: str, *, folder: Path | None, report: bool) -> Any:
    """The rows of the run as one parquet file, and from its results' folder the matrices and, where asked, the report.

    Args:
        name: of the artifact.
        profile: of the run.
        status: how the run ended.
        folder: of the run's results; None where it has none.
        report: add the HTML report.
    """
    import wandb

    meta = profile.meta.to_dict()
    keys = ("measure", "estimator", "num_layers", "examples_digest", "tokens_digest", "reference", "reference_digest")
    known = {key: meta[key] for key in keys} | {"status": status, "steps": profile.steps, "rows": len(profile)}
    artifact = wandb.Artifact(artifact_name(name), type="layerscope-results", metadata=known)
    with tempfile.TemporaryDirectory() as passing:  # of a file W&B takes a copy
        file = profile.to_parquet(Path(passing) / "profile.parquet")
        artifact.add_file(str(file), name="profile.parquet")
    if folder is not None and (folder / "matrices").is_dir():
        artifact.add_dir(str(folder / "matrices"), name="matrices")
    if folder is not None and report and (folder / "report.html").is_file():
        artifact.add_file(str(folder / "report.html"), name="report.html")
    return artifact


def reference_artifact(folder: Path, meta: ProfileMeta) -> Any:
    """A stored reference bank, named by its digest, so that the same bank is uploaded once.

    Raises:
        FileNotFoundError: if the folder holds no bank.
    """
    import wandb

    files = sorted(file for file in folder.glob("*") if file.suffix in (".safetensors", ".json")) if folder else []
    if not any(file.suffix == ".safetensors" for file in files):
        raise FileNotFoundError(
            f"expected a reference bank (safetensors) in {folder}, got none; write it with bank.save"
        )
    digest = meta.reference_digest
    known = {key: getattr(meta, key) for key in ("reference", "reference_digest", "examples_digest", "tokens_digest")}
    artifact = wandb.Artifact(
        artifact_name(f"layerscope-reference-{digest[:16] or 'unknown'}"), type="layerscope-reference", metadata=known
    )
    for file in files:
        artifact.add_file(str(file), name=file.name)
    return artifact


def prompts_artifact(file: Path, meta: ProfileMeta) -> Any:
    """The probes with their texts: only where the user asked for it."""
    import wandb

    digest = meta.examples_digest[:16] or "unknown"
    artifact = wandb.Artifact(artifact_name(f"layerscope-probes-{digest}"), type="layerscope-probes")
    artifact.add_file(str(file), name="probes.json")
    return artifact


def artifact_name(text: str) -> str:
    """A name of the letters that W&B's artifacts may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)
