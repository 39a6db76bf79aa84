"""no_trace: what it restores, each with a counter-test that the comparison sees the change without it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_layerscope import no_trace


class Net(nn.Module):
    """A bit of everything that a forward pass may disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.longest, self.active, self.table = 8, ["a"], {"key": 1}
        self.cached = torch.zeros(2)
        self.register_buffer("frequencies", torch.ones(3), persistent=False)
        self.trained = 0

    def train(self, mode: bool = True) -> Net:
        self.trained += 1  # users override train(): it must never be called
        super().train(mode)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(self.dropout(self.norm(self.linear(x))))


def rebind_buffer(net: Net) -> None:
    net.frequencies = torch.full((5,), 2.0)  # as dynamic rotary embeddings do


def add_hook(net: Net) -> None:
    net.linear.register_forward_hook(lambda *a: None)


def switch_adapter(net: Net) -> None:
    net.active.append("b")
    net.linear.requires_grad_(False)


# What a probe may do -> how.
DISTURBANCES: dict[str, Callable[[Net], Any]] = {
    "torch rng": lambda net: torch.rand(3),
    "python rng": lambda net: random.random(),
    "numpy rng": lambda net: np.random.rand(3),  # noqa: NPY002
    "a data loader's base seed": lambda net: next(iter(torch.utils.data.DataLoader([1, 2]))),
    "training flags": lambda net: net.eval(),
    "a training flag": lambda net: setattr(net.dropout, "training", False),
    "requires_grad on": lambda net: net.frozen.requires_grad_(True),
    "requires_grad off": lambda net: net.linear.requires_grad_(False),
    "buffer in place": lambda net: net.norm.running_mean.add_(1.0),
    "buffer rebound": rebind_buffer,
    "buffer added": lambda net: net.register_buffer("extra", torch.ones(1)),
    "buffer removed": lambda net: delattr(net, "frequencies"),
    "plain attribute": lambda net: setattr(net, "longest", 99),
    "attribute added": lambda net: setattr(net, "seen", 1),
    "attribute removed": lambda net: delattr(net, "longest"),
    "tensor attribute": lambda net: setattr(net, "cached", torch.ones(2)),
    "list in place": lambda net: net.active.append("b"),
    "dict in place": lambda net: net.table.update(other=2),
    "patched forward": lambda net: setattr(net, "forward", lambda x: x),
    "forward hook": add_hook,
    "adapters switched": switch_adapter,
}


def state_of(net: Net) -> dict[str, Any]:
    """Everything that must be as before, as comparable values."""
    found: dict[str, Any] = {
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "grad": torch.is_grad_enabled(),
        "cache": torch.is_autocast_cache_enabled(),
    }
    for name, module in net.named_modules():
        plain = {k: v for k, v in vars(module).items() if not k.startswith("_") or k == "_forward_hooks"}
        for key, value in plain.items():
            found[f"{name}.{key}"] = value.tolist() if isinstance(value, torch.Tensor) else repr(value)
        for key, buffer in module._buffers.items():
            found[f"{name}.buffer.{key}"] = buffer.tolist()
    found.update({f"{name}.requires_grad": p.requires_grad for name, p in net.named_parameters()})
    found.update({f"{name}.value": p.tolist() for name, p in net.named_parameters()})
    return found


def make_net() -> Net:
    torch.manual_seed(0)
    net = Net()
    nn.Module.train(net)
    net.norm.eval()  # partly in eval, as Lightning leaves a pretrained backbone
    return net


@pytest.mark.parametrize("name", DISTURBANCES)
def test_what_is_disturbed_is_restored(name: str) -> None:
    net = make_net()
    before = state_of(net)
    with no_trace(net):
        DISTURBANCES[name](net)
    assert state_of(net) == before


@pytest.mark.parametrize("name", DISTURBANCES)
def test_what_is_disturbed_is_restored_after_an_error(name: str) -> None:
    net = make_net()
    before = state_of(net)

    def disturb_and_fail() -> None:
        with no_trace(net):
            DISTURBANCES[name](net)
            raise KeyError("from inside")

    with pytest.raises(KeyError, match="from inside"):
        disturb_and_fail()
    assert state_of(net) == before


@pytest.mark.parametrize("name", DISTURBANCES)
def test_the_comparison_sees_each_disturbance_without_the_guard(name: str) -> None:
    net = make_net()
    before = state_of(net)
    DISTURBANCES[name](net)
    assert state_of(net) != before


def test_restored_objects_are_the_same_objects() -> None:
    net = make_net()
    frequencies, active, cached = net.frequencies, net.active, net.cached
    with no_trace(net):
        rebind_buffer(net)
        net.active = ["other"]
        net.cached = torch.ones(2)
    assert net.frequencies is frequencies
    assert net.active is active
    assert net.cached is cached


