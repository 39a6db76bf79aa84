"""How a run begins: anew, from a stored reference, or where its checkpoint left off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.folder import clear_passing, find_resumed, free_folder
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.references import ReferenceBank


@dataclass(frozen=True)
class Plan:
    """What to do first; made by rank 0, the same on all.

    Attributes:
        kind: ``"measure"`` now, ``"go on"`` to the next due step, or stay ``"off"``.
        bank: The reference, where there is one already.
        reason: Why it is off, or what has to be earlier about the reference.
    """

    kind: Literal["measure", "go on", "off"]
    bank: ReferenceBank | None = None
    reason: str = ""


@dataclass
class Beginning:
    """What rank 0 has in hand after planning."""

    plan: Plan
    record: RunRecord
    folder: Path | None


def begin(
    settings: Settings,
    *,
    step: int,
    wanted: Path | None,
    state: dict[str, Any],
    tokens_digest: str | None,
    earlier: tuple[RunRecord, ReferenceBank] | None = None,
) -> Beginning:
    """Decide how to begin.

    Args:
        settings: Of the monitor.
        step: Optimiser steps taken; above 0 the run is resumed.
        wanted: Where results go; None keeps them in memory.
        state: What the checkpoint kept; empty for a new run.
        tokens_digest: Of the probes, where they are known yet.
        earlier: Record and reference of an earlier ``fit`` in this process.

    Raises:
        OSError, ValueError: When a stored reference cannot be read.
    """
    lost = ""
    if state.get("run_id") and step > 0:
        if tokens_digest and state.get("tokens_digest") not in ("", None, tokens_digest):
            lost = "the probes are not those that the checkpoint was measured on"
        elif not state.get("reference_digest"):
            lost = "the checkpoint was written without a baseline"
        else:
            if (
                earlier is not None
                and earlier[0].run_id == state["run_id"]
                and earlier[1].digest == state["reference_digest"]
            ):
                record, bank = earlier
                record.rewind(step)
                return Beginning(
                    Plan("go on", bank), record, None if wanted is None else free_folder(wanted, record.run_id)
                )
            places = [Path(place) for place in (wanted, state.get("folder")) if place]
            found = find_resumed(state, places, step)
            if not isinstance(found, str):
                clear_passing(found.folder)
                place = None if wanted is None else free_folder(wanted, found.record.run_id)
                kind: Literal["measure", "go on"] = "go on" if found.record.measurements else "measure"
                return Beginning(Plan(kind, found.bank), found.record, place)
            lost = found or "results were kept in no folder"
    record = RunRecord()
    folder = None if wanted is None else free_folder(wanted, record.run_id)
    if settings.reference_kind == "bank":
        given = settings.reference
        bank = given if isinstance(given, ReferenceBank) else ReferenceBank.load(given)
        return Beginning(Plan("measure", bank, lost), record, folder)
    if settings.reference_kind == "initial" and step > 0:
        lost = lost or "the checkpoint knows of no monitor"
        text = (
            f"training begins at step {step}, and the baseline of its beginning is not there ({lost}). Keep the "
            "results' folder and point output_dir to it, give a stored bank as reference=, or pass "
            f'mid_run_baseline="flag" to compare with step {step} under that name.'
        )
        return Beginning(
            Plan("off" if settings.mid_run_baseline == "refuse" else "measure", None, text), record, folder
        )
    return Beginning(Plan("measure", None, lost), record, folder)
