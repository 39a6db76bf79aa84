"""Warnings of other libraries that are matched by their text, as they have no class of their own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

MISSING_GLYPH = "Glyph .* missing from"  # matplotlib, for letters that its font lacks
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


@contextmanager
def without_missing_glyphs() -> Iterator[None]:
    """Leave out that a font lacks letters: they come out as boxes, no reason to warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH, category=UserWarning)
        yield
