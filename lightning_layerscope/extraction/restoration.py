"""The state of a model and of the random numbers, and a way back to it that does not stop half way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from torch import nn

from lightning_layerscope.compat.torch import has_sharded_parameters
from lightning_layerscope.extraction.generators import global_generators
from lightning_layerscope.extraction.module_states import ModuleStates
from lightning_layerscope.extraction.tensor_states import TensorStates

_LOG = logging.getLogger(__name__)
_MOST_MESSAGES = 5


class Restoration:
    """The state of a model and of the random numbers, and the way back to it."""

    def __init__(self, model: nn.Module) -> None:
        self.states = ModuleStates(model.named_modules(), sharded=has_sharded_parameters(model))
        self.modes = [(module, module.training) for module in self.states.modules]
        parameters = [(n, t) for n, t in self.states.tensors if isinstance(t, nn.Parameter)]
        self.flags = [(name, parameter, parameter.requires_grad) for name, parameter in parameters]
        self.generators = global_generators(parameter for _, parameter in parameters)
        self.tensors = TensorStates()
        for name, tensor in self.states.tensors:
            self.tensors.add(name, tensor)

    def run(self) -> str:
        """Put back every item on its own; what is left changed is returned in words."""
        damage: list[str] = []
        interruption: BaseException | None = None

        def attempt(what: str, action: Callable[[], object]) -> None:
            nonlocal interruption
            try:
                message = action()
            except Exception as error:
                message = f"{what} could not be restored ({type(error).__name__}: {error})"
            except BaseException as error:  # Ctrl-C: after the rest
                interruption, message = error, f"{what} was interrupted"
            if isinstance(message, str) and message:
                damage.append(message)

        for module, training in self.modes:
            attempt(f"training mode of {type(module).__name__}", partial(_set_mode, module, training))
        for name, restore in self.generators:
            attempt(name, restore)
        for name, restore in self.states.restores():
            attempt(name, restore)
        for name, parameter, requires_grad in self.flags:
            if parameter.requires_grad != requires_grad:
                attempt(f"requires_grad of {name}", partial(parameter.requires_grad_, requires_grad))
        for position, name in enumerate(self.tensors.names):
            attempt(name, partial(self.tensors.restore_memory, position))
        changed: list[int] = []
        attempt("the comparison of the tensors", lambda: changed.extend(self.tensors.changed()))
        for position in changed:
            attempt(self.tensors.names[position], partial(self.tensors.restore_value, position))
        if interruption is not None:
            _LOG.error("%s", _in_words(damage))
            raise interruption
        return _in_words(damage)


def _set_mode(module: nn.Module, training: bool) -> None:
    if module.training != training:
        module.training = training


def _in_words(damage: list[str]) -> str:
    if not damage:
        return ""
    more = f"; and {len(damage) - _MOST_MESSAGES} more" if len(damage) > _MOST_MESSAGES else ""
    return (
        f"What ran inside no_trace changed the model: {'; '.join(damage[:_MOST_MESSAGES])}{more}. Run only forward "
        "passes that leave parameters alone: no optimiser step, no adapters that are merged or unmerged on the way."
    )
