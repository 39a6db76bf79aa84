"""Random number generators: what they are, and how their state is taken and put back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

Restore = Callable[[], Any]
"""Puts something back to the state that it had when this was made."""


def global_generators(parameters: Iterable[Tensor]) -> list[tuple[str, Restore]]:
    """Those of Python, NumPy and torch (the CPU's, and of all devices in use): name, and what puts it back."""
    restores: list[tuple[str, Restore]] = [
        ("Python's random numbers", partial(random.setstate, random.getstate())),
        # The global generator is what user code draws from.
        ("NumPy's random numbers", partial(np.random.set_state, np.random.get_state())),  # noqa: NPY002
        ("torch's random numbers", partial(torch.set_rng_state, torch.get_rng_state())),
    ]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states = torch.cuda.get_rng_state_all()
        restores.append(("CUDA's random numbers", partial(torch.cuda.set_rng_state_all, states)))
    for kind in {parameter.device.type for parameter in parameters} & {"mps", "xpu"}:
        backend = getattr(torch, kind)
        restores.append((f"{kind}'s random numbers", partial(backend.set_rng_state, backend.get_rng_state())))
    return restores


def own_generator(value: Any) -> Restore | None:
    """What puts a generator object back to its state of now; None for anything that is no generator."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return None
