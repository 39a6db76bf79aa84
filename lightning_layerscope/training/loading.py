"""A causal language model, its tokenizer and its adapter from folders or the hub."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from lightning_layerscope._extras import require
from lightning_layerscope.compat.huggingface_hub import require_loadable
from lightning_layerscope.compat.transformers import dtype_keyword, is_hub_adapter

ADAPTER_CONFIG = "adapter_config.json"


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
        name: Folder or hub name; the folder of a PEFT adapter is loaded on the base model that it names.
        adapter: Folder of a PEFT adapter to put on it.
        tokenizer: Where another tokenizer is.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; default is what the model was saved in.
        device: ``"cpu"``, ``"cuda"``, ...; default ``"cpu"``.

    Returns:
        The model in evaluation mode, and the tokenizer.

    Raises:
        FileNotFoundError: When there is no such model, tokenizer or adapter.
        ImportError: When peft is needed and not installed; the message holds the pip command.
        ValueError: For an unknown dtype, or an adapter that does not fit the model.
    """
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise ValueError(f'dtype must be "float32", "bfloat16" or "float16", got {dtype!r}')
    name = str(name)
    if Path(name).is_dir() and is_adapter(name):
        if adapter is not None:
            raise ValueError(f"{name} is an adapter itself; name its base model, or leave out adapter {adapter}")
        adapter, base = name, _base_of(name)
        tokenizer = tokenizer or tokenizer_beside(name)
        name = base
    model = load_causal_model(name, dtype or "auto")
    vocabulary = load_tokenizer(str(tokenizer or name))
    if adapter is not None:
        if not is_adapter(str(adapter)):
            raise FileNotFoundError(f"{adapter} holds no adapter: {ADAPTER_CONFIG} is missing")
        model = put_adapter_on(model, adapter, name)
    return model.to(device or "cpu").eval(), vocabulary


def load_causal_model(name: str, dtype: str) -> Any:
    """Load a causal language model alone, in evaluation mode on the CPU.

    Args:
        name: Folder or hub name.
        dtype: Data type of the weights: ``"auto"`` (as they were saved) or the name of a torch dtype.

    Raises:
        FileNotFoundError: When there is no such model.
    """
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise FileNotFoundError(f"{name} holds no model: config.json is missing; expected a folder by save_pretrained")
    if not Path(name).exists() and (name.count("/") > 1 or name.startswith((".", "/", "~"))):
        raise FileNotFoundError(f"there is no folder {name}; expected one by save_pretrained, or a name on the hub")
    from transformers import AutoModelForCausalLM

    weights = "auto" if dtype == "auto" else getattr(torch, dtype)
    return _fetch(AutoModelForCausalLM, name, "model", **{dtype_keyword(): weights}).eval()


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a model.

    Raises:
        FileNotFoundError: When there is none.
    """
    from transformers import AutoTokenizer

    return _fetch(AutoTokenizer, name, "tokenizer")


def is_adapter(name: str) -> bool:
    """Whether a folder or a hub name is that of a PEFT adapter rather than of a whole model."""
    folder = Path(name)
    if folder.is_dir():
        return (folder / ADAPTER_CONFIG).is_file()
    return is_hub_adapter(name)


def tokenizer_beside(adapter: str | Path) -> str | None:
    """Where the tokenizer of an adapter is: beside it where training changed it, with the base model otherwise."""
    return str(adapter) if (Path(adapter) / "tokenizer_config.json").is_file() else None


def put_adapter_on(model: Any, path: str | Path, base_name: str) -> Any:
    """Load a PEFT adapter onto a model, switched on and frozen.

    Args:
        model: The base model; its layers get the adapter's weights beside their own.
        path: Folder or hub name of the adapter.
        base_name: What the base model is called in an error.

    Raises:
        ImportError: When peft is not installed; the message holds the pip command.
        ValueError: When the adapter was made for another base model.
    """
    peft = require("peft", "peft")
    try:
        with warnings.catch_warnings():
            # Of a base model with more layers peft warns only.
            warnings.filterwarnings("error", "Found missing adapter keys")
            return peft.PeftModel.from_pretrained(model, str(path), is_trainable=False)
    except UserWarning as warning:
        raise ValueError(
            f"the adapter {path} does not fit the base model {base_name}: it has nothing for some of its matrices "
            f"({str(warning)[:200]}); give the model that it was made for"
        ) from warning
    except (RuntimeError, ValueError, KeyError) as error:
        named = getattr(peft.PeftConfig.from_pretrained(str(path)), "base_model_name_or_path", None)
        first = str(error).strip().splitlines()
        raise ValueError(
            f"the adapter {path} does not fit the base model {base_name}; it names {named!r} as its base. "
            f"Give that one as 'model', or another adapter ({' '.join(first[:2]).strip()})"
        ) from error


def _fetch(kind: Any, where: str, what: str, **options: Any) -> Any:
    if not Path(where).exists():
        require_loadable(where, "model")
    try:
        return kind.from_pretrained(where, **options)
    except OSError as error:
        raise FileNotFoundError(
            f"no {what} found under {where}: neither a folder with one, nor a name on the Hugging Face hub that "
            "can be reached from here"
        ) from error
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        found = str(error).split(" for this kind")[0].split(".")[-1].strip("'> ")
        raise ValueError(
            f"expected a causal language model (a decoder, which AutoModelForCausalLM loads) under {where}, got a "
            f"model of another kind ({found})"
        ) from error


def _base_of(folder: str) -> str:
    config = require("peft", "peft").PeftConfig.from_pretrained(folder)
    if not config.base_model_name_or_path:
        raise ValueError(f"the adapter in {folder} does not name its base model; pass the model and --adapter {folder}")
    return str(config.base_model_name_or_path)
