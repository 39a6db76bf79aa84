"""Which layers to train: every rule asked, and on request settled by a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from lightning_layerscope.advice.advice import Advice
from lightning_layerscope.advice.evidence import Evidence
from lightning_layerscope.advice.lora_ranks import equal_ranks
from lightning_layerscope.advice.rules import DEFAULT, NAMES, needs_pilot, select
from lightning_layerscope.advice.trial_file import BASE
from lightning_layerscope.advice.trial_recipe import TrialRecipe
from lightning_layerscope.advice.verdict import Verdict, judge
from lightning_layerscope.extraction import no_trace
from lightning_layerscope.study.engine.local import run_locally
from lightning_layerscope.study.engine.ray import RayOptions, run_on_ray
from lightning_layerscope.study.prepare.model_digest import model_digest
from lightning_layerscope.study.trial.context import (
    MakeTrialContext,
    TrialContext,
    model_folder,
    tasks_digest,
    weights_digest,
)
from lightning_layerscope.study.trial.stages import EvidenceStage, TrainingStage
from lightning_layerscope.tasks import TaskCollection, load_tasks


def advise(
    model: Any,
    tasks: TaskCollection | str | Path,
    budget: int,
    *,
    tokenizer: Any = None,
    rules: Sequence[str] = NAMES,
    trial: bool = False,
    seeds: int = 3,
    retention: TaskCollection | str | Path = "general",
    recipe: TrialRecipe | None = None,
    output_dir: str | Path = "advice",
    executor: Literal["local", "ray"] = "local",
    workers: int = 2,
    device: str = "cpu",
    confidence: float = 0.9,
    report: Callable[[str, str], None] = lambda stage, what: None,
) -> Advice:
    """Ask the rules of the literature which layers to train, and on request let short trainings decide.

    Without a trial the rules are listed with their scores and costs, and the default from trials on other models is
    advised. With ``trial=True`` every rule is trained on the tasks at equal trainable parameters, once per seed, and
    scored on held-out rows and on the retention set. What is finished lies in ``output_dir`` and is not made again.

    Args:
        model: Folder or hub name of the base model, or the model, which is as it was afterwards.
        tasks: With the splits ``"train"`` and ``"test"`` and answers, or a source of such tasks.
        budget: K, how many layers to train; K layers at the recipe's rank are the budget of parameters.
        tokenizer: Needed for a model in memory.
        rules: Which to ask (``advice.rules.NAMES``).
        trial: Whether to settle it.
        seeds: Trainings of each rule.
        retention: What must not be lost; ``"general"`` is the built-in set.
        recipe: How the short trainings are run; its ``budget_layers`` is replaced by ``budget``.
        output_dir: Folder of the results.
        executor: Run the trainings in this process, or on Ray.
        workers: On Ray, how many at a time on this machine.
        device: Where a model is loaded to.
        confidence: Nominal coverage of the trial's intervals, all comparisons together.
        report: Told of each stage and what became of it.

    Returns:
        An :class:`~lightning_layerscope.advice.advice.Advice`; it exports to peft, Axolotl and finetuning-scheduler.

    Raises:
        ImportError: When an extra is missing; the message holds the pip command.
        ValueError: For unknown rules, a budget that the model has not, or a model in memory on Ray.
    """
    unknown = sorted(set(rules) - set(NAMES))
    if unknown or not rules or seeds < 1:
        raise ValueError(f"expected 1 or more seeds and rules of {', '.join(NAMES)}; got {seeds}, {unknown or 'none'}.")
    trained, kept = (each if isinstance(each, TaskCollection) else load_tasks(each) for each in (tasks, retention))
    own = replace(recipe or TrialRecipe(), budget_layers=budget)
    name = model_folder(model)
    if name is None and (tokenizer is None or executor == "ray"):
        raise ValueError("a model in memory needs tokenizer= and runs in this process; give its folder for Ray.")
    make = MakeTrialContext(str(output_dir), name or "", trained, kept, own, device)
    context = TrialContext(make, None if name else (model, tokenizer))
    # A model in memory is in evaluation mode meanwhile, as one that is loaded, and as it was afterwards.
    with nullcontext() if name else no_trace(model), torch.enable_grad():
        digest = weights_digest(model) if name is None else model_digest(name, context.store)
        layers = context.targets.num_layers
        if not 1 <= budget <= layers:
            raise ValueError(f"expected a budget between 1 and the model's {layers} layers, got {budget}.")
        evidence_stage = EvidenceStage(digest, tasks_digest(trained), own, needs_pilot(rules))

        def tell(stage: Any, what: str) -> None:
            report(stage.name, what)

        run_locally([evidence_stage], context, tell)
        evidence = evidence_stage.load(context.store)
        selections, ranks, unavailable = _ask(rules, evidence, context)
        verdict = None
        if trial:
            digest = tasks_digest(kept)
            stages = [TrainingStage(evidence_stage, BASE, 0, digest)]
            stages += [
                TrainingStage(evidence_stage, rule, seed, digest) for seed in range(seeds) for rule in selections
            ]
            if executor == "ray":
                run_on_ray(stages, context.store, make, RayOptions(workers=workers), tell)
            else:
                run_locally(stages, context, tell)
            verdict = judge([stage.load(context.store) for stage in stages], confidence)
        chosen = _chosen(selections, verdict)
        return Advice(context.targets, selections, ranks, chosen, own.scaling, verdict, unavailable)


def _ask(rules: Sequence[str], evidence: Evidence, context: TrialContext) -> tuple[Any, Any, dict[str, str]]:
    """What each rule says, at equal ranks; rules that can say nothing are named with the reason."""
    recipe, targets = context.options.recipe, context.targets
    budget = targets.budget(recipe.budget_layers, recipe.rank)
    selections, ranks, unavailable = {}, {}, {}
    for rule in rules:
        try:
            selection = select(rule, evidence, targets, recipe, seed=0)
            ranks[rule] = equal_ranks(targets, selection, budget)
            selections[rule] = selection
        except ValueError as error:
            unavailable[rule] = str(error)
    if not selections:
        raise ValueError(f"no rule can be followed: {'; '.join(unavailable.values())}")
    return selections, ranks, unavailable


def _chosen(selections: Any, verdict: Verdict | None) -> str:
    if verdict is not None:
        return verdict.standings[0].selector
    return DEFAULT if DEFAULT in selections else next(iter(selections))
