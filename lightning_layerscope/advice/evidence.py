"""What the selectors look at: curves over the layers of a base model and of a short pilot run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_layerscope.advice.check import check_rows
from lightning_layerscope.advice.lora_ranks import equal_ranks
from lightning_layerscope.advice.selectors import all_layers, condition_ranking, signal_to_noise
from lightning_layerscope.advice.short_training import trained_adapter
from lightning_layerscope.advice.targets import Targets, weights_of
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.comparison.weight_updates import adapter_updates
from lightning_layerscope.extraction import HiddenStates, extract_hidden_states
from lightning_layerscope.functional import drift_per_update, linear_cka
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import TaskCollection
from lightning_layerscope.training.encoding import EncodedExample, collate, encode_examples
from lightning_layerscope.training.loss import answer_loss, device_of, mean_loss

#: Seed of the pilot run and its rows: apart from the trial's own seeds, which count from 0.
PILOT_SEED = 1000


@dataclass(frozen=True)
class Evidence:
    """Curves over layers 1..L, NaN where a value is undefined.

    Attributes:
        neighbour_similarity: CKA of layer l with layer l - 1 in the base model, mean over tasks.
        gradient_norm: Norm of the gradients of the target matrices, mean over batches of the tasks, in the base model.
        signal_to_noise: Kind of matrix to its ratio in each layer, in the base model.
        condition_ranking: Target matrices of the base model, the best conditioned first; empty without peft >= 0.21.
        drift: 1 - CKA(base, pilot), mean over tasks.
        drift_per_update: The same over the pilot's relative update.
        causal: Loss of the pilot with the layer put back, minus without, mean over tasks, in nats.
    """

    neighbour_similarity: tuple[float, ...]
    gradient_norm: tuple[float, ...]
    signal_to_noise: dict[str, tuple[float, ...]] = field(default_factory=dict)
    condition_ranking: tuple[str, ...] = ()
    drift: tuple[float, ...] = ()
    drift_per_update: tuple[float, ...] = ()
    causal: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evidence:
        """Read what ``dataclasses.asdict`` gave to JSON."""
        kinds = {kind: tuple(values) for kind, values in stored["signal_to_noise"].items()}
        curves = {key: tuple(value) for key, value in stored.items() if key != "signal_to_noise"}
        return cls(signal_to_noise=kinds, **curves)


def gather_evidence(
    model: Any,
    tokenizer: Any,
    tasks: TaskCollection,
    targets: Targets,
    recipe: TrialRecipe,
    *,
    prompts: int = 32,
    pilot: bool = True,
) -> Evidence:
    """Look at a base model and at one pilot run, on training rows alone.

    The pilot trains all layers at the trial's budget on a quarter of its rows.

    Args:
        model: The base model, without adapters.
        tokenizer: The tokenizer of the model.
        tasks: With a split ``"train"`` of at least ``prompts`` rows each.
        targets: The matrices that may get adapters.
        recipe: The recipe of the trial.
        prompts: Per task, for similarity and drift; half of them are scored for the causal curve.
        pilot: Whether to make the pilot run; without it its curves are empty.
    """
    probes = ProbeSet.from_tasks(
        tasks,
        tokenizer,
        examples_per_task=prompts,
        split="train",
        seed=PILOT_SEED,
        max_length=recipe.max_length,
        min_examples=4,
    )
    rows = _rows(tasks, tokenizer, probes, recipe)
    base = extract_hidden_states(model, probes, embeddings=True)
    similarity = neighbour_similarity(base)
    norms = gradient_norms(model, targets, rows, batch_size=recipe.batch_size)
    evidence = Evidence(
        tuple(similarity.tolist()),
        tuple(norms.tolist()),
        signal_curves(model, targets),
        _condition_ranking(model, targets),
    )
    if not pilot:
        return evidence
    short = replace(recipe, train_rows=max(4, recipe.train_rows // 4))
    ranks = equal_ranks(targets, all_layers(targets.num_layers), targets.budget(recipe.budget_layers, recipe.rank))
    with trained_adapter(model, tokenizer, tasks, targets, ranks, short, PILOT_SEED) as tuned:
        moved = drift(base, extract_hidden_states(tuned, probes, embeddings=True))
        updates = adapter_updates(tuned)
        check = check_rows(tuned, _some(rows, prompts // 2), ways=["alone"])
    return replace(
        evidence,
        drift=tuple(moved.tolist()),
        drift_per_update=tuple(drift_per_update(moved, updates).tolist()),
        causal=tuple(change.value for change in check.change("alone")),
    )


def neighbour_similarity(states: HiddenStates) -> Tensor:
    """CKA of every layer with the one before it, mean over tasks: ``(layers,)``, from states with the embeddings.

    Layer 1 is NaN where any task's prompts end in one and the same token, so that the embeddings do not vary.
    """
    values = [linear_cka(task[:-1].float(), task[1:].float()) for task in states.values()]
    return torch.stack(values).mean(dim=0)


def drift(before: HiddenStates, after: HiddenStates) -> Tensor:
    """1 - CKA of the states of two models, mean over tasks: ``(layers,)``, without the embeddings."""
    values = [1 - linear_cka(before[task][1:].float(), after[task][1:].float()) for task in before]
    return torch.stack(values).mean(dim=0)


def gradient_norms(model: nn.Module, targets: Targets, rows: Sequence[EncodedExample], *, batch_size: int) -> Tensor:
    """Norm of the answer loss's gradient in each layer's target matrices, mean over batches: ``(layers,)`` float64.

    No ``.grad`` is touched, and ``requires_grad`` is as before afterwards.
    """
    weights = [model.get_parameter(f"{module.name}.weight") for module in targets.modules]
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    norms: list[Tensor] = []
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        for start in range(0, len(rows), batch_size):
            batch = collate(rows[start : start + batch_size])
            loss = mean_loss(answer_loss(model, {key: value.to(device_of(model)) for key, value in batch.items()}))
            squares = torch.zeros(targets.num_layers, dtype=torch.float64)
            for module, gradient in zip(targets.modules, torch.autograd.grad(loss, weights), strict=True):
                squares[module.layer - 1] += gradient.double().square().sum().cpu()
            norms.append(squares.sqrt())
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
    return torch.stack(norms).mean(dim=0)


def signal_curves(model: nn.Module, targets: Targets) -> dict[str, tuple[float, ...]]:
    """Signal to noise of every target matrix: kind to its values in layers 1..L."""
    ratios = {kind: [math.nan] * targets.num_layers for kind in targets.kinds}
    weights = weights_of(model, targets)
    for module in targets.modules:
        ratios[module.kind][module.layer - 1] = signal_to_noise(weights[module.name])
    return {kind: tuple(values) for kind, values in ratios.items()}


def _condition_ranking(model: nn.Module, targets: Targets) -> tuple[str, ...]:
    try:
        return condition_ranking(weights_of(model, targets))
    except ImportError as error:  # one rule of many; it says so itself when it is asked for
        warnings.warn(f"layerscope: {error}; there is no evidence for 'condition-number'.", stacklevel=3)
        return ()


def _rows(tasks: TaskCollection, tokenizer: Any, probes: ProbeSet, recipe: TrialRecipe) -> list[EncodedExample]:
    """The probes' examples with their answers, tasks in turn, so that every batch holds several."""
    by_task = []
    for name, task in tasks.items():
        wanted = set(probes[name].example_ids)
        examples = [example for example in task.split("train") if example.id in wanted]
        by_task.append(encode_examples(name, examples, tokenizer, max_length=recipe.max_length))
    return [row for turn in zip(*by_task, strict=False) for row in turn]


def _some(rows: Sequence[EncodedExample], count: int) -> list[EncodedExample]:
    """The first so many rows of each task."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row.task] = seen.get(row.task, 0) + 1
        if seen[row.task] <= count:
            kept.append(row)
    return kept
