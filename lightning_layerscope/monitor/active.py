"""Active mode: the monitor's own forward passes over the probes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lightning_layerscope.extraction import HiddenStates, extract_hidden_states
from lightning_layerscope.measurements import Measurement, take_measurement
from lightning_layerscope.measurements.behaviour import ANSWERS, RETENTION, Rows
from lightning_layerscope.monitor.adapters import adapters_off
from lightning_layerscope.monitor.behaviour import (
    BehaviourPart,
    BehaviourSource,
    drift_curves,
    join_behaviour,
    still_known,
)
from lightning_layerscope.monitor.distributed import Share, compare_share, merge_shares, own_share, with_digests
from lightning_layerscope.monitor.gradients import groups_of, task_gradients
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.ranks import Ranks
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.sharding import check_not_sharded
from lightning_layerscope.monitor.signals import SignalValues, join_signals, measure_signals, signal_curves
from lightning_layerscope.monitor.source import name_of_reference
from lightning_layerscope.monitor.weights import WeightReference
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.probes.near_duplicates import copy_groups
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.monitor.start import Plan


@dataclass(frozen=True)
class _Part:
    """One rank's part: its hidden states (one process) or what it made of them (several), and its new reference."""

    signals: SignalValues = field(default_factory=SignalValues)
    behaviour: BehaviourPart = field(default_factory=BehaviourPart)
    states: HiddenStates | None = None
    share: Share | None = None
    bank: ReferenceBank | None = None


