"""Files and folders that appear whole or not at all: written beside their place under a passing name, then renamed."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it takes the place of ``path``, on an error it goes.

    Args:
        path: The file to write or to replace; missing parent folders are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    passing = _passing_name(target)
    passing.touch(exist_ok=False)
    mode = passing.stat().st_mode
    try:
        yield passing
        # Some writers make files that are private to their owner; results are as readable as any new file.
        passing.chmod(mode)
        passing.replace(target)
    finally:
        passing.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | Path, *, overwrite: bool = False, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes its place, on an error it goes.

    Args:
        path: The folder to write; missing parents are made, an empty folder may be there.
        overwrite: Replace a folder that holds ``marker``; a folder that holds something else is never replaced.
        marker: Name of the file by which such a folder is known.

    Raises:
        FileExistsError: If ``path`` is taken, and either ``overwrite`` is false or what is there is of another kind.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        if not (target / marker).is_file():
            raise FileExistsError(
                f"expected an unused path, got {target}, which holds something else; choose another path"
            )
        if not overwrite:
            raise FileExistsError(
                f"{target} is there already; pass overwrite=True to replace it, or choose another path"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    passing = _passing_name(target)
    passing.mkdir()
    try:
        yield passing
        _make_as_readable_as_new(passing)
        if target.exists():
            old = passing.with_name(passing.name + ".old")
            target.replace(old)
            passing.replace(target)
            shutil.rmtree(old)
        else:
            passing.replace(target)
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _passing_name(target: Path) -> Path:
    """A hidden name in the same folder that nobody else has."""
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}")


def _make_as_readable_as_new(folder: Path) -> None:
    """Give everything in a new folder the permissions that the folder itself got from the user's umask."""
    mode = folder.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(mode if path.is_dir() else mode & 0o666)
