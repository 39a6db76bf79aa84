"""The monitor itself, whatever trainer it hangs on: when, how often, and what of a failure."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from lightning_layerscope.extraction import no_trace
from lightning_layerscope.measurements import Measurement, RunRecord
from lightning_layerscope.monitor import messages
from lightning_layerscope.monitor.acting import Standing, standing
from lightning_layerscope.monitor.active import ActiveSource
from lightning_layerscope.monitor.attempts import Refused, attempt
from lightning_layerscope.monitor.budget import Budget
from lightning_layerscope.monitor.due import Choice
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.forecast import Forecast
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.judging import judge
from lightning_layerscope.monitor.launch import Launch
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.messages import sentence
from lightning_layerscope.monitor.ranks import Ranks
from lightning_layerscope.monitor.results import MakeSinks, Results
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.source import Source
from lightning_layerscope.monitor.start import Earlier, Plan
from lightning_layerscope.monitor.together import measure_together
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank


class Monitor:
    """Measures a run at its cadence, within its budget, and never ends it.

    A trainer's callback calls :meth:`start`, :meth:`after_step`, :meth:`after_validation`, :meth:`end` and
    :meth:`crash` on every rank, at the same steps. What goes wrong inside is warned about once and counted; only
    ``KeyboardInterrupt`` and its like leave these, and from :meth:`start` a mistake in the configuration.

    Args:
        settings: What the user asked for.
        clock: Seconds; for tests.

    Attributes:
        results: Record, folder and loggers; meaningful on rank 0.
        failures: What failed, and how often.
        bank: The reference, on rank 0; None without one.
        standing: What the last measurement asks of the trainer; on every rank that takes part.
        choice: Which due measurements are taken, and how many were left out for the budget.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        self.settings, self.cadence = settings, settings.cadence
        self.budget = Budget(settings.max_overhead) if clock is None else Budget(settings.max_overhead, clock)
        self.failures = Failures(settings.output.name, verbose=settings.verbose)
        output, alerts = settings.output, settings.actions.alerts
        self.results = Results(
            self.failures, report=settings.report, upload_prompts=output.upload_prompts, alerts=alerts
        )
        self.bank: ReferenceBank | None = None
        self.choice = Choice(settings, self.budget, self.failures.say)
        self.standing = Standing()
        self._probes: ProbeSet | None = None
        self._model: Callable[[], nn.Module | None] = type(None)  # gives None, and can be pickled
        self._ranks: Ranks | None = None
        self._source: Source | None = None
        self._state: dict[str, Any] = {}
        self._running = self._broken_off = self._model_changed = self._off = False
        self._seen = self._first_step = 0
        self._forecast = Forecast(settings, self.budget, 0)

    @property
    def record(self) -> RunRecord:
        """The measurements so far."""
        return self.results.record

    def start(
        self,
        host: HostState,
        *,
        probes: ProbeSet | None,
        location: Callable[[], Location],
        sinks: MakeSinks,
        retention: ProbeSet | None = None,
        source: Callable[[Ranks], Source] | None = None,
    ) -> None:
        """Find or take the baseline, print what a measurement costs, and take the first one.

        Args:
            host: Before the first step of this process.
            probes: What to measure on; None in passive mode.
            location: Says where results go; another run's folder is left alone. Called on rank 0.
            sinks: Gives the sinks. Called on rank 0.
            retention: What must not be lost.
            source: Makes the source of hidden states; default active.

        Raises:
            Refused: For a mistake in the configuration.
        """
        earlier = self._earlier(host.model)
        self._ranks = ranks = Ranks(self.settings.extraction.ranks)
        self._source, self.bank, self._probes, self._model = None, None, probes, weakref.ref(host.model)
        self._running, self._broken_off = True, False
        self.standing = Standing()
        self._model_changed = False  # by a measurement, as every further one would
        self._seen = self._first_step = host.step
        self._forecast = Forecast(self.settings, self.budget, host.step)
        self.failures.counts.clear()
        if not ranks.takes_part:
            return
        with self._contained():
            launch = Launch(self.settings, self.results, self.failures, self._state, (probes, retention), earlier)
            plan = ranks.agree(lambda: self._plan(launch, host, location))
            if plan.mistake:
                self._running = False
                raise launch.refusal or Refused(ValueError(plan.mistake))
            self._probes = plan.probes or probes
            here = self._active(ranks, retention) if source is None else source(ranks)
            here.begin(plan)
            self._source, self._off, self.bank = here, plan.kind == "off", plan.bank
            if ranks.leads and not self._off:
                opened = attempt(lambda: self._open(plan, here, sinks))
                if opened.error:  # told, not raised: the other ranks are on their way to the first measurement
                    self.failures.add("start", sentence(opened.error))
            first = plan.kind == "measure" and ranks.agree(lambda: here.ready)
            if first:
                self._measure(host, forced=True)
            if ranks.leads and first and self.record.measurements:
                self.failures.say(messages.first_cost(self.settings, self.budget, self.results.folder))

    def after_step(self, host: HostState) -> None:
        """Call after every batch, optimiser step or not."""
        since, self._seen = self._seen, host.step
        if not self._measures:
            return
        with self.budget.afterwards():
            self.results.after_step()
        if self._ranks is not None and self._ranks.leads and (warning := self._forecast.warning(host)):
            self.failures.warn(warning)
        if self.settings.mode == "active" and self.cadence.due(host.step, since):
            with self._contained():
                self._measure_if_wanted(host)

    def after_validation(self, host: HostState) -> None:
        """Call at the end of every complete validation inside training."""
        if self._measures and (self.settings.mode == "passive" or self.cadence.on_validation_end):
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
                if ranks.agree(lambda: self._able and self.choice.wants_last(host.step, self.record)):
                    self._measure(host, forced=True)
        with self._contained():
            self._finish("finished")
        attempt(ranks.close)

    def checkpoint(self, step: int) -> None:
        """Call when a checkpoint was written, so that the report can name the last one before something went wrong."""
        if self._running and self._ranks is not None and self._ranks.leads:
            seen = self.record.config.setdefault("checkpoints", [])
            seen[:] = [*(each for each in seen if each < step), step]

    def crash(self) -> None:
        """Finish from the last measurement; call when an exception or an interruption ends the run. No collectives."""
        if self._running:
            self._broken_off = self._seen > self._first_step
            with self._contained():
                self._finish("exception")

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart: primitives alone. The measurements and the reference are in files."""
        if self.bank is None:
            return dict(self._state)  # nothing measured (yet): what an earlier process knew stays known
        return {
            "version": 1,
            "run_id": self.record.run_id,
            "folder": "" if self.results.folder is None else str(self.results.folder),
            "prompts": "" if self.results.prompts_file is None else str(self.results.prompts_file),
            "reference_digest": self.bank.digest,
            "tokens_digest": str(self.record.config.get("tokens_digest", "")),
            "skipped": self.choice.skipped,
            **self.budget.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint kept; used by the next :meth:`start`.

        Also called in a running fit with the state of its beginning (by learning rate finders): that changes nothing.
        """
        self._state = dict(state)

    @contextlib.contextmanager
    def _contained(self) -> Iterator[None]:
        """No exception of the block reaches training, and no draw of random numbers (by loggers, by charts)."""
        with self.failures.contained(), no_trace(nn.Module()):
            yield

    @property
    def _measures(self) -> bool:
        return self._running and self._source is not None and self._ranks is not None and self._ranks.takes_part

    def _earlier(self, model: nn.Module) -> Earlier | None:
        """What a training of this process before this one has left; None where there was none."""
        if self._ranks is None or (self.bank is None and not self._broken_off):
            return None
        again = self._broken_off and self._model() is model
        return Earlier(self.record, self.bank, self._probes, broken_off=again)

    def _active(self, ranks: Ranks, retention: ProbeSet | None) -> Source:
        assert self._probes is not None
        return ActiveSource(self.settings, self._probes, ranks, retention)

    def _plan(self, launch: Launch, host: HostState, location: Callable[[], Location]) -> Plan:
        """On rank 0: how to begin, and the budget of the run that goes on."""
        plan = launch.plan(host, location)
        before = self._state if self._state.get("run_id") == self.record.run_id else {}
        self.choice.begin(int(before.get("skipped", 0)))
        self.budget.resume(before)
        return plan

    def _open(self, plan: Plan, source: Source, sinks: MakeSinks) -> None:
        """On rank 0: what the record says of itself, the preview, and the loggers."""
        self.record.config.update(messages.configuration(self.settings, source))
        if plan.reason:
            self.record.config["beginning"] = plan.reason
        self.failures.say(messages.preview(self.settings, source))
        self.results.open(self._probes, sinks)

    def _measure_if_wanted(self, host: HostState) -> None:
        assert self._ranks is not None
        if self._ranks.agree(lambda: self._able and self.choice.wants(host.step, self.record)):
            self._measure(host, forced=False)

    @property
    def _able(self) -> bool:
        """On rank 0: whether a measurement can be taken now."""
        if self.settings.mode == "passive":
            return not self._off and self._source is not None and self._source.ready
        return self.bank is not None and not self._model_changed

    def _measure(self, host: HostState, *, forced: bool) -> None:
        """One measurement, on every rank that takes part."""
        assert self._ranks is not None
        assert self._source is not None
        with self.budget.measuring(forced=forced):
            taken = measure_together(self._ranks, self._source, host)
            if taken is not None and taken.value is not None:
                self.bank, measurement = taken.value
                self._keep(measurement, host)
            elif taken is not None:
                self._model_changed = taken.model_changed
                after = messages.consequence(self.settings, lost=self.bank is None, changed=self._model_changed)
                self.failures.add("measurement", f"at step {host.step}: {sentence(taken.error)} {after}")
            if self.settings.actions.asked:
                self.standing = self._ranks.agree(lambda: standing(self.settings, self.record, self.failures.log))

    def _keep(self, measurement: Measurement, host: HostState) -> None:
        """On rank 0: what the measurement says, into the record, the files and the loggers."""
        assert self._source is not None
        assert self.bank is not None
        if not self.record.measurements:
            measurement.behaviour.baseline = self._source.baseline
        tolerance = self.settings.signals.retention_tolerance
        judge(measurement, self.record.measurements, self._source.baseline, tolerance=tolerance)
        measurement.seconds, measurement.overhead = self.budget.running, self.budget.overhead
        if host.step == self._first_step and not self.budget.resumed:
            measurement.overhead = math.nan  # measuring is all that was done so far
        self.record.config.update(failures=dict(self.failures.counts), left_out=self.choice.skipped)
        self.results.keep(measurement, self.bank, host.host_step)

    def _finish(self, status: str) -> None:
        """Nothing is measured here."""
        self._running = False
        self._state = self.state_dict()
        if self._ranks is None or not self._ranks.leads:
            return
        self.record.config.update(failures=dict(self.failures.counts), left_out=self.choice.skipped)
        with self.budget.afterwards(forced=True):
            self.results.finish(status, self.bank)
        if self.record.measurements:
            failed, waited = self.failures.summary(), self.results.waited
            self.failures.say(messages.closing(self.record, self.budget, self.choice.skipped, failed, waited))
