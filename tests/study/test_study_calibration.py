"""The time of a study is estimated from passes as its trainings do them, which leave the model as it was."""

from __future__ import annotations

import pytest
import torch

from lightning_layerscope.study.prepare.calibration import calibrate
from lightning_layerscope.study.study import Study

from .conftest import PLAN, MakePlan


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_runs_as_a_training_does_and_leaves_no_trace(
    make_plan: MakePlan, precision: str, dtype: torch.dtype, method: str
) -> None:
    training = f"training: {{{{precision: {precision}, method: {method}, "
    study = Study(make_plan(PLAN.replace("training: {{", training)))
    model = study.context.models.base()
    before = {name: (each.detach().clone(), each.requires_grad) for name, each in model.named_parameters()}
    outputs: list[tuple[torch.dtype, bool]] = []
    layer = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    handle = layer.register_forward_hook(lambda _, args, output: outputs.append((output.dtype, output.requires_grad)))
    per_row, per_prompt = calibrate(study.context)
    handle.remove()
    assert per_row > 0
    assert per_prompt > 0
    assert outputs[0] == (torch.float32, False)  # measured in float32, without gradients
    assert outputs[-1] == (dtype, True)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, (values, flag) in before.items():
        assert after[name].requires_grad == flag
        assert after[name].grad is None
        assert torch.equal(after[name], values)
    assert not model.get_input_embeddings()._forward_hooks
