"""The files of one run: made its own before anything is written, and complete after every write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning_layerscope.measurements import RunRecord
from lightning_layerscope.monitor.attempts import attempt
from lightning_layerscope.monitor.folder import OWNER, PROMPTS, REFERENCE, is_own, reserve
from lightning_layerscope.monitor.location import Location
from lightning_layerscope.monitor.parts import KeptPart
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank


class RunFiles:
    """Record, reference and prompts of a run in its folder.

    Every write first makes sure that the folder is still this run's, and makes it anew where it was deleted. What
    cannot be written is named and written again the next time.

    Args:
        run_id: The id of the run.
        folder: Where its files go.
        location: Where its prompts go, where that is another folder.
    """

    def __init__(self, run_id: str, folder: Path, location: Location) -> None:
        self.run_id, self.folder = run_id, folder
        self.probes: ProbeSet | None = None
        self._prompts_folder = location.prompts
        self._bank: ReferenceBank | None = None
        self._reference = KeptPart(self._save_bank, self._is_bank)
        self._prompts = KeptPart(self._save_prompts, self._are_prompts)

    @property
    def prompts_file(self) -> Path | None:
        """Where the prompts lie. Outside of the folder they go by their digest: several runs may share them."""
        if self.probes is None:
            return None
        if self._prompts_folder is None:
            return self.folder / PROMPTS
        return self._prompts_folder / f"probes-{self.probes.tokens_digest[:16]}.json"

    def reserve(self) -> list[str]:
        """Make the folder this run's, or take a free one beside it. Returns what went wrong, in words."""
        if (self.folder / OWNER).exists() and is_own(self.folder, self.run_id):
            return []
        taken = attempt(partial(reserve, self.folder, self.run_id))
        if taken.value is None:
            return [f"the folder {self.folder} could not be made ({taken.error})"]
        self.folder = taken.value
        return []

    def write_prompts(self) -> list[str]:
        """Keep the probes with their texts. Returns what is missing, in words."""
        if self.probes is None:
            return []
        return self.reserve() or self._write({PROMPTS: self._ensure_prompts})

    def write(self, record: RunRecord, bank: ReferenceBank | None) -> list[str]:
        """Write all that is not there yet.

        Returns:
            What is missing, in words; empty where the folder is complete.
        """
        if lost := self.reserve():
            return lost
        self._bank = bank
        record.config["results_folder"] = str(self.folder)
        parts: dict[str, Callable[[], object]] = {}
        if bank is not None:
            parts[f"{REFERENCE}/"] = lambda: self._reference.ensure(self.folder / REFERENCE)
        if self.probes is not None:
            parts[PROMPTS] = self._ensure_prompts
        parts["the record"] = lambda: record.save(self.folder)
        return self._write(parts)

    def _write(self, parts: dict[str, Callable[[], object]]) -> list[str]:
        outcomes = {name: attempt(write) for name, write in parts.items()}
        return [f"{name} could not be written ({one.error})" for name, one in outcomes.items() if one.error]

    def _ensure_prompts(self) -> None:
        if (path := self.prompts_file) is not None:
            self._prompts.ensure(path)

    def _save_prompts(self, path: Path) -> None:
        assert self.probes is not None
        self.probes.save(path)

    def _are_prompts(self, path: Path) -> bool:
        assert self.probes is not None
        choice = self.probes.token_choice
        saved = ProbeSet.load(path, token_choice=choice if callable(choice) else None)
        return saved.tokens_digest == self.probes.tokens_digest

    def _save_bank(self, path: Path) -> None:
        assert self._bank is not None
        self._bank.save(path, dtype="float32" if self._bank.kind == "gram" else None)

    def _is_bank(self, path: Path) -> bool:
        return self._bank is not None and ReferenceBank.load(path).digest == self._bank.digest
