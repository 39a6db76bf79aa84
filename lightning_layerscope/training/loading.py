"""A causal language model and its tokenizer from a folder or the hub, adapters included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lightning_layerscope._extras import require
from lightning_layerscope.compat.huggingface_hub import require_loadable


def load_model(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    tokenizer: str | Path | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> tuple[Any, Any]:
    """Load a model and its tokenizer.

    Args:
        name: folder or hub name; the folder of a PEFT adapter is loaded on the base model that it names.
        adapter: folder of a PEFT adapter to put on it.
        tokenizer: where another tokenizer is.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; default is what the model was saved in.
        device: ``"cpu"``, ``"cuda"``, ...; default ``"cpu"``.

    Returns:
        The model in evaluation mode, and the tokenizer.

    Raises:
        FileNotFoundError: when there is no such model, tokenizer or adapter.
        ImportError: when peft is needed and not installed; the message holds the pip command.
        ValueError: for an unknown dtype.
    """
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise ValueError(f'dtype must be "float32", "bfloat16" or "float16", got {dtype!r}')
    name = str(name)
    if _is_adapter(name):
        if adapter is not None:
            raise ValueError(f"{name} is an adapter itself; name its base model, or leave out adapter {adapter}")
        adapter, base = name, _base_of(name)
        # Saved beside the adapter where training changed it, with the base model otherwise.
        tokenizer = tokenizer or (name if (Path(name) / "tokenizer_config.json").is_file() else None)
        name = base
    elif Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise FileNotFoundError(f"{name} holds no model: config.json is missing; expected a folder by save_pretrained")
    elif not Path(name).exists() and (name.count("/") > 1 or name.startswith((".", "/", "~"))):
        raise FileNotFoundError(f"there is no folder {name}; expected one by save_pretrained, or a name on the hub")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def fetch(kind: Any, where: str, what: str, **options: Any) -> Any:
        if not Path(where).exists():
            require_loadable(where, "model")
        try:
            return kind.from_pretrained(where, **options)
        except OSError as error:
            raise FileNotFoundError(
                f"no {what} found under {where}: neither a folder with one, nor a name on the Hugging Face hub that "
                "can be reached from here"
            ) from error

    model = fetch(AutoModelForCausalLM, name, "model", torch_dtype=getattr(torch, dtype) if dtype else "auto")
    vocabulary = fetch(AutoTokenizer, str(tokenizer or name), "tokenizer")
    if adapter is not None:
        peft = require("peft", "peft")
        if not _is_adapter(adapter):
            raise FileNotFoundError(f"{adapter} holds no adapter: adapter_config.json is missing")
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    return model.to(device or "cpu").eval(), vocabulary


def _is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / "adapter_config.json").is_file()


def _base_of(folder: str) -> str:
    config = require("peft", "peft").PeftConfig.from_pretrained(folder)
    if not config.base_model_name_or_path:
        raise ValueError(f"the adapter in {folder} does not name its base model; pass the model and --adapter {folder}")
    return str(config.base_model_name_or_path)
