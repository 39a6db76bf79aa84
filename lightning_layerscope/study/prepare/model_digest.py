"""The digest of a model: what a fingerprint has of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.compat.huggingface_hub import model_revision
from lightning_layerscope.json_files import read_json
from lightning_layerscope.sealed import file_digest
from lightning_layerscope.study.stages.model_cache import ADAPTER_CONFIG

_CONTENT = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".py")


def model_digest(name: str, cache: Path) -> str:
    """Digest of a model: of the files' contents for a folder, of name and commit for one on the hub.

    Args:
        name: Folder or hub name.
        cache: A file that remembers the digests of files that have not changed since.

    Raises:
        FileNotFoundError: If there is no such model.
    """
    folder = Path(name)
    if not folder.is_dir():
        return hashlib.sha256(f"{name}\0{model_revision(name)}".encode()).hexdigest()
    files = sorted(path for path in folder.iterdir() if path.suffix in _CONTENT and path.is_file())
    if not any(path.name in ("config.json", ADAPTER_CONFIG) for path in files):
        raise FileNotFoundError(f"{name} holds no model: neither config.json nor {ADAPTER_CONFIG} is there")
    known = _remembered(cache)
    before, whole = dict(known), hashlib.sha256()
    for path in files:
        stat = path.stat()
        key = f"{path}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in known:
            known[key] = file_digest(path)
        whole.update(f"{path.name}\0{known[key]}\0".encode())
    if known != before:
        with replace_file(cache) as passing:
            passing.write_text(json.dumps(known), encoding="utf-8")
    return whole.hexdigest()


def _remembered(cache: Path) -> dict[str, str]:
    """What the cache holds; nothing where it is damaged, since it can be made anew."""
    try:
        known = read_json(cache)
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in known.items()} if isinstance(known, dict) else {}
