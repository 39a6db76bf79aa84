"""What a study will cost: trainings, parameters, bytes, and time from a short calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning_layerscope.extraction import find_layers
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.prepare.calibration import calibrate
from lightning_layerscope.study.prepare.graph import StudyGraph
from lightning_layerscope.study.stages.check import CheckStage
from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.data import DataStage
from lightning_layerscope.study.stages.imported import ImportedStage
from lightning_layerscope.study.stages.measured import MOST_IN_GRAMS
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.study.stages.train import TrainStage
from lightning_layerscope.wording import count

_PER_STAGE = 0.5
"""Seconds for what a stage costs besides: starting a trainer, reading and writing files."""
_ROWS_BYTES = 2_000_000
"""Of one task's rows, about."""


@dataclass(frozen=True)
class CostEstimate:
    """Cost of what is still to do.

    Attributes:
        stages: Stages in all.
        done: How many of them have their results already.
        trainings: Still to do.
        measurements: Models times tasks still to measure.
        parameters: Number of parameters of the base model.
        trainable: Parameters per training.
        row_passes: Training rows times epochs, over all trainings still to do.
        prompts: Prompts still to measure, over all models.
        scored_rows: Held-out rows still to score, over all models.
        bounded: How many of the trainings end earlier when they converge; their bound is counted.
        bytes: To be written.
        seconds: From the calibration; one process, as many at once divide it.
    """

    stages: int
    done: int
    trainings: int
    measurements: int
    parameters: int
    trainable: int
    row_passes: int
    prompts: int
    scored_rows: int
    bounded: int
    bytes: int
    seconds: float

    def describe(self) -> str:
        """In lines, for people."""
        lines = [f"stages          {self.stages} ({self.done} done)", f"trainings       {self.trainings} to do"]
        if self.trainings:
            lines.append(f"parameters      {self.trainable:,} of {self.parameters:,} trained in each")
            most = (
                f" at most: {count(self.bounded, 'training ends', 'trainings end')} at convergence"
                if self.bounded
                else ""
            )
            lines.append(f"rows to train   {self.row_passes:,} (epochs counted){most}")
        else:
            lines.append(f"parameters      {self.parameters:,}")
        lines.append(
            f"measurements    {self.measurements} of a model on a task, {count(self.prompts, 'prompt')}, "
            f"{count(self.scored_rows, 'held-out row')}"
        )
        lines.append(f"disk            about {_bytes(self.bytes)} more")
        lines.append(f"time            about {_duration(self.seconds)} in one process (from a short calibration)")
        return "\n".join(lines)


def estimate(graph: StudyGraph, context: StudyContext, *, timed: bool = True) -> CostEstimate:
    """Count what is to do and, when ``timed``, run a few batches of it to know how long it will take."""
    plan, todo = context.plan, [stage for stage in graph.stages.values() if not context.store.done(stage)]
    trainings = [stage for stage in todo if isinstance(stage, TrainStage)]
    measured = [stage for stage in todo if isinstance(stage, StatesStage)]
    imported = [stage for stage in todo if isinstance(stage, ImportedStage)]
    passes = sum(_row_passes(stage, context) for stage in trainings)
    prompts = {name: _prompts(plan, context, name) for name in context.tasks}
    probed = [prompts[stage.task] for stage in measured]
    scored = sum(_scored(plan, context, stage.task, prompts[stage.task]) for stage in measured)
    base = context.models.base()
    trainable = _trainable(plan, base) if plan.trains else 0
    # Controls are copied: into the results, or from those of another study.
    copied = [prompts[stage.task] for stage in imported]
    copied += [prompts[stage.task] for stage in measured if isinstance(stage.role, Control)]
    written = sum(_bank_bytes(count, base.config, plan) for count in probed + copied)
    written += len(trainings) * trainable * 4
    written += sum(isinstance(stage, DataStage) for stage in todo) * _ROWS_BYTES
    per_training_row = per_prompt = 0.0
    if timed and (trainings or measured):
        with context.threads():
            per_training_row, per_prompt = calibrate(context)
    monitored = sum(2 * min(plan.training.monitor_examples, 64) * len(stage.data) for stage in trainings)
    judged = sum(stage.judged_by.count * (1 + _epochs(stage)) for stage in trainings if stage.judged_by is not None)
    # Each way goes through half of the layers on average, once for every layer.
    checked = sum(stage.rows * len(stage.ways) for stage in todo if isinstance(stage, CheckStage))
    scored += checked * (find_layers(base).num_layers + 1) // 2
    # A pass over a row with its logits costs half as much again as one over a prompt for its states.
    seconds = (sum(probed) + 1.5 * (scored + judged) + monitored) * per_prompt
    seconds += passes * per_training_row + len(todo) * _PER_STAGE
    return CostEstimate(
        stages=len(graph.stages),
        done=len(graph.stages) - len(todo),
        trainings=len(trainings),
        measurements=len(measured),
        parameters=sum(parameter.numel() for parameter in base.parameters()),
        trainable=trainable,
        row_passes=passes,
        prompts=sum(probed),
        scored_rows=scored,
        bounded=sum(stage.judged_by is not None for stage in trainings),
        bytes=written,
        seconds=seconds,
    )


def _row_passes(stage: TrainStage, context: StudyContext) -> int:
    """Rows times epochs; those of the training whose steps are taken, where one paces it."""
    source = stage if stage.paced_by is None else stage.paced_by
    return _epochs(source) * sum(_available(each, context) for each in source.data)


def _epochs(stage: TrainStage) -> int:
    recipe = stage.recipe.training
    return recipe.epochs if stage.judged_by is None else recipe.control_max_epochs


def _available(stage: DataStage, context: StudyContext) -> int:
    return min(stage.count, len(context.tasks[stage.task].splits.get(stage.split, ())))


def _prompts(plan: StudyPlan, context: StudyContext, task: str) -> int:
    available = len(context.tasks[task].splits.get(plan.tasks.test_split, ()))
    wanted = plan.probes.examples_per_task
    return available if wanted == "all" else min(available, wanted)


def _scored(plan: StudyPlan, context: StudyContext, task: str, prompts: int) -> int:
    available, wanted = len(context.tasks[task].splits.get(plan.tasks.test_split, ())), plan.probes.scored_rows
    return prompts if wanted is None else available if wanted == "all" else min(available, wanted)


def _bank_bytes(prompts: int, config: Any, plan: StudyPlan) -> int:
    layers, width = config.num_hidden_layers, config.hidden_size
    per_entry = 2 if plan.bank_dtype == "float16" else 4
    grams = prompts * prompts // 2 * per_entry
    return int(layers * (grams if prompts <= MOST_IN_GRAMS else prompts * width * 4))


def _trainable(plan: StudyPlan, base: Any) -> int:
    recipe = plan.training
    if recipe.method == "full":
        return sum(parameter.numel() for parameter in base.parameters())
    linear = [part for name, part in base.named_modules() if name.rsplit(".", 1)[-1] in recipe.target_modules]
    return sum(recipe.rank * (part.in_features + part.out_features) for part in linear)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