class ActiveSource:
    """Extracts hidden states of the probes; with several ranks each has a part of the tasks.

    Args:
        settings: What the user asked for.
        probes: All of them.
        ranks: The processes of the run.
        retention: What must not be lost; None where nothing is named.
    """

    def __init__(self, settings: Settings, probes: ProbeSet, ranks: Ranks, retention: ProbeSet | None = None) -> None:
        self.settings, self.probes, self.ranks = settings, probes, ranks
        self.retention = retention
        self.reference_name: str | None = None
        self.baseline: Rows = {}
        self._own, kept = own_share(probes, ranks), None if retention is None else own_share(retention, ranks)
        self.tasks = [] if self._own is None else list(self._own)
        self._behaviour = BehaviourSource(settings, self._own, kept)
        self._weights, self._fresh = WeightReference(settings.signals.update_from), False
        self._options = dict(settings.compare_options)
        if self._own is not None and settings.comparison.near_copies == "group":
            self._options["groups"] = copy_groups(self._own)
        self._bank: ReferenceBank | None = None  # of all tasks where it is known, else of this rank's

    @property
    def ready(self) -> bool:
        """Always: the probes are at hand."""
        return True

    def begin(self, plan: Plan) -> None:
        """Go on from here: with this reference and baseline, where there are such."""
        self.reference_name, self._bank, self._fresh = plan.reference_name, plan.bank, plan.fresh
        if plan.baseline is not None:
            everything = {ANSWERS: self.probes} | ({} if self.retention is None else {RETENTION: self.retention})
            self.baseline = still_known(plan.baseline, everything)
            self._behaviour.set_baseline(plan.baseline)

    def measure_local(self, host: HostState) -> _Part:
        """Extract this rank's tasks and, with several ranks, compare them."""
        check_not_sharded(host.model)
        new = None
        of_base = self.settings.reference_kind == "base"
        if of_base and ((self._bank is None and self._own is not None) or self._behaviour.wants_baseline):
            with adapters_off(host.model):
                if self._bank is None and self._own is not None:
                    new = self._keep(self._extract(host), "base")
                if self._behaviour.wants_baseline:
                    self._behaviour.begin(host)
        if self._own is None:
            return _Part(behaviour=self._behaviour.measure(host, {}))
        states = self._extract(host)
        signals = self._signals(host, states)
        behaviour = self._behaviour.measure(host, signals.by_task.get("effective_rank", {}))
        if self._bank is None and new is None:
            new = self._keep(states, name_of_reference(self.reference_name, host.step))
        if self.ranks.world == 1:
            return _Part(signals, behaviour, states=states, bank=new)
        if new is not None:
            self._bank = new
        assert self._bank is not None
        share = compare_share(states, self._bank.select(self.tasks), step=host.step, **self._options)
        return _Part(signals, behaviour, share=share, bank=new)

    def merge(self, parts: list[_Part], host: HostState) -> tuple[ReferenceBank, Measurement]:
        """Put the parts together; a new reference is kept."""
        bank, measurement = self._merge(parts, host)
        values, behaviours = join_signals([part.signals for part in parts]), [part.behaviour for part in parts]
        measurement.curves = signal_curves(self.settings.signals, values, measurement.profile)
        groups = {ANSWERS: self.probes.clusters, RETENTION: {} if self.retention is None else self.retention.clusters}
        measurement.behaviour = join_behaviour(behaviours, groups)
        measurement.curves |= drift_curves(behaviours, groups[RETENTION])
        self.baseline = measurement.behaviour.baseline | self.baseline
        lines = [line for part in behaviours for line in part.warnings]
        measurement.warnings += dict.fromkeys((*values.warnings, *lines))
        return bank, measurement

    def _merge(self, parts: list[_Part], host: HostState) -> tuple[ReferenceBank, Measurement]:
        if self.ranks.world == 1:
            part = parts[0]
            if part.bank is not None:
                self._bank = part.bank
            assert self._bank is not None
            assert part.states is not None
            # Tasks that the reference has beside the probes (a bank of a larger study) do not matter.
            bank = self._bank.select(self.tasks) if set(self._bank) > set(self.tasks) else self._bank
            return self._bank, take_measurement(part.states, bank, step=host.step, **self._options)
        if (new := [part.bank for part in parts if part.bank is not None]) and self.ranks.leads:
            self._bank = ReferenceBank.concat(new, list(self.probes))
        assert self._bank is not None
        shares = [part.share for part in parts if part.share is not None]
        return self._bank, merge_shares(shares, list(self.probes), reference_digest=self._bank.digest)

    def describe(self) -> dict[str, Any]:
        """What is measured on."""
        probes = self.probes
        return {
            "tasks": list(probes),
            "clusters": probes.clusters,
            "examples": {task: len(probe) for task, probe in probes.items()},
            "num_tokens": probes.num_tokens,
            "examples_digest": probes.examples_digest,
            "tokens_digest": probes.tokens_digest,
            "token_choice": str(probes.token_choice),
            "tokenizer": probes.tokenizer_name,
            "template": probes.template,
            "split": probes.split,
            "seed": probes.seed,
        }

    def preview(self) -> str:
        """What one measurement takes, in messages."""
        probes = self.probes
        sizes = ((len(probes), "task"), (probes.num_examples, "prompt"), (probes.num_tokens, "token"))
        text = ", ".join(count(number, noun) for number, noun in sizes)
        text += "" if self.retention is None else f", and {count(self.retention.num_examples, 'prompt')} of retention"
        return text + (f", shared by {self.ranks.world} processes" if self.ranks.world > 1 else "")

    def _extract(self, host: HostState) -> HiddenStates:
        assert self._own is not None
        with host.autocast():
            states = extract_hidden_states(host.model, self._own, **self.settings.extract_options)
        return with_digests(states, self.probes)

    def _signals(self, host: HostState, states: HiddenStates) -> SignalValues:
        assert self._own is not None
        signals, estimator = self.settings.signals, self.settings.comparison.estimator
        if not self.ranks.leads:  # the weights are the same everywhere: one copy and one update will do
            signals = replace(signals, update=False, drift_per_update=False, update_from=None)
        elif self._fresh:
            self._weights.begin(host.model)
            self._fresh = False
        values = measure_signals(signals, host.model, states, estimator, self._weights)
        if not signals.gradient_conflict:
            return values
        if len(self.probes) < 2 or not (groups := groups_of(self.probes)):
            line = "gradient_conflict: it takes two tasks at least, of three prompts each"
            return replace(values, warnings=(*values.warnings, line))
        own = self.settings.extraction
        with host.autocast():
            gradients = task_gradients(host.model, self._own, groups, own.max_tokens_per_batch, own.layer_modules)
        return replace(values, gradients=gradients)

    def _keep(self, states: HiddenStates, name: str) -> ReferenceBank:
        return ReferenceBank.from_states(states, name=name, robust=self.settings.measure == "cka")
