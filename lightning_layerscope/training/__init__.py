"""Fine-tune with instructions: data, module, adapters, per-task loss; and a small model to try it on.

Loaded on first use: tokenizer, model and encoding need no Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_layerscope.training.adapters import add_lora
    from lightning_layerscope.training.datamodule import InstructionDataModule
    from lightning_layerscope.training.encoding import EncodedExample, encode_examples
    from lightning_layerscope.training.evaluation import TaskScore, evaluate_tasks, score_tasks
    from lightning_layerscope.training.loading import load_model
    from lightning_layerscope.training.models import small_llama
    from lightning_layerscope.training.module import InstructionModule
    from lightning_layerscope.training.pretraining import pretrain, raw_texts
    from lightning_layerscope.training.tokenizers import train_tokenizer

_HOMES = {
    "EncodedExample": "encoding",
    "InstructionDataModule": "datamodule",
    "InstructionModule": "module",
    "TaskScore": "evaluation",
    "add_lora": "adapters",
    "encode_examples": "encoding",
    "evaluate_tasks": "evaluation",
    "load_model": "loading",
    "pretrain": "pretraining",
    "raw_texts": "pretraining",
    "score_tasks": "evaluation",
    "small_llama": "models",
    "train_tokenizer": "tokenizers",
}

__all__ = [
    "EncodedExample",
    "InstructionDataModule",
    "InstructionModule",
    "TaskScore",
    "add_lora",
    "encode_examples",
    "evaluate_tasks",
    "load_model",
    "pretrain",
    "raw_texts",
    "score_tasks",
    "small_llama",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
