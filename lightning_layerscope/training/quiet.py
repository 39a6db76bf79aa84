"""A terminal without banners: what other libraries print about themselves is left out, what concerns the run is not."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CHATTY = (
    "pytorch_lightning",
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "lightning_fabric",
    "transformers",
)
_OURS = "layerscope"
# WandbLogger(offline=True) sets WANDB_MODE, which must not reach what runs later in this process.
_ENVIRONMENT = {"WANDB_SILENT": "true", "TOKENIZERS_PARALLELISM": "false"}
_KEPT = (*_ENVIRONMENT, "WANDB_MODE")


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block third-party warnings, tips and progress bars stay silent; this package's warnings are one line.

    Errors are not touched. Logging levels, warning filters and environment variables are as before afterwards.
    """
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    before = {name: os.environ.get(name) for name in _KEPT}
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings(), _without_bars():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", message=_OURS)
            warnings.showwarning = _one_line  # restored by catch_warnings
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, former in before.items():
            if former is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = former


@contextmanager
def _without_bars() -> Iterator[None]:
    """Reading a model's weights has a bar of its own, which would stand between ours."""
    try:
        from transformers.utils import logging as bars
    except ImportError:
        yield
        return
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _one_line(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    print(f"note: {message}", file=sys.stderr)
