"""How long a training row and a probe prompt take here, from a few batches."""

from __future__ import annotations

import time

import torch

from lightning_layerscope.study.stages.context import StudyContext
from lightning_layerscope.study.stages.probes import prompt_template

_SAMPLE = 64


def calibrate(context: StudyContext) -> tuple[float, float]:
    """Seconds per training row and per probe prompt, from a sample over all tasks; the model is left as it was."""
    from lightning_layerscope.extraction import no_trace
    from lightning_layerscope.training.encoding import collate, encode_examples
    from lightning_layerscope.training.loss import answer_loss, mean_loss

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
