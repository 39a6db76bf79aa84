"""Controls that a study measured: published with its results, so that another plan can take them over untrained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning_layerscope.json_files import read_json
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.engine.digests import digest_files, first_damage
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.study.stages.measured import BANK, FACTS
from lightning_layerscope.study.stages.roles import Control
from lightning_layerscope.study.stages.states import StatesStage
from lightning_layerscope.study.stages.train import ControlTraining, TrainStage

CONTROLS, INDEX, FORMAT = "controls", "controls.json", 2


@dataclass(frozen=True)
class KeptControl:
    """One control on its own task.

    Attributes:
        role: Its seed and its budget.
        beside: Whether its budget is another one than that of the controls that the verdict rests on.
        folder: Holds ``bank/`` and ``measured.json``.
        digest: Digest of the bank.
        training: How it was trained.
        files: Path below the folder to digest, of every file.
    """

    role: Control
    beside: bool
    folder: Path
    digest: str
    training: ControlTraining
    files: Mapping[str, str]

    def load(self) -> ReferenceBank:
        """Its bank; every byte of the folder is verified.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is damaged, another one than the index says, or reached through a symbolic link.
        """
        places = (self.folder, self.folder / BANK, *(self.folder / name for name in self.files))
        if links := [path for path in places if path.is_symlink()]:
            raise ValueError(
                f"{links[0]} is a symbolic link, and controls are not read through links; copy the files themselves"
            )
        bank = ReferenceBank.load(self.folder / BANK)
        if bank.digest != self.digest:
            raise ValueError(f"the bank in {self.folder} is another one than {INDEX} says; copy the controls anew")
        if damage := first_damage(self.folder, self.files):
            raise ValueError(f"{self.folder} is damaged: {damage}; copy the controls anew from their study")
        return bank

    def copy(self, folder: Path) -> None:
        """Copy its files, and no others."""
        for name in self.files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / name, target)


@dataclass(frozen=True)
class KeptControls:
    """All controls of a study.

    Attributes:
        root: Where they are.
        base: Digest of the base model that they were fine-tuned from.
        max_length: Tokens of prompt and answer together, where their held-out losses were measured.
        dtype: The plan's, of the weights that their states were measured with.
        by_task: Task to its controls.
    """

    root: Path
    base: str
    max_length: int
    dtype: str
    by_task: Mapping[str, Sequence[KeptControl]]

    @classmethod
    def load(cls, folder: str | Path) -> KeptControls:
        """Read what :func:`write_index` wrote; the banks themselves are not read.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If the index is damaged, of another format, or names files outside its folder.
        """
        root = Path(folder)
        if not (root / INDEX).is_file():
            raise FileNotFoundError(
                f"expected the controls of a study in {root}, got no {INDEX} there; give the folder {CONTROLS!r} of "
                "another study's results, or of its W&B artifact with the banks"
            )
        try:
            index = read_json(root / INDEX)
            if index["format"] != FORMAT:
                raise ValueError(
                    f"expected format {FORMAT}, got {index['format']}; use the version of this package that wrote it"
                )
            by_task: dict[str, list[KeptControl]] = {}
            for entry in index["controls"]:
                by_task.setdefault(str(entry["task"]), []).append(_entry(root, entry))
            return cls(root, str(index["base"]), int(index["max_length"]), str(index["dtype"]), by_task)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{root / INDEX} cannot be used: {error!r}; copy it anew from its study") from error


def _entry(root: Path, entry: Mapping[str, Any]) -> KeptControl:
    return KeptControl(
        role=Control(int(entry["seed"]), str(entry["budget"])),
        beside=bool(entry["beside"]),
        folder=root / _inside(entry["folder"]),
        digest=str(entry["digest"]),
        training=ControlTraining(**entry["training"]),
        files={_inside(name): str(digest) for name, digest in entry["files"].items()},
    )


def write_index(stages: Sequence[tuple[StatesStage, bool]], store: Store, folder: Path) -> None:
    """Write which controls a study trained; :func:`copy_controls` puts them beside it. Nothing where there are none.

    Args:
        stages: Those that measured the controls, on their own tasks, and whether each stands beside the others.
        store: The store of the study.
        folder: Where to; made.
    """
    if not stages:
        return
    entries = []
    for stage, beside in stages:
        assert isinstance(stage.role, Control)
        assert isinstance(stage.model, TrainStage)
        measured = stage.load(store)
        files = {FACTS: digest_files(measured.folder)[FACTS]}
        files |= {f"{BANK}/{name}": digest for name, digest in digest_files(measured.folder / BANK).items()}
        entries.append(
            {
                "task": stage.task,
                "seed": stage.role.seed,
                "budget": stage.role.budget,
                "beside": beside,
                "training": asdict(ControlTraining.of(stage.model.load(store).record, stage.task)),
                "folder": measured.folder.name,
                "digest": measured.bank().digest,
                "files": files,
            }
        )
    measuring = stages[0][0].measuring
    index = {
        "format": FORMAT,
        "base": measuring.base,
        "max_length": measuring.max_length,
        "dtype": measuring.dtype,
        "controls": entries,
    }
    folder.mkdir()
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def copy_controls(folder: Path, store: Store) -> None:
    """Copy the controls that the folder's index names from the study's stages, so that the folder stands alone."""
    for controls in KeptControls.load(folder).by_task.values():
        for control in controls:
            replace(control, folder=store.stages / control.folder.name).copy(control.folder)


def _inside(name: str) -> str:
    """A path below the folder; every part of it a plain name."""
    parts = str(name).split("/")
    if not all(part and part not in (".", "..") and "\\" not in part and ":" not in part for part in parts):
        raise ValueError(f"{name!r} is no path inside this folder")
    return "/".join(parts)
