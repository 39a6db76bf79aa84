"""A seeded choice of rows that depends on nothing but seed, task and example id."""

from __future__ import annotations

import hashlib


def sampling_key(seed: int, task: str, example_id: str) -> int:
    """The place of an example in its task's random order: the n lowest keys are a choice of n.

    A hash rather than a generator: every example is drawn alike, whatever the order of rows and tasks, and whichever
    Python version; adding tasks changes nothing, and n + 1 examples are the n ones and one more.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}\0{task}\0{example_id}".encode()).digest()[:16], "big")
