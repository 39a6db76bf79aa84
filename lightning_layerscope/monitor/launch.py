"""Rank 0's part in the start of a run: decide, check, and prepare the results' folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning_layerscope.monitor.attempts import Refused, attempt
from lightning_layerscope.monitor.checks import check_behaviour, check_start
from lightning_layerscope.monitor.failures import Failures
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.messages import sentence
from lightning_layerscope.monitor.results import Results
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.start import Earlier, Plan, begin
from lightning_layerscope.probes import ProbeSet


@dataclass
class Launch:
    """Plans the start of a run.

    Args:
        settings: What the user asked for.
        results: Begun anew with the record that the plan goes on with.
        failures: Where it is told what stands in the way.
        state: What the checkpoint kept; empty for a new run.
        probes: What the user passes, and what must not be lost; None in passive mode, and where nothing is named.
        earlier: What a training of this process before this one has left.
        refusal: The mistake in the configuration that was found.
    """

    settings: Settings
    results: Results
    failures: Failures
    state: dict[str, Any]
    probes: tuple[ProbeSet | None, ProbeSet | None]
    earlier: Earlier | None
    refusal: Refused | None = None

    def plan(self, host: HostState, location: Callable[[], Location]) -> Plan:
        """How to begin, also where that cannot be found out; never raises."""
        where = attempt(location)
        if where.error:
            self.failures.add("start", f"{sentence(where.error)} Results stay in memory.")
        elif where.value is not None and where.value.note:
            self.failures.warn(where.value.note)
        try:
            outcome = attempt(lambda: self._decide(host, where.value or Location(None)))
        except Refused as refused:
            self.refusal = refused
            return Plan("off", mistake=str(refused))
        nothing = "Nothing is measured in this run; training goes on."
        if outcome.value is None:
            self.failures.add("start", f"{sentence(outcome.error)} {nothing}")
            return Plan("off", reason=outcome.error)
        plan = outcome.value
        if plan.kind == "off":
            self.failures.add("start", f"{sentence(plan.reason)} {nothing}")
        elif plan.reason:
            self.failures.warn(plan.reason)
        return plan

    def _decide(self, host: HostState, location: Location) -> Plan:
        probes, retention = self.probes
        beginning = begin(
            self.settings,
            step=host.step,
            wanted=location.folder,
            state=self.state,
            probes=probes,
            earlier=self.earlier,
        )
        plan = beginning.plan
        probes = plan.probes or probes
        check_start(self.settings, host.model, probes, plan.bank)
        check_behaviour(self.settings, host.model, probes, retention)
        self.results.begin(beginning.record, location)
        return plan
