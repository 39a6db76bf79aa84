"""The Hugging Face hub: whether a name can be loaded, before libraries ask for half a minute, and its revision."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

_PATIENCE = 10.0  # seconds for one answer


def require_loadable(name: str, kind: Literal["model", "dataset"]) -> None:
    """Fail at once where a name is neither on the hub nor in the local cache.

    A name that the hub refuses for other reasons (it is gated, say) passes: who loads it says so. So does any name in
    offline mode, where libraries answer at once.

    Args:
        name: No folder that exists, but perhaps a mistyped one.
        kind: What it should name.

    Raises:
        FileNotFoundError: When there is no such thing, or the hub cannot be reached and the cache does not hold it.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE or _is_cached(name, kind):
        return
    here = f"there is no folder {name}{_similar_folder(name)}"
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=_PATIENCE)
    except GatedRepoError:
        return
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise FileNotFoundError(f"{here}, and no {kind} of that name on the Hugging Face hub") from error
    except HfHubHTTPError:
        return
    except Exception as error:  # of the hub's HTTP library, which has changed before
        raise FileNotFoundError(
            f"{here}, and the Hugging Face hub, where a {kind} of that name could be, cannot be reached"
        ) from error


def model_revision(name: str) -> str:
    """The commit that a hub name stands for: the hub's newest, or where it cannot be reached the one in the cache.

    Raises:
        FileNotFoundError: When neither knows the name.
    """
    from huggingface_hub import HfApi

    try:
        commit = HfApi().model_info(name, timeout=_PATIENCE).sha
    except Exception:  # not reached, not there, no hub name at all, offline: errors of several libraries
        commit = _cached_revision(name)
    if commit is None:
        raise FileNotFoundError(
            f"no model {name!r}: it is neither a folder here nor can it be reached on the Hugging Face hub"
        )
    return commit


def _cached_revision(name: str) -> str | None:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return None
    for repository in cache.repos:
        if repository.repo_id == name and repository.repo_type == "model":
            return next((r.commit_hash for r in repository.revisions if "main" in r.refs), None)
    return None


def _is_cached(name: str, kind: str) -> bool:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folders = [Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)]
    if kind == "dataset":
        try:
            from datasets.config import HF_DATASETS_CACHE
        except ImportError:
            pass
        else:
            folders.append(Path(HF_DATASETS_CACHE) / name.replace("/", "___"))
    return any(folder.is_dir() for folder in folders)


def _similar_folder(name: str) -> str:
    """A hint at what stands beside the folder that the name points to."""
    path = Path(name).expanduser()
    if not path.parent.is_dir():
        return ""
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f" (did you mean {path.with_name(close[0])}?)" if close else ""
