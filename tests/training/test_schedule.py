"""The learning rate rises from the first step on, and falls to 0 at the last."""

import math
from types import SimpleNamespace

import pytest

from lightning_layerscope.training import InstructionModule

STEPS = 40


def rates(model, steps=STEPS, **options):
    module = InstructionModule(model, learning_rate=3e-4, **options)
    module._trainer = SimpleNamespace(estimated_stepping_batches=steps)
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    values = []
    for _ in range(STEPS + 1):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.25])
def test_the_cosine_schedule_is_its_formula_to_the_bit(model, warmup):
    rising = round(warmup * STEPS)
    expected = [3e-4 * ((step + 1) / (rising + 1)) for step in range(rising)]
    done = [(step - rising) / (STEPS - rising) for step in range(rising, STEPS + 1)]
    expected += [3e-4 * (0.5 * (1 + math.cos(math.pi * share))) for share in done]
    assert rates(model, warmup=warmup) == expected
    assert expected[-1] == 0


@pytest.mark.parametrize("steps", [STEPS, math.inf])
def test_the_constant_schedule_stays_at_its_peak(model, steps):
    values = rates(model, steps, schedule="constant", warmup=0.25)
    rising = 10 if steps == STEPS else 0
    assert values == [3e-4 * ((step + 1) / (rising + 1)) for step in range(rising)] + [3e-4] * (STEPS + 1 - rising)


def test_a_cosine_needs_an_end(model):
    with pytest.raises(ValueError, match="a cosine schedule needs an end"):
        rates(model, math.inf)
