"""The models of a study, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lightning_layerscope._extras import require
from lightning_layerscope.compat.peft import forget_adapters
from lightning_layerscope.compat.transformers import is_hub_adapter

ADAPTER_CONFIG = "adapter_config.json"


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model.

    Raises:
        OSError: If there is none.
    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)


def is_adapter(name: str) -> bool:
    """Whether this is a peft adapter rather than a whole model."""
    folder = Path(name)
    if folder.is_dir():
        return (folder / ADAPTER_CONFIG).is_file()
    return is_hub_adapter(name)


class ModelCache:
    """Holds one model, which stays in memory from one stage to the next.

    The base model with its adapters off, and every adapter on it, share one copy of the weights. Whole checkpoints take
    each other's path.

    Args:
        base: Folder or hub name of the base model.
        dtype: Of the weights: ``"auto"`` or the name of a torch dtype.
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
            self._model = _load(name, self.dtype)
            self._key = name
        return self._model.to(self.device)


def put_adapter_on(model: Any, path: str | Path, base_name: str) -> Any:
    """Load a peft adapter onto a model, switched on and frozen.

    Raises:
        ValueError: If the adapter was made for another base model.
    """
    peft = require("peft", extra="study")
    try:
        return peft.PeftModel.from_pretrained(model, str(path), is_trainable=False)
    except (RuntimeError, ValueError, KeyError) as error:
        meant = getattr(peft.PeftConfig.from_pretrained(str(path)), "base_model_name_or_path", None)
        first = str(error).strip().splitlines()
        raise ValueError(
            f"the adapter {path} does not fit the base model {base_name}; it names {meant!r} as its base. "
            f"Give that one as 'model', or another adapter ({' '.join(first[:2]).strip()})"
        ) from error


def _load(name: str, dtype: str) -> Any:
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    argument = "dtype" if (major, minor) >= (4, 56) else "torch_dtype"
    wanted = "auto" if dtype == "auto" else getattr(torch, dtype)
    model = transformers.AutoModelForCausalLM.from_pretrained(name, **{argument: wanted})
    return model.eval()


def device_for(accelerator: str) -> torch.device:
    """The device that Lightning's accelerator of that name would use first."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
