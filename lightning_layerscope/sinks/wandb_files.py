"""What goes to W&B besides rows: configuration, the table's cells, and artifacts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.sinks.log_rows import profile_lines

if TYPE_CHECKING:
    import pandas as pd

    from lightning_layerscope.measurements import Measurement
    from lightning_layerscope.profiles import LayerProfile, ProfileMeta
    from lightning_layerscope.sinks.keys import KeyPlan
    from lightning_layerscope.sinks.picture import Picture

SCHEMA = 3
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
    "measure",
    "estimator",
    "cadence",
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


def profile_chart(measurement: Measurement, plan: KeyPlan, curve: str) -> Any:
    """W&B's own chart of a profile over the layers: one line for the mean over tasks, its interval, every cluster.

    Args:
        measurement: What to show.
        plan: Of the run's keys.
        curve: ``"init"`` or ``"final"``.
    """
    import wandb

    lines = profile_lines(measurement.profile, measurement.step, plan)
    return wandb.plot.line_series(
        xs=[layers for layers, _ in lines.values()],
        ys=[values for _, values in lines.values()],
        keys=list(lines),
        title=f"{plan.measure} over layers at step {measurement.step}",
        xname="layer",
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


def results_artifact(run_id: str, profile: LayerProfile, status: str, folder: Path) -> Any:
    """All rows of the run as one parquet file.

    Args:
        run_id: of the W&B run.
        profile: of the run.
        status: how the run ended.
        folder: for the file, until it is uploaded.
    """
    import wandb

    meta = profile.meta.to_dict()
    keys = ("measure", "estimator", "num_layers", "examples_digest", "tokens_digest", "reference", "reference_digest")
    known = {key: meta[key] for key in keys} | {"status": status, "steps": profile.steps, "rows": len(profile)}
    artifact = wandb.Artifact(_name(f"layerscope-results-{run_id}"), type="layerscope-results", metadata=known)
    artifact.add_file(str(profile.to_parquet(folder / "profile.parquet")), name="profile.parquet")
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
        _name(f"layerscope-reference-{digest[:16] or 'unknown'}"), type="layerscope-reference", metadata=known
    )
    for file in files:
        artifact.add_file(str(file), name=file.name)
    return artifact


def prompts_artifact(file: Path, meta: ProfileMeta) -> Any:
    """The probes with their texts: only where the user asked for it."""
    import wandb

    digest = meta.examples_digest[:16] or "unknown"
    artifact = wandb.Artifact(_name(f"layerscope-probes-{digest}"), type="layerscope-probes")
    artifact.add_file(str(file), name="probes.json")
    return artifact


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)
