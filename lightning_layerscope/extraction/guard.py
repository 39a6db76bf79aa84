"""Run something on a model that is in training, and leave no trace of it."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

import torch
from torch import nn

from lightning_layerscope.compat.bitsandbytes import repacks_in_evaluation
from lightning_layerscope.extraction.restoration import Restoration

_LOG = logging.getLogger(__name__)


class ModelChangedError(RuntimeError):
    """What ran inside :func:`no_trace` left a trace that could not be undone: the model is another one from now on."""


@contextlib.contextmanager
def no_trace(model: nn.Module, *, force_eager: bool = True) -> Iterator[None]:
    """Evaluate ``model`` inside the block and restore everything afterwards, also when the block raises.

    Inside the block every module is in evaluation mode (but for 4-bit layers of bitsandbytes), gradients and inference
    mode are off, the autocast weight cache is off (casts cached without gradients would cut the surrounding training
    step off from its weights), and compiled models run eagerly. Restored on exit:

    - ``training`` of each module (never through ``train()``, which users override);
    - the random number generators of Python, NumPy and torch (all devices in use), and those that modules own;
    - the modules' attributes, parameters (but under FSDP), buffers, submodules, forward hooks and class, by reference;
    - lists, tuples, dicts, sets, namespaces and NumPy arrays that attributes hold, however deep, and the modules and
      tensors inside; containers of more than 10,000 entries are put back without looking into their entries, and
      objects of other classes are left alone;
    - buffers and other tensors, their memory, shape and value, up to a million elements;
    - ``requires_grad`` of each parameter, and the memory that it stands for.

    Values are compared by a checksum of their bits before and after, whatever wrote them: version counters prove
    nothing (fused kernels and ``.data`` do not raise them, parametrisations raise them without a change). A parameter,
    or a tensor above the limit, whose *value* has changed cannot be put back: that raises.

    Every item is restored on its own, the modes first: what goes wrong with one keeps none of the others from it.

    Args:
        model: Any module. Wrappers (DDP, compile, PEFT, a LightningModule) and scripted modules are fine.
        force_eager: Run compiled modules without their compiled code, so that probes of new shapes cause no
            recompilation.

    Raises:
        ModelChangedError: A ``RuntimeError``; something was changed for good, or could not be restored. It names every
            such item. When the block raises itself, its own error goes first and the text is added to it as a note.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_autocast_cache())
        if (
            force_eager and "torch._dynamo" in sys.modules
        ):  # not loaded: nothing is compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        restoration = Restoration(model)
        try:
            for module in model.modules():
                if not repacks_in_evaluation(module):
                    module.training = False
            yield
        except BaseException as error:
            if damage := restoration.run():
                _tell_beside(error, damage)
            raise
        if damage := restoration.run():
            raise ModelChangedError(damage)


def _tell_beside(error: BaseException, damage: str) -> None:
    """Add the text to an error that goes first; the log has it, too, as Python 3.10 knows no notes."""
    _LOG.error("%s", damage)
    if sys.version_info >= (3, 11):
        error.add_note(damage)


@contextlib.contextmanager
def without_autocast_cache() -> Iterator[None]:
    """Keep no casts of weights inside the block: those made without gradients would serve the training step, too."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
