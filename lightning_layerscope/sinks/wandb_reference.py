"""A stored reference that lies in W&B as an artifact: ``reference="wandb:entity/project/name:version"``."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_layerscope.references import ReferenceBank

_FORM = re.compile(
    r"wandb:(?P<entity>[^/:]+)/(?P<project>[^/:]+)/(?P<name>[^/:]+):(?P<version>[^/:]+)(?:/(?P<folder>.+))?"
)


def is_artifact(reference: object) -> bool:
    """Whether a reference is meant to come from W&B."""
    return isinstance(reference, str) and reference.startswith("wandb:")


def check_artifact(reference: str) -> re.Match[str]:
    """The parts of the name.

    Raises:
        ValueError: For another form.
    """
    found = _FORM.fullmatch(reference)
    if found is None:
        raise ValueError(
            'a reference from W&B is "wandb:entity/project/name:version", and behind it the folder where the artifact '
            f'holds several (".../name:version/banks/base"); got {reference!r}.'
        )
    return found


def fetch_reference(reference: str) -> tuple[ReferenceBank, str]:
    """Download and verify a bank that another run or a study has uploaded.

    Args:
        reference: ``wandb:entity/project/name:version``, and behind it a folder of the artifact where it holds several
            banks. A version may be an alias, such as ``latest``.

    Returns:
        The bank, and ``entity/project/name:vN``, the version that it was.

    Raises:
        ValueError: For another form of name, for an artifact without that bank, or a damaged one.
        ConnectionError: When it cannot be had.
    """
    import wandb

    from lightning_layerscope.references import ReferenceBank

    parts = check_artifact(reference)
    with tempfile.TemporaryDirectory() as passing:  # W&B keeps what it has downloaded in a cache of its own
        try:
            artifact = wandb.Api().artifact("{entity}/{project}/{name}:{version}".format(**parts.groupdict()))
            root = Path(artifact.download(root=passing))
        except Exception as error:  # of W&B, of the network, of the account: whatever it is, the bank is not here
            raise ConnectionError(
                f"the reference {reference!r} could not be downloaded ({type(error).__name__}: {error}). Is the name "
                "that of the artifact's page, and are you logged in (`wandb login`)? A bank on disk is named by its "
                "folder."
            ) from error
        bank = ReferenceBank.load(_folder(root, reference, parts["folder"]))
    return bank, f"{artifact.entity}/{artifact.project}/{parts['name']}:{artifact.version}"


def _folder(root: Path, reference: str, folder: str | None) -> Path:
    """Where in the artifact the bank is: the folder that was named, or the only one."""
    banks = sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("bank.safetensors"))
    if folder is not None and folder.strip("/") in banks:
        return root / folder
    if folder is None and len(banks) == 1:
        return root / banks[0]
    held = f"these banks: {', '.join(banks)}; name one behind the version" if banks else "no bank at all"
    raise ValueError(f"the artifact of the reference {reference!r} holds {held}.")
