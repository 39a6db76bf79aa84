"""How a resumed run finds its record, its reference and its probes again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.attempts import Refused, describe
from lightning_layerscope.monitor.folder import PROMPTS, REFERENCE, is_own
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint led back to.

    Attributes:
        record: The measurements up to the checkpoint's step.
        bank: The run's reference.
        folder: Where they were found.
    """

    record: RunRecord
    bank: ReferenceBank
    folder: Path


def find_resumed(state: dict[str, Any], folders: Sequence[Path], step: int) -> Resumed | str:
    """Look for the record and the reference of a checkpoint's run.

    Args:
        state: What the checkpoint kept: ``run_id``, ``reference_digest``, ``folder``.
        folders: Where to look, in order; whatever is wrong with one, the next is tried.
        step: The checkpoint's step; later measurements were given up and will be taken anew.

    Returns:
        What was found, or in words why not.
    """
    reasons = []
    for folder in dict.fromkeys(folders):
        try:
            if not is_own(folder, state["run_id"]):
                reasons.append(f"{folder} does not hold this run")
                continue
            bank = ReferenceBank.load(folder / REFERENCE)
            if bank.digest != state["reference_digest"]:
                reasons.append(f"{folder / REFERENCE} is not the reference that the checkpoint names")
                continue
            record = RunRecord.load(folder)
        except Refused:
            raise
        except Exception as error:  # a damaged file may raise anything
            reasons.append(f"{folder}: {describe(error)}")
            continue
        record.rewind(step)
        return Resumed(record, bank, folder)
    return "; ".join(reasons)


def find_probes(state: dict[str, Any], folders: Sequence[Path], given: ProbeSet) -> ProbeSet | None:
    """The probes that a checkpoint's run was measured on, from where its files are.

    Args:
        state: What the checkpoint kept: ``tokens_digest``, ``prompts``.
        folders: Folders of the run's results.
        given: What the user passes now; a callable token choice, which no file holds, is taken from there.

    Returns:
        The probes; None where no file of them is left.
    """
    choice = given.token_choice if callable(given.token_choice) else None
    files = [Path(state["prompts"])] if state.get("prompts") else []
    for file in [*files, *(folder / PROMPTS for folder in folders)]:
        try:
            saved = ProbeSet.load(file, token_choice=choice)
        except (OSError, ValueError):
            continue
        if saved.tokens_digest == state["tokens_digest"]:
            return saved
    return None
