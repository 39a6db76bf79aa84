"""What one process measures of a model's answers, against how it answered at the beginning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_layerscope.extraction import extract_hidden_states
from lightning_layerscope.functional.cka import cka_from_grams
from lightning_layerscope.functional.cluster_intervals import mean_intervals
from lightning_layerscope.functional.gram import centered_gram
from lightning_layerscope.measurements.behaviour import (
    ANSWERS,
    KL,
    LOSS,
    RANKS,
    RETENTION,
    Behaviour,
    Rows,
    of_tasks,
    score,
)
from lightning_layerscope.monitor.answers import WORDS, Answered, answer_probes
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.settings import Settings

if TYPE_CHECKING:
    from lightning_layerscope.probes import Probe, ProbeSet

Floats = NDArray[np.float64]

_GRAMS, _TOKENS = "gram", "tokens"


@dataclass(frozen=True)
class BehaviourPart:
    """One process's part.

    Attributes:
        rows: ``<group>/<quantity>/<task>`` to ``(prompts,)``.
        drift: Task of the retention set to ``(layers,)``, 1 - CKA with the beginning.
        baseline: The baseline of its tasks, where it was taken now.
        warnings: What could not be measured, in words.
    """

    rows: Rows = field(default_factory=dict)
    drift: dict[str, Floats] = field(default_factory=dict)
    baseline: Rows = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class BehaviourSource:
    """Measures the answers of this process's tasks.

    Args:
        settings: What the user asked for.
        probes: The probes of this process's tasks; None without any.
        retention: The probes of this process's tasks of what must not be lost; None without any.

    Attributes:
        baseline: How the model answered at the beginning (with adapters off under ``reference="base"``), by the keys of
            :class:`~lightning_layerscope.measurements.behaviour.Behaviour`; None as long as it was not taken.
    """

    def __init__(self, settings: Settings, probes: ProbeSet | None, retention: ProbeSet | None) -> None:
        self.settings = settings
        signals = settings.signals
        self.wanted = {
            ANSWERS: frozenset([LOSS] * signals.answer_loss + [KL] * signals.kl),
            RETENTION: frozenset((LOSS, KL)),
        }
        given = {ANSWERS: probes, RETENTION: retention}
        self.groups = {name: each for name, each in given.items() if each is not None and self.wanted[name]}
        self.baseline: Rows | None = None
        self._new: Rows = {}

    @property
    def wants_baseline(self) -> bool:
        """Whether something is compared with how the model answered at the beginning, which is not known yet."""
        return bool(self._unknown())

    def set_baseline(self, rows: Rows) -> None:
        """Compare with this beginning."""
        self.baseline = still_known(rows, self.groups)

    def begin(self, host: HostState) -> None:
        """Take of the baseline what is not known: the model as it is now, its adapters off."""
        taken = self._taken(self._answer(host, None), self._grams(host))
        self.baseline = self._new = taken | (self.baseline or {})

    def measure(self, host: HostState, ranks: Mapping[str, Floats]) -> BehaviourPart:
        """Answer the prompts, and compare with the beginning; where there is none so far, this is it.

        Args:
            host: Now.
            ranks: Task to the effective rank of its states; empty where it is not measured.
        """
        first = self.baseline is None
        answered, grams = self._answer(host, self.baseline), self._grams(host)
        if self.baseline is None:
            self.baseline = self._taken(answered, grams)
        if first or self._new:
            # Of a run that goes on, the ranks at its beginning stay.
            self.baseline = self._new = {f"{RANKS}/{task}": each for task, each in ranks.items()} | self.baseline
        drift, estimator = {}, self.settings.comparison.estimator
        for task, now in grams.items():
            if (before := self.baseline.get(f"{RETENTION}/{_GRAMS}/{task}")) is not None:
                drift[task] = 1 - cka_from_grams(torch.from_numpy(before), torch.from_numpy(now), estimator).numpy()
        new, self._new = self._new, {}
        rows = answered.rows | {f"{RANKS}/{task}": each for task, each in ranks.items()}
        return BehaviourPart(rows, drift, new, self._warnings())

    def _answer(self, host: HostState, baseline: Rows | None) -> Answered:
        if not self.groups:
            return Answered()
        own = self.settings.extraction
        with host.autocast():
            return answer_probes(
                host.model,
                self.groups,
                self.wanted,
                baseline,
                max_tokens=own.max_tokens_per_batch,
                layer_modules=own.layer_modules,
            )

    def _grams(self, host: HostState) -> dict[str, NDArray[np.float32]]:
        """Centred Gram matrices of the retention set, ``(layers, prompts, prompts)`` per task."""
        if RETENTION not in self.groups:
            return {}
        with host.autocast():
            states = extract_hidden_states(host.model, self.groups[RETENTION], **self.settings.extract_options)
        return {task: centered_gram(each.float()).cpu().numpy() for task, each in states.items()}

    def _taken(self, answered: Answered, grams: Mapping[str, NDArray[np.float32]]) -> Rows:
        rows = {key: each for key, each in answered.rows.items() if f"/{LOSS}/" in key}
        rows |= answered.words | {f"{RETENTION}/{_GRAMS}/{task}": each for task, each in grams.items()}
        for group, probes in self.groups.items():
            rows |= {f"{group}/{_TOKENS}/{task}": _fingerprint(probe) for task, probe in probes.items()}
        return rows

    def _unknown(self) -> list[str]:
        """Tasks that are compared with a beginning which is not known."""
        return [
            task
            for group, probes in self.groups.items()
            for task in probes
            if (group == RETENTION or KL in self.wanted[group])
            and f"{group}/{WORDS[0]}/{task}" not in (self.baseline or {})
        ]

    def _warnings(self) -> tuple[str, ...]:
        """In words, of which tasks the beginning is not known."""
        if not (lacking := self._unknown()):
            return ()
        return (
            f"how the model answered the prompts of {len(lacking)} tasks at the beginning is not known "
            f"({', '.join(lacking[:5])}): no KL, drift and change of loss of these",
        )


def still_known(rows: Rows, groups: Mapping[str, ProbeSet]) -> Rows:
    """Of a beginning what is of these prompts and answers; of tasks that had others then, nothing is known."""
    known = {key: each for key, each in rows.items() if key.startswith(RANKS)}
    for group, probes in groups.items():
        for task, probe in probes.items():
            if np.array_equal(rows.get(f"{group}/{_TOKENS}/{task}", 0), _fingerprint(probe)):
                own = (f"{group}/{kind}/{task}" for kind in (LOSS, *WORDS, _GRAMS, _TOKENS))
                known |= {key: rows[key] for key in own if key in rows}
    return known


def join_behaviour(parts: Iterable[BehaviourPart], clusters: Mapping[str, Mapping[str, str]]) -> Behaviour:
    """What one process would have measured, with intervals.

    Args:
        parts: The parts of all processes.
        clusters: Group to task to cluster, in the order of the tasks.
    """
    rows: Rows = {}
    baseline: Rows = {}
    for part in parts:
        rows |= part.rows
        baseline |= part.baseline
    scores = {}
    for group, names in clusters.items():
        for quantity in (LOSS, KL):
            known = of_tasks(rows, f"{group}/{quantity}")
            if ordered := {task: known[task] for task in names if task in known}:
                scores[f"{group}/{quantity}"] = score(ordered, names)
    return Behaviour(rows, scores, baseline)


def drift_curves(parts: Iterable[BehaviourPart], clusters: Mapping[str, str]) -> dict[str, Floats]:
    """The curve ``retention_drift``, ``(3, layers)``: mean over the retention set's tasks, with its interval."""
    curves = {task: curve for part in parts for task, curve in part.drift.items()}
    ordered = [task for task in clusters if task in curves]
    if not ordered:
        return {}
    over = mean_intervals([curves[task] for task in ordered], [clusters[task] for task in ordered])
    return {"retention_drift": np.stack([over.mean, over.low, over.high])}


def _fingerprint(probe: Probe) -> NDArray[np.int64]:
    """Of the tokens that a task's prompts and answers are made of."""
    digest = hashlib.sha256(repr((probe.input_ids, probe.answers)).encode()).digest()
    return np.frombuffer(digest, dtype=np.int64)
