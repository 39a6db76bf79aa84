"""Whether batched, padded, broken-off passes give the states of each prompt alone, and what bfloat16 does to them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from card.setting import Setting
from lightning_layerscope import ProbeSet, extract_hidden_states
from lightning_layerscope.functional import linear_cka

HEAD = ("way", "largest relative error of a state", "median", "lowest CKA of a layer with float32's")


@torch.no_grad()
def alone(model: nn.Module, probes: ProbeSet) -> dict[str, Tensor]:
    """Every prompt by itself, with transformers' own means; layers 1 to L - 1, as the last comes normed."""
    device = next(model.parameters()).device
    found = {}
    for task, probe in probes.items():
        rows = []
        for ids in probe.input_ids:
            output = model(torch.tensor([ids], device=device), output_hidden_states=True, logits_to_keep=1)
            rows.append(torch.stack([hidden[0, -1] for hidden in output.hidden_states[1:-1]]))
        found[task] = torch.stack(rows, dim=1).cpu()
    return found


def rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    """float32 alone is the truth; TF32 is off."""
    half = setting.model(setting.size.large, dtype=torch.bfloat16).eval()
    single = copy.deepcopy(half).float()
    probes = setting.probes(setting.size.exact, setting.size.large.vocabulary)
    truth = alone(single, probes)
    ways = {
        "package, float32, batched": lambda: extract_hidden_states(single, probes),
        "package, bfloat16, batched": lambda: extract_hidden_states(half, probes),
        "transformers, bfloat16, prompt by prompt": lambda: alone(half, probes),
    }
    for name, way in ways.items():
        states, errors, similarities = way(), [], []
        for task, expected in truth.items():
            got = states[task][: len(expected)].double()
            distance = (got - expected).norm(dim=-1) / expected.double().norm(dim=-1)
            errors.append(distance.flatten())
            similarities += [linear_cka(x, y) for x, y in zip(got, expected.double(), strict=True)]
        error = torch.cat(errors)
        lowest = float(torch.stack(similarities).min())
        yield name, f"{float(error.max()):.1e}", f"{float(error.median()):.1e}", f"1 - {1 - lowest:.1e}"
