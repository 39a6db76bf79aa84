"""The causal check of two models, from their folders or in memory, beside their drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from lightning_layerscope.advice.check import WAYS, LayerCheck, check_rows
from lightning_layerscope.advice.restored import check_alike
from lightning_layerscope.extraction import HiddenStates, extract_hidden_states, find_layers
from lightning_layerscope.functional import linear_cka
from lightning_layerscope.monitor.adapters import adapters_off
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import PromptTemplate, TaskCollection, load_tasks
from lightning_layerscope.training import load_model
from lightning_layerscope.training.encoding import encode_examples
from lightning_layerscope.training.loading import is_adapter, tokenizer_beside


def check_layers(
    base: str | Path | nn.Module | None,
    tuned: str | Path | nn.Module,
    tasks: TaskCollection | str | Path,
    *,
    tokenizer: Any = None,
    rows_per_task: int = 16,
    split: str = "test",
    seed: int = 0,
    max_length: int = 512,
    template: PromptTemplate | None = None,
    ways: Sequence[str] = WAYS,
    confidence: float = 0.9,
    device: str | None = None,
    max_tokens_per_batch: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> LayerCheck:
    """Put the layers of a tuned model back to base, and see what that does to the answers.

    Every layer alone, and layers cumulatively from both ends: the change of the held-out loss per task, with paired
    intervals over rows, beside how far the layer's states drifted. Layers whose return changes nothing need not have
    been trained. Both models are bitwise what they were afterwards.

    Args:
        base: The base model, its folder or hub name; None where ``tuned`` carries adapters, whose base is itself with
            them off.
        tuned: The tuned model, its folder or name, or the folder of a PEFT adapter, which is put on ``base`` where that
            is a folder or a name.
        tasks: With answers, or a source of such tasks.
        tokenizer: Needed for models in memory.
        rows_per_task: Held-out rows of each task, chosen by ``seed``.
        split: Which split they come from.
        seed: Seed of their choice.
        max_length: Tokens of prompt and answer together; longer rows are cut.
        template: How an example becomes a prompt.
        ways: Which of ``"alone"``, ``"from_bottom"`` and ``"from_top"``.
        confidence: Nominal coverage of the intervals.
        device: Where folders and names are loaded to.
        max_tokens_per_batch: Bound of the memory: the states of one batch are kept in all layers, twice.
        progress: Called with (rows done, rows in all).

    Returns:
        A :class:`~lightning_layerscope.advice.check.LayerCheck`; ``describe()`` puts it into words.

    Raises:
        FileNotFoundError: For models that are not there.
        ValueError: For models that do not fit together, tasks without answers, or fewer than two rows of a task.
    """
    tuned, base, tokenizer = _models(base, tuned, tokenizer, device)
    collection = tasks if isinstance(tasks, TaskCollection) else load_tasks(tasks, splits=[split])
    probes = ProbeSet.from_tasks(
        collection,
        tokenizer,
        examples_per_task=rows_per_task,
        split=split,
        seed=seed,
        max_length=max_length,
        min_examples=4,
        template=template,
    )
    rows = []
    for name, task in collection.items():
        chosen = set(probes[name].example_ids)
        examples = [example for example in task.split(split) if example.id in chosen]
        rows += encode_examples(name, examples, tokenizer, template=template, max_length=max_length)
    check = check_rows(
        tuned,
        rows,
        base=base,
        ways=ways,
        max_tokens_per_batch=max_tokens_per_batch,
        confidence=confidence,
        progress=progress,
    )
    return replace(check, drift=_drift(base, tuned, probes))


def _models(base: Any, tuned: Any, tokenizer: Any, device: str | None) -> tuple[nn.Module, nn.Module | None, Any]:
    if isinstance(tuned, nn.Module):
        if tokenizer is None:
            raise ValueError("a model in memory does not bring its tokenizer; pass tokenizer=")
    elif isinstance(base, str | Path) and is_adapter(str(tuned)):
        tuned, own = load_model(base, adapter=tuned, tokenizer=tokenizer_beside(tuned), device=device)
        tokenizer = tokenizer or own
    else:
        tuned, own = load_model(tuned, device=device)
        tokenizer = tokenizer or own
    if hasattr(tuned, "peft_config"):
        if isinstance(base, nn.Module):
            check_alike(find_layers(base), find_layers(tuned))
        base = None  # the same model with its adapters off
    elif base is not None and not isinstance(base, nn.Module):
        base, _ = load_model(base, device=device)
    return tuned, base, tokenizer


def _drift(base: nn.Module | None, tuned: nn.Module, probes: ProbeSet) -> dict[str, Any]:
    """1 - CKA of base and tuned model: task to one value per layer."""
    after = extract_hidden_states(tuned, probes)
    if base is None:
        with adapters_off(tuned):
            before: HiddenStates = extract_hidden_states(tuned, probes)
    else:
        before = extract_hidden_states(base, probes)
    return {
        task: np.asarray((1 - linear_cka(before[task].float(), after[task].float())).cpu().numpy()) for task in before
    }
