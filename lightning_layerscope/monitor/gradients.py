"""Do the tasks pull a layer apart? Gradients of the answers' loss, task by task, without a trace in the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.extraction.target import find_target
from lightning_layerscope.functional import gradient_conflict, sketch_gradient
from lightning_layerscope.training.encoding import EncodedExample, collate
from lightning_layerscope.training.head import in_float16
from lightning_layerscope.training.loss import answer_loss, device_of

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet

GROUPS, NUMBERS = 6, 4096
SCALES = (2.0**16, 2.0**12, 2.0**8, 2.0**4, 1.0)
_LEAST_GROUPS = 3
_TOKENS = 1024

Gradients = dict[str, NDArray[np.float32]]
"""Task to ``(groups, layers, numbers)``; layers that nothing trains are NaN."""


def groups_of(probes: ProbeSet) -> int:
    """Groups of prompts per task, as many in every task; 0 where some task has too few."""
    fewest = min(len(probe) for probe in probes.values())
    return min(GROUPS, fewest) if fewest >= _LEAST_GROUPS else 0


def task_gradients(
    model: nn.Module,
    probes: ProbeSet,
    groups: int,
    max_tokens: int | None = None,
    layer_modules: str | None = None,
) -> Gradients:
    """Mean gradient of the answers' loss over each group of a task's prompts, layer by layer.

    The gradients are of stand-ins that share the weights' memory: no ``.grad``, no hook of a parameter and no
    ``requires_grad`` is touched.

    Args:
        model: In training; left as it was. Prompt i belongs to group i mod ``groups``.
        probes: With reference answers.
        groups: How many.
        max_tokens: Bound of the padded tokens in one pass.
        layer_modules: Where the layers are, if they are not found.
    """
    target = find_target(model, layer_modules)
    wrapper = _Loss(target.call)
    inside = [{id(weight) for weight in layer.parameters()} for layer in target.stack.modules]
    trained = [(name, weight) for name, weight in wrapper.named_parameters() if weight.requires_grad]
    trained = [(name, weight) for name, weight in trained if any(id(weight) in layer for layer in inside)]
    places = [[at for at, (_, weight) in enumerate(trained) if id(weight) in layer] for layer in inside]
    gradients = {}
    with no_trace(model), torch.enable_grad():
        standins = {name: weight.detach().requires_grad_() for name, weight in trained}
        for task, probe in probes.items():
            rows = [
                EncodedExample(task, *row)
                for row in zip(probe.example_ids, probe.input_ids, probe.answers, strict=True)
            ]
            parts = [_mean_gradient(wrapper, standins, rows[group::groups], max_tokens) for group in range(groups)]
            gradients[task] = np.stack([_by_layer(part, places) for part in parts])
    return gradients


def conflict_curve(gradients: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """``(3, layers)``: share of the pairs that surely conflict, once more, and of those that possibly do.

    Args:
        gradients: Of two tasks at least.
    """
    stacked = torch.from_numpy(np.stack(list(gradients.values())))
    columns = []
    for layer in stacked.unbind(dim=2):
        if bool(torch.isnan(layer).all()):
            columns.append([np.nan] * 3)
            continue
        conflict = gradient_conflict(layer)
        columns.append([float(conflict.share), float(conflict.share), float(conflict.possible)])
    curve: NDArray[np.float64] = np.array(columns).T
    return curve


class _Loss(nn.Module):
    """Sum over rows of the loss per answer token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        losses = answer_loss(self.model, batch)
        return (losses.total / losses.tokens).sum()


def _mean_gradient(
    wrapper: _Loss, standins: dict[str, Tensor], rows: Sequence[EncodedExample], max_tokens: int | None
) -> list[Tensor]:
    total = [torch.zeros_like(each, dtype=torch.float32) for each in standins.values()]
    most = max_tokens or _TOKENS
    waiting = sorted(rows, key=len, reverse=True)
    while waiting:
        size = max(1, most // len(waiting[0]))
        batch, waiting = waiting[:size], waiting[size:]
        inputs = {name: value.to(device_of(wrapper)) for name, value in collate(batch).items()}
        loss = functional_call(wrapper, standins, (inputs,)) / len(rows)
        for at, gradient in enumerate(_derive(loss, list(standins.values()))):
            if gradient is not None:
                total[at] += gradient
    return total


def _derive(loss: Tensor, weights: list[Tensor]) -> list[Tensor | None]:
    """Gradients of a loss, in float16 by way of the largest scaled one that overflows nowhere: small ones stay."""
    scales = SCALES if any(in_float16(weight) for weight in weights) else (1.0,)
    for scale in scales:
        found = torch.autograd.grad(loss * scale, weights, allow_unused=True, retain_graph=scale != scales[-1])
        if scale == scales[-1] or all(each is None or bool(each.isfinite().all()) for each in found):
            break
    return [None if each is None else each.float() / scale for each in found]


def _by_layer(gradients: Sequence[Tensor], places: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """``(layers, numbers)``, each layer's gradient filled up with zeros, or projected where it is longer."""
    lines = np.full((len(places), NUMBERS), np.nan, dtype=np.float32)
    for layer, own in enumerate(places):
        if not own:
            continue
        flat = torch.cat([gradients[at].flatten() for at in own])
        lines[layer] = 0
        if len(flat) <= NUMBERS:
            lines[layer, : len(flat)] = flat.cpu().numpy()
        else:
            lines[layer] = sketch_gradient(flat, NUMBERS).cpu().numpy()
    return lines
