"""no_trace sees values, not version counters: fused kernels, ``.data``, parametrisations, other memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.quantization import default_fused_act_fake_quant, default_fused_per_channel_wt_fake_quant
from torch.nn.utils import parametrize

from lightning_layerscope.extraction import ModelChangedError, no_trace


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)


# What changes a parameter, most of it without raising its version counter.
PARAMETER_WRITES: dict[str, Callable[[nn.Parameter], Any]] = {
    "in place": lambda weight: weight.add_(1.0),
    "through .data": lambda weight: weight.data.add_(1.0),
    "one element through .data": lambda weight: weight.data.view(-1)[-1:].mul_(1.0 + 2**-22),
    "a sign of zero": lambda weight: weight.data.view(-1)[:1].neg_(),
    "through NumPy": lambda weight: weight.detach().numpy().fill(3.0),
    "through a storage": lambda weight: weight.untyped_storage().fill_(1),
}


@pytest.mark.parametrize("name", PARAMETER_WRITES)
def test_a_changed_parameter_is_told_however_it_was_written(name: str) -> None:
    net = Net()
    with torch.no_grad():
        net.linear.weight.view(-1)[0] = 0.0
    with pytest.raises(ModelChangedError, match=r"parameter 'linear\.weight' was changed in place"), no_trace(net):
        PARAMETER_WRITES[name](net.linear.weight)


def test_hidden_writes_do_not_raise_version_counters() -> None:
    """Otherwise the tests above would also pass with version counters."""
    for name, write in PARAMETER_WRITES.items():
        weight = nn.Parameter(torch.ones(4, 4))
        with torch.no_grad():
            write(weight)
        assert (weight._version == 0) == (name != "in place"), name


def test_versions_without_a_change_are_no_change() -> None:
    net = Net()
    version = net.linear.weight._version
    with no_trace(net):
        net.linear.weight.mul_(1.0)
    assert net.linear.weight._version > version


@pytest.mark.parametrize("kind", [default_fused_act_fake_quant, default_fused_per_channel_wt_fake_quant])
def test_buffers_that_a_fused_kernel_writes_are_restored(kind: Any) -> None:
    fake = kind()
    fake(torch.randn(4, 4))
    before = {name: (buffer._version, buffer.clone()) for name, buffer in fake.named_buffers()}

    def unrestored() -> list[str]:
        return [name for name, buffer in fake.named_buffers() if not torch.equal(buffer, before[name][1])]

    with no_trace(fake):
        fake(5 * torch.randn(4, 4))
    assert unrestored() == []
    fake(5 * torch.randn(4, 4))
    hidden = [name for name, buffer in fake.named_buffers() if buffer._version == before[name][0]]
    assert set(unrestored()) & set(hidden)  # the comparison can fail, and version counters would not tell


def test_a_restored_buffer_may_still_be_used_by_an_open_graph() -> None:
    net = Net()
    loss = (net.linear(torch.ones(2, 4)) * net.norm.running_var).sum()
    with no_trace(net):
        net.norm.running_var.data.fill_(7.0)
    loss.backward()  # raises where the version counter of running_var has moved on
    assert net.linear.bias.grad is not None
    assert bool((net.linear.bias.grad == 2.0).all())


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.resize_(9),
        lambda tensor: tensor.set_(torch.full((2, 2), 5.0)),
        lambda tensor: setattr(tensor, "data", torch.zeros(7)),
        lambda tensor: setattr(tensor, "data", tensor.data.double()),
        lambda tensor: tensor.unsqueeze_(0).add_(1.0),
    ],
)
def test_a_buffers_memory_and_shape_are_restored(change: Callable[[torch.Tensor], Any]) -> None:
    net = Net()
    buffer = net.norm.running_mean
    assert buffer is not None
    buffer.copy_(torch.arange(4.0))
    view = buffer[1:3]
    with no_trace(net):
        change(buffer)
    assert net.norm.running_mean is buffer
    assert buffer.dtype == torch.float32
    assert buffer.tolist() == [0.0, 1.0, 2.0, 3.0]
    buffer.add_(1.0)
    assert view.tolist() == [2.0, 3.0]  # still the same memory


def test_a_parameter_that_got_other_memory_is_restored() -> None:
    net = Net()
    weight, before = net.linear.weight, net.linear.weight.detach().clone()
    with no_trace(net):
        net.linear.weight.data = torch.zeros(4, 4)
        net.norm.weight = nn.Parameter(torch.zeros(4))
        net.linear.weight = nn.Parameter(torch.ones(4, 4))
    assert net.linear.weight is weight
    assert torch.equal(weight, before)
    assert bool((net.norm.weight == 1.0).all())


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2.0 * weight


def test_a_parametrisation_for_one_forward_pass_leaves_order_class_and_values() -> None:
    """As PEFT does for adapters of parameters: registered, used, removed; versions rise, nothing changes."""
    net = Net()
    order, version = [name for name, _ in net.named_parameters()], net.linear.weight._version

    def forward() -> None:
        parametrize.register_parametrization(net.linear, "weight", Doubled())
        net.linear(torch.ones(1, 4))
        parametrize.remove_parametrizations(net.linear, "weight", leave_parametrized=False)

    with no_trace(net):
        forward()
    assert net.linear.weight._version > version
    assert [name for name, _ in net.named_parameters()] == order
    forward()
    assert [name for name, _ in net.named_parameters()] != order  # the comparison can fail


def test_a_parametrisation_that_stays_is_taken_away() -> None:
    net = Net()
    weight = net.linear.weight
    with no_trace(net):
        parametrize.register_parametrization(net.linear, "weight", Doubled())
    assert type(net.linear) is nn.Linear
    assert net.linear.weight is weight
    assert not hasattr(net.linear, "parametrizations")


def test_a_parameter_that_is_made_inside_is_told() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ModelChangedError, match=r"parameter '0\.weight' was initialised"), no_trace(net):
        net(torch.ones(2, 5))


def test_tensors_in_float64_and_half_precision_are_compared() -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        net = Net().to(dtype)
        with pytest.raises(ModelChangedError, match=r"parameter 'linear\.bias'"), no_trace(net):
            net.linear.bias.data.neg_()
