"""The monitor itself, whatever trainer it hangs on: when, how often, and what of a failure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor import messages
from lightning_layerscope.monitor.active import ActiveSource
from lightning_layerscope.monitor.budget import Budget
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.ranks import Ranks, attempt
from lightning_layerscope.monitor.results import Results
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.source import Source
from lightning_layerscope.monitor.start import Plan, begin
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank

_STEPS_FOR_ESTIMATE = 20  # the first steps of a run are slower than the rest


class Monitor:
    """Measures a run at its cadence, within its budget, and never ends it.

    A trainer's callback calls :meth:`start`, :meth:`after_step`, :meth:`after_validation`, :meth:`end` and
    :meth:`crash` on every rank, at the same steps. Nothing of what goes wrong inside leaves these, but
    ``KeyboardInterrupt`` and its like: a failure is warned about once, counted, and the run goes on.

    Args:
        settings: What was asked for.
        clock: Seconds; for tests.

    Attributes:
        results: Record, folder and loggers; meaningful on rank 0.
        failures: What failed, and how often.
        bank: The reference, on rank 0; None without one.
        skipped: Due measurements that were left out for the budget.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        self.settings = settings
        self.budget = Budget(settings.max_overhead) if clock is None else Budget(settings.max_overhead, clock)
        self.failures = Failures(settings.name, verbose=settings.verbose)
        self.results = Results(self.failures, report=settings.report)
        self.bank: ReferenceBank | None = None
        self.skipped = 0
        self._ranks: Ranks | None = None
        self._source: Source | None = None
        self._state: dict[str, Any] = {}
        self._running = False
        self._seen = self._first_step = 0
        self._forced_checked = self._off = False
        self._left_out = -1  # the last step at which a due measurement was left out

    @property
    def record(self) -> RunRecord:
        """The measurements so far."""
        return self.results.record

    # What trainers call.

    def start(
        self,
        host: HostState,
        *,
        probes: ProbeSet | None,
        folder: Path | None,
        sinks: Callable[[Path | None], Sequence[Any]],
        source: Callable[[Ranks], Source] | None = None,
    ) -> None:
        """Find or take the baseline, print what a measurement costs, and take the first one.

        Args:
            host: Before the first step of this process.
            probes: What to measure on; None in passive mode.
            folder: Where results go, None for nowhere; another run's folder is left alone.
            sinks: Gives the sinks, from the results' folder; called on rank 0.
            source: Makes the source of hidden states; default active.
        """
        earlier = None if self.bank is None else (self.record, self.bank)
        self._ranks = ranks = Ranks(self.settings.ranks)
        self._source, self.bank = None, None
        self._running, self._forced_checked, self._left_out = True, False, -1
        self._seen = self._first_step = host.step
        self.failures.counts.clear()
        if not ranks.takes_part:
            return
        with self._contained():
            if source is None and probes is not None:
                here: Source = ActiveSource(self.settings, probes, ranks)
            else:
                assert source is not None
                here = source(ranks)
            self._source = here
            plan = ranks.agree(lambda: self._plan(host.step, folder, probes, earlier))
            if plan.bank is not None:
                self.bank = plan.bank
                here.set_reference(plan.bank)
            self._off = plan.kind == "off"
            if ranks.leads and not self._off:
                opened = attempt(lambda: self._open(plan, probes, here, sinks))
                if opened.error:  # told, not raised: the other ranks are on their way to the first measurement
                    self.failures.add("start", f"{opened.error}.")
            first = plan.kind == "measure" and ranks.agree(lambda: here.ready)
            if first:
                self._measure(host, forced=True)
            if ranks.leads and first and self.record.measurements:
                self.failures.say(messages.first_cost(self.settings, self.budget, self.results.folder))

    def after_step(self, host: HostState) -> None:
        """Call after every batch, optimiser step or not."""
        if not self._measures:
            return
        since, self._seen = self._seen, host.step
        attempt(lambda: self._check_forced(host))
        if self.settings.mode == "active" and self.settings.cadence.due(host.step, since):
            with self._contained():
                self._measure_if_wanted(host)

    def after_validation(self, host: HostState) -> None:
        """Call at the end of every complete validation inside training."""
        if self._measures and (self.settings.mode == "passive" or self.settings.cadence.on_validation_end):
            with self._contained():
                self._measure_if_wanted(host)

    def end(self, host: HostState, *, measure: bool = True) -> None:
        """Take the last measurement and finish; call when training ends as it should.

        Args:
            host: At the end.
            measure: False where the model is no longer that of the last step.
        """
        ranks = self._ranks
        if ranks is None or not self._running:
            return
        if measure and self._measures and self.settings.mode == "active":
            with self._contained():
                if ranks.agree(lambda: self._wants_last(host.step)):
                    self._measure(host, forced=True)
        with self._contained():
            self._finish("finished")
        attempt(ranks.close)

    def crash(self) -> None:
        """Finish from the last measurement; call when an exception or an interruption ends the run. No collectives."""
        if self._running:
            with self._contained():
                self._finish("exception")

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart: primitives alone. The measurements and the reference are in files."""
        if self.bank is None:
            return dict(self._state)  # nothing measured (yet): what an earlier process knew stays known
        return {
            "version": 1,
            "run_id": self.record.run_id,
            "folder": "" if self.results.folder is None else str(self.results.folder.absolute()),
            "reference_digest": self.bank.digest,
            "tokens_digest": str(self.record.config.get("tokens_digest", "")),
            "elapsed": self.budget.elapsed,
            "forced": self.budget.forced,
            "chosen": self.budget.chosen,
            "cost": self.budget.cost,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint kept; used by the next :meth:`start`.

        Also called in a running fit with the state of its beginning (by learning rate finders): that changes nothing.
        """
        self._state = dict(state)

    # Inside.

    @contextlib.contextmanager
    def _contained(self) -> Iterator[None]:
        """No exception of the block reaches training, and no draw of random numbers (by loggers, by charts)."""
        with self.failures.contained(), no_trace(nn.Module()):
            yield

    @property
    def _measures(self) -> bool:
        return self._running and self._source is not None and self._ranks is not None and self._ranks.takes_part

    def _plan(
        self, step: int, folder: Path | None, probes: ProbeSet | None, earlier: tuple[RunRecord, ReferenceBank] | None
    ) -> Plan:
        """On rank 0, never raises: how to begin, also where that cannot be found out."""
        digest = None if probes is None else probes.tokens_digest
        outcome = attempt(
            lambda: begin(
                self.settings, step=step, wanted=folder, state=self._state, tokens_digest=digest, earlier=earlier
            )
        )
        nothing = "Nothing is measured in this run; training goes on."
        if outcome.value is None:
            self.failures.add("start", f"{outcome.error}. {nothing}")
            return Plan("off", reason=outcome.error)
        plan, record = outcome.value.plan, outcome.value.record
        self.results.begin(record, outcome.value.folder)
        before = self._state if self._state.get("run_id") == record.run_id else {}
        self.skipped = int(before.get("skipped", 0))
        self.budget.start(**{key: float(before.get(key, 0)) for key in ("elapsed", "forced", "chosen", "cost")})
        if plan.kind == "off":
            self.failures.add("start", f"{plan.reason} {nothing}")
        elif plan.reason:
            self.failures.warn(plan.reason)
        return plan

    def _open(
        self, plan: Plan, probes: ProbeSet | None, source: Source, sinks: Callable[[Path | None], Sequence[Any]]
    ) -> None:
        """On rank 0: what the record says of itself, the preview, and the loggers."""
        self.record.config.update(messages.configuration(self.settings, source))
        if plan.reason:
            self.record.config["beginning"] = plan.reason
        self.failures.say(messages.preview(self.settings, source))
        self.results.open(probes, sinks)

    def _measure_if_wanted(self, host: HostState) -> None:
        assert self._ranks is not None
        if self._ranks.agree(lambda: self._wants(host.step)):
            self._measure(host, forced=False)

    def _wants(self, step: int) -> bool:
        """On rank 0: whether a due measurement is taken."""
        if self.settings.mode == "passive":  # costs no forward pass; its first one is the baseline
            return self._is_new(step) and not self._off and self._source is not None and self._source.ready
        if self.bank is None or not self._is_new(step):
            return False
        if self.budget.allows():
            return True
        self.skipped += 1
        self._left_out = step
        if self.skipped == 1:
            self.failures.say(messages.left_out(self.settings, self.budget, step))
        return False

    def _wants_last(self, step: int) -> bool:
        """On rank 0: whether the last measurement is taken; one left out at this very step is made up for."""
        if self.bank is None or not self._is_new(step):
            return False
        self.skipped -= self._left_out == step
        return True

    def _is_new(self, step: int) -> bool:
        return not self.record.measurements or self.record.measurements[-1].step < step

    def _measure(self, host: HostState, *, forced: bool) -> None:
        """One measurement, on every rank that takes part: own part, one gather, and the rest on rank 0."""
        assert self._ranks is not None
        assert self._source is not None
        source = self._source
        with self.budget.measuring(forced=forced):
            outcomes = self._ranks.gather(attempt(lambda: source.measure_local(host)))
            if not self._ranks.leads:
                return
            errors = [f"rank {rank}: {found.error}" for rank, found in enumerate(outcomes) if found.error]
            if not errors:
                merged = attempt(lambda: source.merge([found.value for found in outcomes], host))
                if merged.value is not None:
                    self.bank, measurement = merged.value
                    measurement.seconds, measurement.overhead = self.budget.running, self.budget.overhead
                    self.record.config.update(failures=dict(self.failures.counts), left_out=self.skipped)
                    self.results.keep(measurement, self.bank, host.host_step)
                    return
                errors = [merged.error]
            text = "; ".join(errors).removeprefix("rank 0: ") if len(outcomes) == 1 else "; ".join(errors)
            self.failures.add(
                "measurement",
                f"at step {host.step}: {text}. {messages.consequence(self.settings, lost=self.bank is None)}",
            )

    def _finish(self, status: str) -> None:
        """Nothing is measured here."""
        self._running = False
        self._state = self.state_dict()
        if self._ranks is None or not self._ranks.leads:
            return
        self.record.config.update(failures=dict(self.failures.counts), left_out=self.skipped)
        self.results.finish(status, self.bank)
        if self.record.measurements:
            self.failures.say(messages.closing(self.record, self.budget, self.skipped, self.failures.summary()))

    def _check_forced(self, host: HostState) -> None:
        """On rank 0: warn once when the two forced measurements alone will take more than the budget of this run."""
        steps = host.step - self._first_step
        leads = self._ranks is not None and self._ranks.leads
        if not leads or self._forced_checked or steps < _STEPS_FOR_ESTIMATE or not host.total_steps:
            return
        self._forced_checked = True
        training = self.budget.elapsed - self.budget.spent
        expected = training * host.total_steps / max(host.step, 1) + 2 * self.budget.cost
        if self.budget.exceeded_by_forced(expected):
            self.failures.warn(messages.too_dear(self.settings, self.budget, expected))
