"""A study's results in Weights & Biases: after the files, and again whenever it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning_layerscope.sinks.wandb_study import StudyLog, StudyRun, log_study
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.results.results_stage import ResultsStage
from lightning_layerscope.study.stages.controls import CONTROLS


def log_results(stage: ResultsStage, store: Store, plan: StudyPlan, folder: Path) -> None:
    """Log finished results to the run of W&B that they belong to; nothing where the plan names none.

    Args:
        stage: The finished stage.
        store: The store of the study.
        plan: The study's plan.
        folder: The published results.
    """
    if plan.wandb is None:
        return
    target = StudyRun(
        project=plan.wandb.project,
        entity=plan.wandb.entity,
        mode=plan.wandb.mode,
        group=plan.name,
        id=f"results-{stage.fingerprint[:16]}",
        config={"role": "results", "study": plan.name, "plan": plan.model_dump(mode="json", exclude={"wandb"})},
    )
    log_study(study_log(stage, store, folder), target)


def study_log(stage: ResultsStage, store: Store, folder: Path) -> StudyLog:
    """What is logged of finished results."""
    summary = stage.load(store).summary
    log = StudyLog(
        folder=folder,
        layers=summary.layers,
        curves=summary.curves,
        figures=summary.figures,
        counts={
            "not_learned": len(summary.not_learned),
            "guessing": len(summary.guessing),
            "under_trained": len(summary.under_trained),
            **{f"transition/{name}": words for name, words in summary.transitions.items()},
            **{f"verdict/{words}": count for words, count in summary.verdicts.items()},
        },
        controls=folder / CONTROLS if (folder / CONTROLS).is_dir() else None,
    )
    banks = {}
    for comparison in stage.comparisons:
        for states in (comparison.base, comparison.tuned):
            measured = states.load(store)
            banks[states.name] = (measured.bank_folder, measured.bank().digest)
    return replace(log, banks=banks)
