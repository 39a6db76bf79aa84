"""What a study will cost: trainings, parameters, bytes, and time from a short calibration."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from lightning_layerscope.study.graph import StudyGraph, measures_control
from lightning_layerscope.study.plan import StudyPlan
from lightning_layerscope.study.runner import StudyRunner
from lightning_layerscope.study.stage_data import template_of
from lightning_layerscope.study.stage_states import MOST_IN_GRAMS
from lightning_layerscope.study.store import Store

_SAMPLE = 64
_PER_STAGE = 0.5
"""Seconds for what a stage costs besides: starting a trainer, reading and writing files."""


@dataclass(frozen=True)
class Estimate:
    """Cost of what is still to do.

    Attributes:
        stages: Stages in all.
        done: Of them, those whose results are there.
        trainings: Still to do.
        measurements: Models times tasks still to measure.
        parameters: Of the base model.
        trainable: Parameters per training.
        row_passes: Training rows times epochs, over all trainings still to do.
        prompts: Prompts still to measure, over all models.
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
    bytes: int
    seconds: float

    def describe(self) -> str:
        """In lines, for people."""
        lines = [f"stages          {self.stages} ({self.done} done)", f"trainings       {self.trainings} to do"]
        if self.trainings:
            lines.append(f"parameters      {self.trainable:,} of {self.parameters:,} trained in each")
            lines.append(f"rows to train   {self.row_passes:,} (epochs counted)")
        else:
            lines.append(f"parameters      {self.parameters:,}")
        lines.append(f"measurements    {self.measurements} of a model on a task, {self.prompts:,} prompts")
        lines.append(f"disk            about {_bytes(self.bytes)} more")
        lines.append(f"time            about {_duration(self.seconds)} in one process (from a short calibration)")
        return "\n".join(lines)


def estimate(plan: StudyPlan, graph: StudyGraph, store: Store, runner: StudyRunner, *, timed: bool = True) -> Estimate:
    """Count what is to do and, when `timed`, run a few batches of it to know how long it will take."""
    todo = [stage for stage in graph.stages.values() if not store.done(stage)]
    trainings = [stage for stage in todo if stage.trains]
    measurements = [stage for stage in todo if stage.kind == "states"]
    rows = {name: _train_rows(graph, name) for name in runner.tasks}
    shared = sum(rows[name] for name in graph.trained)
    passes = 0
    for stage in trainings:
        same = stage.kind == "multitask" or stage.settings.get("budget") == "equal_steps"
        passes += plan.training.epochs * (shared if same else rows[stage.name.partition(":")[2].rpartition("@")[0]])
    prompts = {name: _prompts(plan, runner, name) for name in runner.tasks}
    probed = [prompts[stage.name.split(":", 2)[2]] for stage in measurements]
    base = runner.room.base()
    parameters = sum(parameter.numel() for parameter in base.parameters())
    trainable = _trainable(plan, base) if plan.trains else 0
    layers, width = base.config.num_hidden_layers, base.config.hidden_size
    per_entry = 2 if plan.bank_dtype == "float16" else 4
    # Controls are copied: into the results, or from those of another study.
    copied = [
        prompts[stage.name.split(":", 2)[2]] for stage in todo if stage.kind == "import" or measures_control(stage)
    ]
    written = sum(layers * (n * n // 2 * per_entry if n <= MOST_IN_GRAMS else n * width * 4) for n in probed + copied)
    written += len(trainings) * trainable * 4
    written += sum(stage.kind == "data" for stage in todo) * 2_000_000
    if timed and (trainings or measurements):
        with runner.threads():
            per_training_row, per_prompt = calibrate(plan, runner)
    else:
        per_training_row = per_prompt = 0.0
    monitored = 2 * min(plan.training.monitor_examples, 64) * (len(graph.trained) + len(trainings)) if trainings else 0
    # A held-out row costs a pass with logits beside the pass for its states.
    seconds = passes * per_training_row + (2.5 * sum(probed) + monitored) * per_prompt + len(todo) * _PER_STAGE
    return Estimate(
        len(graph.stages),
        len(graph.stages) - len(todo),
        len(trainings),
        len(measurements),
        parameters,
        trainable,
        passes,
        sum(probed),
        written,
        seconds,
    )


def calibrate(plan: StudyPlan, runner: StudyRunner) -> tuple[float, float]:
    """Seconds per training row and per probe prompt, from a sample over all tasks; the model is left as it was."""
    from lightning_layerscope.extraction import no_trace
    from lightning_layerscope.training.encoding import collate, encode_examples, padding_id
    from lightning_layerscope.training.loss import answer_loss, mean_loss

    train, test = plan.tasks.train_split, plan.tasks.test_split
    each = -(-_SAMPLE // len(runner.tasks))
    model, tokenizer = runner.room.base(), runner.tokenizer
    rows = []
    for name, task in runner.tasks.items():
        examples = [e for e in (task.splits.get(train) or task.splits.get(test, ()))[:each] if e.output.strip()]
        if examples:
            rows += encode_examples(
                name, examples, tokenizer, template=template_of(plan), max_length=plan.training.max_length
            )
    if not rows:
        return 0.0, 0.0
    rows.sort(key=len)
    size = plan.training.batch_size if plan.trains else 8
    batches = [collate(rows[start : start + size], padding_id(tokenizer)) for start in range(0, len(rows), size)]
    batches = [{key: value.to(runner.room.device) for key, value in batch.items()} for batch in batches]
    # A few of all lengths.
    batches = batches[:: max(1, len(batches) // 8)]
    seen = sum(len(batch["input_ids"]) for batch in batches)
    with no_trace(model):
        answer_loss(model, batches[0])
        begun = time.monotonic()
        for batch in batches:
            answer_loss(model, batch)
        per_prompt = (time.monotonic() - begun) / seen
    if not plan.trains:
        return 0.0, per_prompt
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    embeddings = model.get_input_embeddings()
    # Adapters need the gradients of activations, not of weights; asking for the embeddings' alone costs about that.
    for parameter in model.parameters():
        parameter.requires_grad_(plan.training.method == "full")
    embeddings.weight.requires_grad_(True)
    try:
        torch.autograd.backward(mean_loss(answer_loss(model, batches[0])))
        begun = time.monotonic()
        for batch in batches:
            torch.autograd.backward(mean_loss(answer_loss(model, batch)))
        per_row = (time.monotonic() - begun) / seen
    finally:
        model.zero_grad(set_to_none=True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
    return per_row * 1.15, per_prompt


def _train_rows(graph: StudyGraph, task: str) -> int:
    return int(graph.stages[f"data:{task}"].settings["train_examples"])


def _prompts(plan: StudyPlan, runner: StudyRunner, task: str) -> int:
    available = len(runner.tasks[task].splits.get(plan.tasks.test_split, ()))
    wanted = plan.probes.examples_per_task
    return available if wanted == "all" else min(available, wanted)


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
