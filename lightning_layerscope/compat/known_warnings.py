"""Warnings of other libraries that are matched by their text, as they have no class of their own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_IN_TRAINING = (
    ".*does not have many workers.*",  # Lightning; tokenised rows need none
    ".*smaller than the logging interval.*",  # Lightning; a control may take fewer steps than that
    ".*`is_gradient_checkpointing` is deprecated.*",  # peft with transformers 5
    ".*treespec.*is deprecated.*",  # Lightning with torch 2.13
    ".*GPU available but not used.*",  # Lightning
)


@contextmanager
def without_training_notes() -> Iterator[None]:
    """Leave out what other libraries say about their own insides, or about choices that are deliberate in a study."""
    with warnings.catch_warnings():
        for message in _IN_TRAINING:
            warnings.filterwarnings("ignore", message=message)
        yield
