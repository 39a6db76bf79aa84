"""What one measurement costs, in steps of the training it watches, and in memory of the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from card.setting import Setting
from lightning_layerscope import ProbeSet, ReferenceBank, extract_hidden_states
from lightning_layerscope.measurements import take_measurement

HEAD = (
    "tasks x prompts, states kept on",
    "tokens",
    "s to extract",
    "of the card's own products",
    "s to compare",
    "training steps",
    "peak GiB: training, measuring",
)


def training_step(setting: Setting, model: Any) -> Callable[[], None]:
    """A whole step of AdamW in bfloat16."""
    batch, length = setting.size.batch
    ids: Tensor = setting.rows(setting.size.large, batch, length).to(setting.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=setting.on_card)

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def arithmetic(setting: Setting, probes: ProbeSet) -> float:
    """Seconds that the layers' matrix products take for these tokens, at the rate of the largest of them alone."""
    shape = setting.size.large
    rows = 8192 if setting.on_card else 256
    x = torch.randn(rows, shape.width, device=setting.device, dtype=torch.bfloat16)
    weight = torch.randn(shape.intermediate, shape.width, device=setting.device, dtype=torch.bfloat16)
    rate = rows * weight.numel() / setting.seconds(lambda: torch.nn.functional.linear(x, weight), 20)
    # Four projections of attention and three of the feed-forward part; attention itself left out.
    products = shape.layers * (4 * shape.width**2 + 3 * shape.width * shape.intermediate)
    return probes.num_tokens * products / rate


def rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    """One row a set of probes and a place of the states."""
    model = setting.model(setting.size.large, dtype=torch.bfloat16).train()
    step = training_step(setting, model)
    step()
    per_step, training = setting.seconds(step, 5), setting.peak(step)
    tokens = setting.size.batch[0] * setting.size.batch[1]
    parameters = sum(p.numel() for p in model.parameters()) / 1e9
    yield f"a training step ({parameters:.2g} billion parameters)", f"{tokens:,}", "", "", "", "1", f"{training:.1f}"
    for name, prompts in setting.size.measured.items():
        probes = setting.probes(prompts, setting.size.large.vocabulary)
        least = arithmetic(setting, probes)
        for place in ("cpu", "model"):

            def extract(probes: ProbeSet = probes, place: Any = place) -> Any:
                return extract_hidden_states(model, probes, device=place)

            extracting = setting.seconds(extract, 1)
            states = extract()
            bank = ReferenceBank.from_states(states)
            comparing = setting.seconds(lambda s=states, b=bank: take_measurement(s, b, step=1), 1)
            measuring = setting.peak(extract)
            yield (
                f"{name}, {'card' if place == 'model' else 'CPU'}",
                f"{probes.num_tokens:,}",
                f"{extracting:.2f}",
                f"{least / extracting:.0%}",
                f"{comparing:.2f}",
                f"{(extracting + comparing) / per_step:.1f}",
                f"{training:.1f}, {measuring:.1f}",
            )
