"""Models on the Hugging Face hub: which revision a name stands for, online and offline."""

from __future__ import annotations

from typing import Any

_SECONDS = 10.0


def model_revision(name: str) -> str:
    """The commit that a hub name stands for: the hub's newest, or where it cannot be reached the one in the cache.

    Raises:
        FileNotFoundError: When neither knows the name.
    """
    import httpx
    import huggingface_hub

    try:
        commit = huggingface_hub.HfApi().model_info(name, timeout=_SECONDS).sha
    except (OSError, ValueError, httpx.HTTPError):  # not reached, not there, no hub name at all, offline mode
        commit = _cached_revision(huggingface_hub, name)
    if commit is None:
        raise FileNotFoundError(
            f"no model {name!r}: it is neither a folder here nor can it be reached on the Hugging Face hub"
        )
    return commit


def _cached_revision(hub: Any, name: str) -> str | None:
    try:
        cache = hub.scan_cache_dir()
    except hub.errors.CacheNotFound:
        return None
    for repository in cache.repos:
        if repository.repo_id == name and repository.repo_type == "model":
            return next((r.commit_hash for r in repository.revisions if "main" in r.refs), None)
    return None
