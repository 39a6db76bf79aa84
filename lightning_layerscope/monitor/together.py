"""One measurement by all processes that take part: own parts, one gather, and the rest on rank 0."""

from __future__ import annotations

from lightning_layerscope.measurements import Measurement
from lightning_layerscope.monitor.attempts import Outcome, attempt
from lightning_layerscope.monitor.host_state import HostState
from lightning_layerscope.monitor.ranks import Ranks
from lightning_layerscope.monitor.source import Source
from lightning_layerscope.references import ReferenceBank


def measure_together(
    ranks: Ranks, source: Source, host: HostState
) -> Outcome[tuple[ReferenceBank, Measurement]] | None:
    """Measure; what fails anywhere is told on rank 0.

    Returns:
        On rank 0 the reference and the measurement, or what went wrong and where; None elsewhere.

    Raises:
        RanksLostError: When another process did not answer.
    """
    outcomes = ranks.gather(attempt(lambda: source.measure_local(host)))
    if not ranks.leads:
        return None
    errors = [f"rank {rank}: {outcome.error}" for rank, outcome in enumerate(outcomes) if outcome.error]
    if not errors:
        merged = attempt(lambda: source.merge([outcome.value for outcome in outcomes], host))
        if merged.value is not None:
            return merged
        errors = [merged.error]
    text = "; ".join(errors).removeprefix("rank 0: ") if len(outcomes) == 1 else "; ".join(errors)
    return Outcome(error=text, model_changed=any(outcome.model_changed for outcome in outcomes))
