"""What the weights of a run are compared with: adapters' factors, a copy of the beginning, or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_layerscope.comparison.weight_updates import adapter_updates, full_updates, layer_matrices
from lightning_layerscope.extraction.target import find_target
from lightning_layerscope.json_files import read_json
from lightning_layerscope.monitor.adapters import has_adapters

COPY = "copy"


class WeightReference:
    """Measures the relative update of every layer.

    Args:
        source: ``"copy"``, the folder of a checkpoint, or None for adapters.
    """

    def __init__(self, source: str | None) -> None:
        self.source = source
        self._copy: dict[str, Tensor] = {}

    def begin(self, model: nn.Module) -> None:
        """The run begins with this model; its weights are copied where that was asked for."""
        if self.source == COPY and not self._copy:
            inner = _inner(model)
            names = [name for layer in layer_matrices(inner) for name in layer]
            self._copy = {name: inner.get_parameter(name).detach().to("cpu", copy=True) for name in names}

    def updates(self, model: nn.Module) -> Tensor:
        """``(layers,)`` float64, ||dW|| / ||W||.

        Raises:
            ValueError: Where there is nothing to compare with, in words.
        """
        if has_adapters(model):
            return adapter_updates(model)
        if self.source is None:
            raise ValueError(
                'the model has no LoRA adapters, whose factors it is read from; for full tuning say update_from="copy" '
                "or name a checkpoint"
            )
        if self.source != COPY:
            return full_updates(_inner(model), Checkpoint(Path(self.source)).read)
        if not self._copy:
            raise ValueError(
                "the copy of the beginning's weights has gone with the process that held it; name a checkpoint of the "
                "beginning with update_from="
            )
        return full_updates(_inner(model), self._copy.__getitem__)


class Checkpoint:
    """Tensors of a folder in safetensors, read one by one.

    Args:
        folder: Holds ``model.safetensors``, or ``model.safetensors.index.json`` and what it names.

    Raises:
        ValueError: Where it holds neither.
    """

    def __init__(self, folder: Path) -> None:
        whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        if index.is_file():
            self._files = {name: folder / file for name, file in read_json(index)["weight_map"].items()}
        elif whole.is_file():
            with _opened(whole) as file:
                self._files = dict.fromkeys(file.keys(), whole)
        else:
            raise ValueError(f'update_from must be "copy" or a folder with model.safetensors, got {str(folder)!r}.')

    def read(self, name: str) -> Tensor:
        """One tensor."""
        with _opened(self._files[name]) as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def check(self, model: nn.Module) -> None:
        """Whether it holds all matrices of the model's layers.

        Raises:
            ValueError: Names those that are missing.
        """
        names = [name for layer in layer_matrices(_inner(model)) for name in layer]
        if missing := [name for name in names if name not in self._files]:
            raise ValueError(
                f"the checkpoint of update_from lacks {len(missing)} of {len(names)} matrices of the model's layers, "
                f"e.g. {missing[0]!r}; it has {next(iter(self._files), 'nothing')!r} and others. Save it from the same "
                "model with save_pretrained."
            )


def check_update_source(source: str | None, model: nn.Module) -> None:
    """Whether what the updates are to be against is there.

    Raises:
        ValueError: With what was expected, what came and what to do.
    """
    if source is None:
        return
    if has_adapters(model):
        raise ValueError("update_from is for full tuning: this model has adapters, and the update is read off them.")
    if source != COPY:
        Checkpoint(Path(source)).check(model)


def _inner(model: nn.Module) -> nn.Module:
    """The model of transformers, by whose names checkpoints are written; another one as it is."""
    return find_target(model, forward=_never).language_model or model


def _never(*_: Any) -> None:
    """Stands for a forward pass where none is made."""


def _opened(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")
