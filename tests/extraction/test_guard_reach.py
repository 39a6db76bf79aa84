"""no_trace reaches what modules hold beside buffers, and its restoration does not stop half way."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_layerscope.extraction import ModelChangedError, no_trace


class Holder(nn.Module):
    """Everything that a module may carry and that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.generator = torch.Generator().manual_seed(0)
        self.randoms = (random.Random(0), [np.random.default_rng(0)], {"old": np.random.RandomState(0)})
        self.cached = torch.zeros(3)
        self.array = np.zeros(3)
        self.nested: dict[str, Any] = {"a": [torch.zeros(2), {"deep": [1, 2]}], "b": (torch.zeros(2), [3])}
        self.ordered, self.counts = OrderedDict(x=1, y=2), Counter(x=1)
        self.recent, self.default = deque([1, 2], maxlen=3), defaultdict(list, x=[1])
        self.space = SimpleNamespace(step=1, inner=[1])
        self.hidden = [nn.BatchNorm1d(2)]  # a module that is not registered
        self.loop: list[Any] = []
        self.loop.append(self.loop)


DISTURBANCES: dict[str, Callable[[Holder], Any]] = {
    "own torch generator": lambda h: torch.rand(2, generator=h.generator),
    "own Python generator": lambda h: h.randoms[0].random(),
    "own NumPy generator": lambda h: h.randoms[1][0].random(),
    "own old NumPy generator": lambda h: h.randoms[2]["old"].random(),
    "tensor attribute in place": lambda h: h.cached.add_(1.0),
    "tensor attribute through .data": lambda h: h.cached.data.add_(1.0),
    "tensor attribute resized": lambda h: h.cached.resize_(7),
    "array in place": lambda h: h.array.fill(1.0),
    "tensor in a list in a dict": lambda h: h.nested["a"][0].data.fill_(1.0),
    "list in a dict in a list": lambda h: h.nested["a"][1]["deep"].append(3),
    "dict in a list": lambda h: h.nested["a"][1].update(more=1),
    "tensor in a tuple": lambda h: h.nested["b"][0].fill_(1.0),
    "list in a tuple": lambda h: h.nested["b"][1].clear(),
    "ordered dict": lambda h: h.ordered.move_to_end("x"),
    "counter": lambda h: h.counts.update("x"),
    "deque": lambda h: h.recent.extend([3, 4]),
    "default dict": lambda h: h.default["new"],
    "list in a default dict": lambda h: h.default["x"].append(1),
    "namespace": lambda h: setattr(h.space, "step", 2),
    "list in a namespace": lambda h: h.space.inner.append(2),
    "buffer of a hidden module": lambda h: h.hidden[0](torch.randn(4, 2)),
    "mode of a hidden module": lambda h: h.hidden[0].eval(),
    "list that holds itself": lambda h: h.loop.append(1),
}


def state_of(holder: Holder) -> list[str]:
    hidden = holder.hidden[0]
    return [
        repr(part)
        for part in (
            holder.generator.get_state().tolist(),
            holder.randoms[0].getstate(),
            holder.randoms[1][0].bit_generator.state,
            [str(part) for part in holder.randoms[2]["old"].get_state()],
            holder.randoms[2]["old"].get_state()[1].tolist(),
            holder.cached,
            holder.array,
            holder.nested,
            [holder.ordered, holder.counts, holder.recent, holder.default, holder.space, holder.loop],
            [list(holder.default), hidden.training, hidden.running_mean, hidden.num_batches_tracked],
        )
    ]


@pytest.mark.parametrize("name", DISTURBANCES)
def test_what_a_module_reaches_is_restored(name: str) -> None:
    holder = Holder()
    before = state_of(holder)
    with no_trace(holder):
        DISTURBANCES[name](holder)
    assert state_of(holder) == before


@pytest.mark.parametrize("name", DISTURBANCES)
def test_the_comparison_sees_each_disturbance_without_the_guard(name: str) -> None:
    holder = Holder()
    before = state_of(holder)
    DISTURBANCES[name](holder)
    assert state_of(holder) != before


def test_large_containers_are_put_back_without_looking_into_them() -> None:
    holder = Holder()
    holder.rows = [[i] for i in range(10_001)]
    with no_trace(holder):
        holder.rows.append([0])
        holder.rows[0].append(1)
    assert len(holder.rows) == 10_001
    assert holder.rows[0] == [0, 1]


class Sealed(random.Random):
    """A generator that refuses its old state."""

    def setstate(self, state: Any) -> None:
        raise OSError("sealed")


class Stubborn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sealed, self.steps = Sealed(0), [1]
        self.linear = nn.Linear(2, 2)
        self.register_buffer("resized", torch.ones(2))
        self.register_buffer("freed", torch.ones(2))
        self.after = nn.Sequential(*[nn.Dropout() for _ in range(39)])


def disturb(model: Stubborn) -> None:
    torch.rand(1)
    model.steps.append(2)
    model.resized.resize_(9)
    model.freed.untyped_storage().resize_(0)
    model.linear.weight.data.add_(1.0)
    model.linear.bias.data.add_(1.0)


def test_restoration_goes_on_after_what_cannot_be_restored_and_tells_all() -> None:
    model = Stubborn()
    state = torch.get_rng_state()
    with pytest.raises(ModelChangedError) as told, no_trace(model):
        disturb(model)
    assert "generator 'sealed' could not be restored (OSError: sealed)" in str(told.value)
    assert "parameter 'linear.weight' was changed in place; parameter 'linear.bias' was" in str(told.value)
    assert all(module.training for module in model.modules())
    assert model.steps == [1]
    assert model.resized.tolist() == model.freed.tolist() == [1.0, 1.0]
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interruption_of_the_restoration_waits_for_the_rest() -> None:
    class Interrupted(Sealed):
        def setstate(self, state: Any) -> None:
            raise KeyboardInterrupt

    model = Stubborn()
    model.sealed = Interrupted(0)

    def grow() -> None:
        with no_trace(model):
            model.after.append(nn.Dropout())
            model.steps.append(2)

    with pytest.raises(KeyboardInterrupt):
        grow()
    assert all(module.training for module in model.modules())
    assert len(model.after) == 39
    assert model.steps == [1]


def test_damage_is_told_beside_the_blocks_own_error(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Linear(2, 2)

    def change_and_fail() -> None:
        with no_trace(net):
            net.weight.data.add_(1.0)
            raise KeyError("first")

    with pytest.raises(KeyError, match="first") as raised:
        change_and_fail()
    assert "parameter 'weight' was changed in place" in caplog.text
    assert any("parameter 'weight'" in note for note in getattr(raised.value, "__notes__", [caplog.text]))


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        self.seen.add_(1.0)
        return self.dropout(self.norm(self.linear(x)))


@pytest.mark.parametrize("traced", [False, True])
def test_scripted_modules_are_guarded(traced: bool) -> None:
    inner = torch.jit.trace(nn.Dropout(), torch.ones(2), check_trace=False) if traced else torch.jit.script(Scripted())
    model = nn.Sequential(nn.Linear(2, 2), inner)

    def state() -> list[Any]:
        modes = [module.training for module in model.modules()]
        return [modes, getattr(inner, "calls", 0), {key: value.tolist() for key, value in model.state_dict().items()}]

    before = state()
    with no_trace(model):
        assert not any(module.training for module in model.modules())
        model(torch.randn(4, 2))
    assert state() == before
    if not traced:
        model(torch.randn(4, 2))
        assert state() != before  # the comparison can fail
