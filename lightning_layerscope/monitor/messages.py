"""What the monitor says and writes down about itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.monitor.budget import Budget
    from lightning_layerscope.monitor.settings import Settings
    from lightning_layerscope.monitor.source import Source


def sentence(text: str) -> str:
    """A text that ends with one full stop, whatever it ended with.

    Example:
        >>> sentence("ValueError: name it."), sentence("no room")
        ('ValueError: name it.', 'no room.')
    """
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text.rstrip(';:,')}."


def when(settings: Settings) -> str:
    """At which points a run is measured."""
    if settings.mode == "passive":
        return f"at your own validations, {settings.cadence.describe()}"
    return f"at the start, {settings.cadence.describe()}, and at the end"


def configuration(settings: Settings, source: Source) -> dict[str, Any]:
    """For the record and the loggers: how the run is measured, in plain values."""
    return {
        "schema": 1,
        "role": "training",
        "mode": settings.mode,
        "measure": settings.measure,
        "estimator": settings.comparison.estimator,
        "cadence": when(settings),
        "max_overhead": settings.max_overhead,
        "signals": [name for name, on in vars(settings.signals).items() if on is True],
        **({} if settings.retention is None else {"retention_tolerance": settings.signals.retention_tolerance}),
        **source.describe(),
    }


def preview(settings: Settings, source: Source) -> str:
    """Before the first measurement: what each takes."""
    limit = settings.max_overhead
    share = (
        ""
        if limit is None or settings.mode == "passive"
        else f"; those in between within {100 * limit:.3g} % of its time"
    )
    return (
        f"{source.preview()} per measurement; reference: {settings.reference_kind}; measures {when(settings)}{share}."
    )


def first_cost(settings: Settings, budget: Budget, folder: Path | None) -> str:
    """After the first measurement: what the run always pays."""
    pays = (
        f"; the last one will take about as long: {2 * budget.cost:.1f} s in all that the run always pays"
        if settings.mode == "active"
        else ""
    )
    return f"the first measurement took {budget.cost:.1f} s{pays}. Results: {folder or 'in memory'}"


def left_out(settings: Settings, budget: Budget, step: int) -> str:
    """When the first due measurement is left out."""
    return (
        f"left out the measurement of step {step} (it takes {budget.cost:.1f} s) to keep within "
        f"max_overhead={settings.max_overhead:g}; due steps are asked again as the run goes on. Fewer examples per "
        "task or a larger max_overhead measure more often."
    )


def consequence(settings: Settings, *, lost: bool, changed: bool = False) -> str:
    """After a failed measurement.

    Args:
        settings: What the user asked for.
        lost: There is no reference to go on with.
        changed: The measurement changed the model, as further ones would.
    """
    if changed:
        return "Every measurement would change the model again, so nothing more is measured; training goes on."
    if lost and settings.mode == "active":
        return "Without a baseline nothing is measured in this run; training goes on."
    return "It is left out and training goes on; further failures are counted without a warning."


def too_dear(settings: Settings, budget: Budget, expected: float) -> str:
    """When the first and the last measurement alone exceed the budget."""
    return (
        f"the first and the last measurement take {2 * budget.cost:.1f} s, more than "
        f"max_overhead={settings.max_overhead:g} of this run of about {expected:.0f} s. Probe fewer examples per task, "
        "fewer tasks or lower layers, or raise max_overhead."
    )


def closing(record: RunRecord, budget: Budget, skipped: int, failed: str, waited: float = 0.0) -> str:
    """At the end: what it cost, and what was found.

    Args:
        record: Of the run.
        budget: What was spent.
        skipped: How many measurements were left out.
        failed: What failed, in words.
        waited: Seconds that the end waited for pictures and the report.
    """
    took = f"{count(len(record), 'measurement')} took {budget.spent:.1f} s"
    drawing = f", of these {waited:.1f} s waiting for pictures and the report" if waited >= 1 else ""
    return (
        f"{took}, {budget.overhead:.1%} of the run's {budget.elapsed:.0f} s "
        f"({budget.forced:.1f} s of it the first, the last and the end{drawing})"
        + (f"; {skipped} left out for the budget" if skipped else "")
        + (f"; failed: {failed}" if failed else "")
        + f". {record.measurements[-1].transition.describe()}"
    )
