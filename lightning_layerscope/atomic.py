"""Files and folders that appear whole or not at all: written beside their place under a passing name, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it takes the place of ``path``, on an error it goes.

    Args:
        path: the file to write or to replace; missing parent folders are made.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    passing = Path(name)
    try:
        yield passing
        # mkstemp is private to its owner; results are as readable as any new file.
        passing.chmod(0o666 & ~_umask())
        passing.replace(target)
    finally:
        passing.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | Path, *, overwrite: bool = False, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes its place, on an error it goes.

    Args:
        path: the folder to write; missing parents are made, an empty folder may be there.
        overwrite: replace a folder that holds ``marker``; a folder that holds something else is never replaced.
        marker: name of the file by which such a folder is known.

    Raises:
        FileExistsError: if ``path`` is taken, and either ``overwrite`` is false or what is there is of another kind.
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
    passing = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield passing
        passing.chmod(0o777 & ~_umask())
        if target.exists():
            old = passing.with_name(passing.name + ".old")
            target.replace(old)
            passing.replace(target)
            shutil.rmtree(old)
        else:
            passing.replace(target)
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