def test_inside_everything_evaluates_without_gradients() -> None:
    net = make_net()
    with torch.inference_mode(), no_trace(net):
        assert not any(module.training for module in net.modules())
        out = net(torch.randn(3, 4))
        assert not out.is_inference()
    assert net.trained == 0
    with no_trace(net):
        assert not net(torch.randn(3, 4)).requires_grad
    assert torch.is_grad_enabled()


def train_losses(probe: Callable[[Net], None] | None) -> tuple[list[float], dict[str, torch.Tensor]]:
    net = make_net()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(6):
        with torch.autocast(
            "cpu", dtype=torch.bfloat16
        ):  # the probe runs inside the step's autocast, at its worst place
            first = net.linear(torch.randn(8, 4))
            if probe is not None:
                probe(net)
            loss = (net(torch.randn(8, 4)) + first).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, net.state_dict()


def forward_probe(net: Net) -> None:
    net(torch.randn(5, 4))


def guarded_probe(net: Net) -> None:
    with no_trace(net):
        forward_probe(net)


def test_training_with_a_guarded_probe_is_bitwise_the_same() -> None:
    plain, plain_weights = train_losses(None)
    guarded, guarded_weights = train_losses(guarded_probe)
    assert guarded == plain
    assert all(torch.equal(plain_weights[key], guarded_weights[key]) for key in plain_weights)
    assert train_losses(forward_probe)[0] != plain  # the comparison can fail


def test_the_autocast_cache_is_off_inside_so_that_no_weight_loses_its_gradient() -> None:
    net = make_net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with no_trace(net):
            assert not torch.is_autocast_cache_enabled()
            net.linear(torch.randn(2, 4))
        assert torch.is_autocast_cache_enabled()
        net.linear(torch.randn(2, 4)).float().sum().backward()
    assert net.linear.weight.grad is not None


def test_a_changed_parameter_is_reported_by_name() -> None:
    net = make_net()
    with (
        pytest.raises(RuntimeError, match=r"parameter 'linear\.weight' was changed in place.*no optimiser step"),
        no_trace(net),
    ):
        net.linear.weight.add_(1.0)


def test_a_large_buffer_is_reported_when_it_changed_and_left_alone_otherwise() -> None:
    net = make_net()
    net.register_buffer("large", torch.zeros(1_000_001))
    with no_trace(net):
        pass
    with pytest.raises(RuntimeError, match=r"buffer 'large' of Net \(1,000,001 elements\)"), no_trace(net):
        net.large.add_(1.0)


def test_the_blocks_own_error_is_not_hidden_by_the_report() -> None:
    net = make_net()

    def change_and_fail() -> None:
        with no_trace(net):
            net.linear.weight.add_(1.0)
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        change_and_fail()


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopIteration, SystemExit])
def test_restores_and_passes_on_what_ends_a_run(error: type[BaseException]) -> None:
    net = make_net()
    before = state_of(net)

    def probe() -> None:
        with no_trace(net):
            torch.rand(1)
            net.longest = 1
            raise error

    with pytest.raises(RuntimeError if error is StopIteration else error):
        list(iter_probe(probe)) if error is StopIteration else probe()
    assert state_of(net) == before


def iter_probe(probe: Callable[[], None]) -> Any:
    probe()  # a StopIteration that reaches a generator becomes a RuntimeError, as it did reach it
    yield


def test_guards_nest() -> None:
    net = make_net()
    before = state_of(net)
    with no_trace(net):
        with no_trace(net):
            net.longest = 3
        assert net.longest == 8
        assert not net.training
    assert state_of(net) == before


class Small(nn.Module):  # not a class of torch.nn: those are left alone by in-place compilation
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).relu()


@pytest.mark.parametrize("in_place", [True, False])
def test_compiled_models_run_eagerly_and_are_not_compiled_again(in_place: bool) -> None:
    compilations = []

    def backend(graph: Any, inputs: Any) -> Any:
        compilations.append(graph)
        return graph.forward

    net = Small()
    compiled: Any = net
    if in_place:
        net.compile(backend=backend, dynamic=False)
    else:
        compiled = torch.compile(net, backend=backend, dynamic=False)
    compiled(torch.randn(2, 4))
    count = len(compilations)
    assert count == 1
    with no_trace(compiled):
        expected = compiled(torch.randn(7, 4))
    assert expected.shape == (7, 4)
    assert len(compilations) == count
    with no_trace(compiled, force_eager=False):
        compiled(torch.randn(9, 4))
    assert len(compilations) > count  # the counter-test: without the stance a new shape compiles
    torch._dynamo.reset()
