"""A terminal without banners: what other libraries print about themselves is left out, what concerns the run is not."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_OURS = "layerscope"
# WandbLogger(offline=True) sets WANDB_MODE, which must not reach what runs later in this process.
_ENVIRONMENT = {"WANDB_SILENT": "true", "TOKENIZERS_PARALLELISM": "false"}
_KEPT = (*_ENVIRONMENT, "WANDB_MODE")


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block third-party warnings, tips and progress bars stay silent; this package's warnings are one line.

    Errors are not touched. Logging, warning filters and environment variables are as before afterwards.
    """
    before = {name: os.environ.get(name) for name in _KEPT}
    # Not by their loggers' levels: libraries set these when they are imported, maybe only inside the block.
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.INFO))
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings(), _transformers_quiet():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", message=_OURS)
            warnings.showwarning = _one_line  # restored by catch_warnings
            yield
    finally:
        logging.disable(disabled)
        for name, former in before.items():
            if former is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = former


@contextmanager
def _transformers_quiet() -> Iterator[None]:
    """Its warnings go through a logger, and reading a model's weights has a bar, which would stand between ours."""
    try:
        from transformers.utils import logging as theirs
    except ImportError:
        yield
        return
    shown, level = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if shown:
            theirs.enable_progress_bar()


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    print(f"note: {str(message).removeprefix('layerscope: ')}", file=sys.stderr)
