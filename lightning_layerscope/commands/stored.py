"""Files and folders that commands read and write."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates
    from lightning_layerscope.measurements import RunRecord
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.references import ReferenceBank

STATES, BANK = "states.safetensors", "bank.safetensors"


def load_states(path: Path) -> HiddenStates | ReferenceBank:
    """Hidden states or a reference bank, whichever the folder holds.

    Raises:
        FileNotFoundError: When it holds neither.
        ValueError: When a file is damaged.
    """
    from lightning_layerscope.extraction import HiddenStates
    from lightning_layerscope.references import ReferenceBank

    if (path / STATES).is_file():
        return HiddenStates.load(path)
    # The folder of a run keeps its reference inside.
    for folder in (path, path / "reference"):
        if (folder / BANK).is_file():
            return ReferenceBank.load(folder)
    raise FileNotFoundError(
        f"{path} holds neither hidden states nor a reference; make one with: layerscope extract MODEL --tasks SOURCE "
        f"--out {path}"
    )


def load_profile(path: Path) -> LayerProfile:
    """A profile from its file, or from the folder of a run.

    Raises:
        FileNotFoundError: When there is none.
        ValueError: When the file is something else.
    """
    from lightning_layerscope.profiles import LayerProfile

    for file in (path, path / "profile.parquet", path / "results" / "profile.parquet"):
        # A run keeps one file per measurement, in a folder of that name.
        if file.is_file() or (file.is_dir() and file.suffix == ".parquet"):
            return LayerProfile.from_parquet(file)
    raise FileNotFoundError(
        f"there is no profile at {path}; expected a .parquet file from layerscope compare, or the results of a run"
    )


def load_record(source: Path) -> RunRecord:
    """The record of a run's folder, or that of a profile, of which nothing but its rows is known.

    Raises:
        FileNotFoundError: When there is none.
        ValueError: When a file is damaged, or something else.
    """
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.transitions import find_transitions

    if source.is_dir() and source.suffix != ".parquet":
        return RunRecord.load(run_folder(source))
    profile = load_profile(source)
    steps = [profile.at_step(step) for step in profile.steps]
    return RunRecord(
        {key: getattr(profile.meta, key) for key in ("measure", "estimator", "reference", "num_layers")},
        [Measurement(step=part.steps[0], profile=part, transition=find_transitions(part)) for part in steps],
    )


def run_folder(path: Path) -> Path:
    """The folder of a run's record, where the path is that of the folder around it; else the path."""
    return path / "results" if (path / "results" / "config.json").is_file() else path


def check_new_file(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file, or where nothing can be written.

    Raises:
        FileExistsError: When it is there and may not be replaced.
        OSError: When its folder cannot be written to.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; choose another name, or pass --overwrite")
    check_writable(path)


def check_new_folder(path: Path, overwrite: bool, marker: str) -> None:
    """Refuse a folder that is taken, or where nothing can be written, before hours are spent on its content.

    Args:
        path: The folder.
        overwrite: Whether one of the same kind may be replaced.
        marker: Name of the file by which that kind is known.

    Raises:
        FileExistsError: When it holds something, and may not be replaced.
        OSError: When its parent cannot be written to.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not overwrite:
            raise FileExistsError(f"{path} is there already; choose another name, or pass --overwrite")
        if not (path / marker).is_file():
            raise FileExistsError(
                f"{path} holds something else, which --overwrite does not replace; choose another name"
            )
    check_writable(path)


def check_writable(path: Path) -> None:
    """Try to write where a file or folder will be made.

    Raises:
        OSError: When that fails; the message names the folder.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{path} cannot be written: {folder}: {error.strerror or error}") from error
