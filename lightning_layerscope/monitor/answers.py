"""How the model answers the probes: loss of the reference answers, and what it would say first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.extraction.checks import check_probes
from lightning_layerscope.extraction.target import Target, find_target
from lightning_layerscope.functional.divergence import TopWords, top_words, top_words_kl
from lightning_layerscope.measurements.behaviour import KL, LOSS, Rows
from lightning_layerscope.training.encoding import EncodedExample
from lightning_layerscope.training.evaluation import row_losses

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet

KEPT = 64
"""Likeliest next words that keep a probability of their own: 776 bytes a prompt for the whole run."""

WORDS = ("words", "log_probabilities")
"""The two parts of a reduced distribution, as they are named in a baseline."""


@dataclass
class Answered:
    """What one pass over prompts and answers gave.

    Attributes:
        rows: ``<group>/<quantity>/<task>`` to ``(prompts,)``: ``loss`` in nats per answer token, ``kl`` in nats.
        words: ``<group>/words/<task>`` and ``<group>/log_probabilities/<task>``: the next-word distributions, reduced.
    """

    rows: Rows = field(default_factory=dict)
    words: Rows = field(default_factory=dict)


def answer_probes(
    model: nn.Module,
    groups: Mapping[str, ProbeSet],
    wanted: Mapping[str, frozenset[str]],
    baseline: Rows | None,
    *,
    max_tokens: int | None = None,
    layer_modules: str | None = None,
) -> Answered:
    """One pass over the prompts with their answers; the model is left as it was.

    Args:
        model: Holds a causal language model of transformers.
        groups: Group to its probes.
        wanted: Group to what is wanted of it: ``"loss"``, ``"kl"``.
        baseline: What the distributions are compared with; None to keep these, whose divergence from themselves is 0.
        max_tokens: Bound of the padded tokens in one pass.
        layer_modules: Where the layers are, if they are not found.
    """
    rows = [
        (group, task, row, EncodedExample(task, probe.example_ids[row], ids, _answer(probe.answers, row, ids)))
        for group, probes in groups.items()
        for task, probe in probes.items()
        for row, ids in enumerate(probe.input_ids)
    ]
    names = {index: (group, task, row) for index, (group, task, row, _) in enumerate(rows)}
    reader = _FirstWords(names, baseline)
    diverging = any(KL in each for each in wanted.values())
    target = find_target(model, layer_modules)
    with no_trace(model):
        per_token = _losses(target, [row for *_, row in rows], reader if diverging else None, max_tokens)
    answered = Answered()
    for group, probes in groups.items():
        for task in probes:
            own = [index for index, (of, name, *_) in enumerate(rows) if (of, name) == (group, task)]
            if LOSS in wanted[group]:
                answered.rows[f"{group}/{LOSS}/{task}"] = per_token[own]
            if KL in wanted[group]:
                reader.collect(answered, group, task, own)
    return answered


def _losses(
    target: Target, rows: Sequence[EncodedExample], reader: _FirstWords | None, max_tokens: int | None
) -> NDArray[np.float64]:
    """Nats per answer token of every row; rows that rotary embeddings treat differently go apart."""
    regimes: dict[Hashable, list[int]] = {}
    for index, row in enumerate(rows):
        regimes.setdefault(target.regime(len(row)) if target.regime else None, []).append(index)
    means = np.empty(len(rows))
    options: dict[str, Any] = {} if max_tokens is None else {"max_tokens_per_batch": max_tokens}
    for own in regimes.values():
        if target.ropes is not None:
            target.ropes.reset()
        first_words = None if reader is None else partial(reader.read, torch.tensor(own))
        losses = row_losses(target.call, [rows[index] for index in own], first_words=first_words, **options)
        means[own] = (losses.total.double() / losses.tokens).numpy()
    return means


def check_head(model: nn.Module, target: Target) -> None:
    """Whether the model gives probabilities of next words.

    Raises:
        ValueError: With what was expected, what came and what to do.
    """
    inner: Any = target.language_model
    causal = target.forward is None and target.decoder_start is None and hasattr(inner, "can_generate")
    if not causal or not inner.can_generate() or inner.get_output_embeddings() is None:
        raise ValueError(
            f"answers are measured on a causal language model of transformers, and {type(model).__name__} holds none "
            "with a head that this knows: leave answer_loss, kl, gradient_conflict and retention out."
        )


def check_answers(name: str, probes: ProbeSet, target: Target) -> None:
    """Whether all prompts have a reference answer, and the model can read both together.

    Args:
        name: What the probes are, in words.
        probes: Whose loss is wanted.
        target: The model.

    Raises:
        ValueError: With what was expected, what came and what to do.
    """
    lacking = [task for task, probe in probes.items() if not probe.answers or not all(probe.answers)]
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(probes)} tasks of the {name} have prompts without a reference answer "
            f"({', '.join(lacking[:5])}), and their loss is wanted. Make them of tasks with outputs (a set saved by an "
            "earlier version has none: make it again), or leave out what needs answers."
        )
    pairs = {
        task: tuple(ids + more for ids, more in zip(probe.input_ids, probe.answers, strict=True))
        for task, probe in probes.items()
    }
    check_probes(probes.with_probes([replace(probe, input_ids=pairs[task]) for task, probe in probes.items()]), target)


def _answer(answers: tuple[tuple[int, ...], ...], position: int, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """The reference answer; where there is none any token, so that the one behind the prompt is predicted."""
    return (answers[position] if answers else ()) or prompt[-1:]


class _FirstWords:
    """Reads the distributions behind the prompts as they come by.

    Args:
        names: Row to group, task and its place in the task.
        baseline: To compare with; None to keep them.
    """

    def __init__(self, names: Mapping[int, tuple[str, str, int]], baseline: Rows | None) -> None:
        self.names, self.baseline = names, baseline
        self._divergence: dict[int, float] = {}
        self._words: dict[int, tuple[Tensor, Tensor]] = {}

    def read(self, own: Tensor, logits: Tensor, indices: Tensor) -> None:
        """Take in logits ``(rows, words)`` of the rows ``own[indices]``."""
        rows = own[indices].tolist()
        if self.baseline is None:
            reduced = top_words(logits, min(KEPT, logits.shape[1] - 1))
            for row, words, logs in zip(rows, reduced.words.cpu(), reduced.log_probabilities.cpu(), strict=True):
                self._words[row] = words, logs
            return
        known = [position for position, row in enumerate(rows) if self._key(row, WORDS[0]) in self.baseline]
        if known:
            stored = TopWords(*(self._stored([rows[each] for each in known], kind) for kind in WORDS))
            for position, value in zip(known, top_words_kl(stored, logits[known]).tolist(), strict=True):
                self._divergence[rows[position]] = value

    def collect(self, answered: Answered, group: str, task: str, rows: list[int]) -> None:
        """Put a task's part where it belongs; nothing where the baseline did not know the task."""
        if self.baseline is None:
            for kind, each in zip(WORDS, zip(*(self._words[row] for row in rows), strict=True), strict=True):
                answered.words[f"{group}/{kind}/{task}"] = torch.stack(each).numpy()
            answered.rows[f"{group}/{KL}/{task}"] = np.zeros(len(rows))
        elif all(row in self._divergence for row in rows):
            answered.rows[f"{group}/{KL}/{task}"] = np.array([self._divergence[row] for row in rows])

    def _key(self, row: int, kind: str) -> str:
        group, task, _ = self.names[row]
        return f"{group}/{kind}/{task}"

    def _stored(self, rows: list[int], kind: str) -> Tensor:
        assert self.baseline is not None
        return torch.stack([torch.from_numpy(self.baseline[self._key(row, kind)][self.names[row][2]]) for row in rows])
