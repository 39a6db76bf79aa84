"""A study's results as one W&B run: figures, the table, curves over layers, profiles and banks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.sinks.wandb_files import plain_rows


def log_study(
    folder: Path,
    *,
    project: str,
    entity: str | None,
    mode: Literal["online", "offline"],
    group: str,
    run_id: str,
    config: Mapping[str, Any],
    banks: Mapping[str, Path],
    stages: Path,
) -> None:
    """Log what the stage ``results`` wrote. Prompt texts are in none of it.

    Args:
        folder: Of the results.
        project: Of W&B.
        entity: Of W&B; the user's default without one.
        mode: ``"online"`` or ``"offline"``.
        group: Which the trainings' runs are in, too.
        run_id: The same results are logged to the same run again.
        config: Of the run.
        banks: Stage name to a stored reference bank; one artifact holds them and the controls, with all digests.
        stages: Holds the folders that ``controls/controls.json`` names.
    """
    import pandas as pd
    import wandb

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    run = wandb.init(
        project=project,
        entity=entity,
        mode=mode,
        group=group,
        job_type="results",
        name=f"{group} results",
        id=run_id,
        resume="allow",
        dir=str(folder.parent),
        config=dict(config),
    )
    try:
        run.define_metric("study/layer")
        for role in summary["curves"]:
            for kind in ("mean", "median"):
                run.define_metric(f"study/cka/{role}/{kind}", step_metric="study/layer")
        for place, layer in enumerate(summary["layers"]):
            row = {
                f"study/cka/{role}/{kind}": values[place]
                for role, by_kind in summary["curves"].items()
                for kind, values in by_kind.items()
                if values[place] is not None
            }
            run.log({"study/layer": layer, **row})
        table = pd.read_csv(folder / "tasks.csv")
        media: dict[str, Any] = {"study/tasks": wandb.Table(columns=list(table.columns), data=plain_rows(table))}
        for name, caption in summary["figures"].items():
            media[f"study/{name}"] = wandb.Image(str(folder / "figures" / f"{name}.png"), caption=caption)
        media["study/report"] = wandb.Html((folder / "report.html").read_text(encoding="utf-8"), inject=False)
        run.log(media)
        run.summary.update(
            {
                "study/not_learned": len(summary["not_learned"]),
                **{f"study/transition/{name}": words for name, words in summary["transitions"].items()},
                **{f"study/verdict/{words}": count for words, count in summary["verdicts"].items()},
            }
        )
        results = wandb.Artifact(f"study-results-{run_id[-16:]}", type="study-results")
        for path in sorted(folder.glob("profiles/*.parquet")):
            results.add_file(str(path), name=path.name)
        run.log_artifact(results)
        run.log_artifact(_bank_artifact(folder, stages, banks, run_id))
    finally:
        run.finish()


def _bank_artifact(folder: Path, stages: Path, banks: Mapping[str, Path], run_id: str) -> Any:
    import wandb

    digests = {}
    artifact = wandb.Artifact(f"study-banks-{run_id[-16:]}", type="layerscope-references")
    for name, bank in banks.items():
        manifest = json.loads((bank / "manifest.json").read_text(encoding="utf-8"))
        digests[name] = manifest["digest"]
        artifact.add_dir(str(bank), name=name.replace(":", "/"))
    index = folder / "controls" / "controls.json"
    if index.is_file():
        # Laid out as in the published results, so that another plan can name the downloaded folder.
        artifact.add_file(str(index), name="controls/controls.json")
        for entry in json.loads(index.read_text(encoding="utf-8"))["controls"]:
            digests[f"control:{entry['task']}@{entry['seed']}"] = entry["digest"]
            artifact.add_dir(str(stages / entry["folder"] / "bank"), name=f"controls/{entry['folder']}/bank")
            measured = stages / entry["folder"] / "measured.json"
            artifact.add_file(str(measured), name=f"controls/{entry['folder']}/measured.json")
    artifact.metadata = {"digests": digests}
    return artifact
