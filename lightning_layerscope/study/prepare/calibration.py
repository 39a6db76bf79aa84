"""How long a training row and a probe prompt take here, from a few batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.probes import prompt_template
from lightning_layerscope.training.frozen_casts import FrozenCasts
from lightning_layerscope.training.loss import answer_loss, mean_loss

_SAMPLE = 64
# Lightning's names of the precisions in which it opens autocast.
_AUTOCAST = {"16-mixed": torch.float16, "16": torch.float16, "bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16}


def calibrate(context: StudyContext) -> tuple[float, float]:
    """Seconds per training row and per probe prompt, from a sample over all tasks; the model is left as it was."""
    from lightning_layerscope.extraction import no_trace
    from lightning_layerscope.training.encoding import collate, encode_examples

    plan = context.plan
    train, test = plan.tasks.train_split, plan.tasks.test_split
    each = -(-_SAMPLE // len(context.tasks))
    model, tokenizer = context.models.base(), context.tokenizer
    rows = []
    for name, task in context.tasks.items():
        examples = [e for e in (task.splits.get(train) or task.splits.get(test, ()))[:each] if e.output.strip()]
        if examples:
            rows += encode_examples(
                name, examples, tokenizer, template=prompt_template(plan.template), max_length=plan.training.max_length
            )
    if not rows:
        return 0.0, 0.0
    rows.sort(key=len)
    size = plan.training.batch_size if plan.trains else 8
    batches = [collate(rows[start : start + size]) for start in range(0, len(rows), size)]
    batches = [{key: value.to(context.models.device) for key, value in batch.items()} for batch in batches]
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
    full = plan.training.method == "full"
    for parameter in model.parameters():
        parameter.requires_grad_(full)
    # Adapters need the gradients of activations, not of weights.
    started = nullcontext() if full else _activations_with_gradients(model)
    try:
        with started, FrozenCasts():
            _train_on(model, batches[0], plan.training.precision)
            begun = time.monotonic()
            for batch in batches:
                _train_on(model, batch, plan.training.precision)
            per_row = (time.monotonic() - begun) / seen
    finally:
        model.zero_grad(set_to_none=True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
    return per_row * 1.15, per_prompt


def _train_on(model: Any, batch: dict[str, Tensor], precision: str) -> None:
    """Forward and backward as the training does them."""
    dtype = _AUTOCAST.get(precision)
    with nullcontext() if dtype is None else torch.autocast(batch["input_ids"].device.type, dtype):
        loss = mean_loss(answer_loss(model, batch, pack=True))
    torch.autograd.backward(loss)


@contextmanager
def _activations_with_gradients(model: Any) -> Iterator[None]:
    handle = model.get_input_embeddings().register_forward_hook(lambda module, args, output: output.requires_grad_())
    try:
        yield
    finally:
        handle.remove()
