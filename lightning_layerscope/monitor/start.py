"""How a run begins: anew, from a stored reference, or where its checkpoint left off."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.measurements.behaviour import Rows
from lightning_layerscope.monitor.checks import stored_reference
from lightning_layerscope.monitor.folder import clear_passing
from lightning_layerscope.monitor.resume import Resumed, find_probes, find_resumed
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank


@dataclass(frozen=True)
class Plan:
    """What to do first; made by rank 0, the same on all.

    Attributes:
        kind: ``"measure"`` now, ``"go on"`` to the next due step, or stay ``"off"``.
        bank: The reference, where there is one already.
        reason: Why it is off, or what has to be said about the reference.
        baseline: How the model answered at the beginning, where that is known; empty where it is lost, and None where
            it is still to be seen.
        probes: The run's own, where the ones passed are others.
        reference_name: What a reference that is still to be made is called; None for ``"initial"`` at step 0 and the
            step's name later.
        fresh: Whether the model is the one that the run begins with.
        mistake: What is wrong with the configuration; the run ends with it on all ranks.
    """

    kind: Literal["measure", "go on", "off"]
    bank: ReferenceBank | None = None
    reason: str = ""
    baseline: Rows | None = None
    probes: ProbeSet | None = None
    reference_name: str | None = None
    fresh: bool = False
    mistake: str = ""


@dataclass
class Earlier:
    """What a training of this process before the one that starts has left.

    Attributes:
        record: Its measurements.
        bank: Its reference; None where none was taken.
        probes: What it was measured on.
        broken_off: Whether it ended by an exception after optimiser steps on the very model that starts now. A trainer
            that begins again by itself (a smaller batch after running out of memory) counts from 0 then, with weights
            that are no beginning.
    """

    record: RunRecord
    bank: ReferenceBank | None
    probes: ProbeSet | None = None
    broken_off: bool = False


@dataclass
class Beginning:
    """What rank 0 has in hand after planning.

    Attributes:
        plan: For all ranks.
        record: To go on with.
    """

    plan: Plan
    record: RunRecord = field(default_factory=RunRecord)


def begin(
    settings: Settings,
    *,
    step: int,
    wanted: Path | None,
    state: dict[str, Any],
    probes: ProbeSet | None,
    earlier: Earlier | None = None,
) -> Beginning:
    """Decide how to begin.

    Args:
        settings: What the user asked for.
        step: Optimiser steps taken; above 0 the run is resumed.
        wanted: Where results go; None keeps them in memory.
        state: What the checkpoint kept; empty for a new run.
        probes: What the user passes now; None where they are not known yet.
        earlier: What is there of an earlier ``fit`` in this process.

    Raises:
        Refused: When a stored reference cannot be read.
    """
    lost = ""
    if state.get("run_id") and step > 0:
        resumed = _resume(settings, step, wanted, state, probes, earlier)
        if not isinstance(resumed, str):
            return resumed
        lost = resumed
    if settings.reference_kind == "bank":
        broken_off = earlier is not None and earlier.broken_off
        fresh = step == 0 and not broken_off
        known = _baseline(settings, earlier.record) if earlier is not None and broken_off else {}
        bank, artifact = stored_reference(settings)
        record = RunRecord({"reference_artifact": artifact} if artifact else {})
        return Beginning(Plan("measure", bank, lost, None if fresh else known, fresh=fresh), record)
    if settings.reference_kind == "base":
        return Beginning(Plan("measure", reason=lost))
    if earlier is not None and earlier.broken_off and step == 0:
        return Beginning(_again(settings, earlier))
    if step > 0:
        lost = lost or "the checkpoint knows of no monitor"
        reason = (
            f"training begins at step {step}, and the baseline of its beginning is not there ({lost}). Keep the "
            "results' folder and point output_dir to it, give a stored bank as reference=, or pass "
            f'comparison=Comparison(mid_run_baseline="flag") to compare with step {step} under that name.'
        )
        return Beginning(_without_baseline(settings, reason, f"step {step}"))
    return Beginning(Plan("measure", reason=lost, fresh=True))


def _resume(
    settings: Settings,
    step: int,
    wanted: Path | None,
    state: dict[str, Any],
    probes: ProbeSet | None,
    earlier: Earlier | None,
) -> Beginning | str:
    """Where the checkpoint's run left off, or why that cannot be found."""
    if not state.get("reference_digest"):
        return "the checkpoint was written without a baseline"
    folders = [Path(folder) for folder in (wanted, state.get("folder")) if folder]
    resumed: Resumed | str
    in_memory = earlier is not None and earlier.record.run_id == state["run_id"] and earlier.bank is not None
    if (
        in_memory
        and earlier is not None
        and earlier.bank is not None
        and earlier.bank.digest == state["reference_digest"]
    ):
        earlier.record.rewind(step)
        record, bank = earlier.record, earlier.bank
    else:
        resumed = find_resumed(state, folders, step)
        if isinstance(resumed, str):
            return resumed or "results were kept in no folder"
        clear_passing(resumed.folder)
        record, bank, folders = resumed.record, resumed.bank, [resumed.folder, *folders]
    plan = Plan("go on" if record.measurements else "measure", bank, baseline=_baseline(settings, record))
    if probes is None or state.get("tokens_digest") in ("", None, probes.tokens_digest):
        return Beginning(plan, record)
    own = earlier.probes if in_memory and earlier is not None else None
    if own is None or own.tokens_digest != state["tokens_digest"]:
        own = find_probes(state, folders, probes)
    if own is None:
        return "the probes are not those that the checkpoint was measured on, and no file of those is left"
    reason = (
        "the probes passed are not those that this run was measured on (a prompt template with today's date makes "
        "others every day); it goes on with its own, which were saved with its results. Other probes need another run."
    )
    return Beginning(replace(plan, probes=own, reason=reason), record)


def _again(settings: Settings, earlier: Earlier) -> Plan:
    """Training begins again at step 0 with the weights that a broken-off one has left."""
    text = (
        "training begins again at step 0, with the weights that the training before it, which was broken off, has left"
    )
    if earlier.bank is None:
        return _without_baseline(
            settings,
            f"{text}, and no baseline was taken before its first step. Load the model anew, give a stored bank as "
            'reference=, or pass comparison=Comparison(mid_run_baseline="flag") to compare with these weights.',
            "restart",
        )
    return Plan(
        "measure",
        earlier.bank,
        f"{text}. The reference stays the model as it was before the first step.",
        _baseline(settings, earlier.record),
    )


def _baseline(settings: Settings, record: RunRecord) -> Rows | None:
    """How the run's model answered at its beginning; without adapters it can be asked again."""
    known = record.measurements[0].behaviour.baseline if record.measurements else {}
    return known or (None if settings.reference_kind == "base" else {})


def _without_baseline(settings: Settings, reason: str, name: str) -> Plan:
    refused = settings.comparison.mid_run_baseline == "refuse"
    return Plan("off" if refused else "measure", reason=reason, reference_name=name, fresh=True)
