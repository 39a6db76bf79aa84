"""The models of a study, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lightning_layerscope.compat.peft import forget_adapters
from lightning_layerscope.training.loading import is_adapter, load_causal_model, put_adapter_on


class ModelCache:
    """Holds one model, which stays in memory from one stage to the next.

    The base model with its adapters off, and every adapter on it, share one copy of the weights. Whole checkpoints take
    each other's path.

    Args:
        base: Folder or hub name of the base model.
        dtype: Data type of the weights: ``"auto"`` or the name of a torch dtype.
        device: Where models go.
    """

    def __init__(self, base: str, *, dtype: str = "float32", device: str | torch.device = "cpu") -> None:
        self.base_name, self.dtype, self.device = base, dtype, torch.device(device)
        self._key: str | None = None
        self._model: Any = None

    def base(self) -> Any:
        """The base model, untouched."""
        return self._get(self.base_name)

    def drop(self) -> None:
        """Forget the model, because it was changed or to make room."""
        self._key = self._model = None

    @contextmanager
    def tuned(self, path: str | Path) -> Iterator[Any]:
        """A tuned model: an adapter on the base model for the length of the block, or a checkpoint.

        Raises:
            ValueError: If an adapter does not fit the base model.
        """
        if not is_adapter(str(path)):
            yield self._get(str(path))
            return
        model = put_adapter_on(self.base(), path, self.base_name)
        try:
            yield model
        finally:
            model.unload()
            forget_adapters(self._model)

    def _get(self, name: str) -> Any:
        if self._key != name:
            self.drop()
            self._model = load_causal_model(name, self.dtype)
            self._key = name
        return self._model.to(self.device)


def device_for(accelerator: str) -> torch.device:
    """The device that Lightning's accelerator of that name would use first."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
