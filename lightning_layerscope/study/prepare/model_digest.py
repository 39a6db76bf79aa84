"""The digest of a model: what a fingerprint has of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lightning_layerscope.compat.huggingface_hub import model_revision
from lightning_layerscope.sealed import file_digest
from lightning_layerscope.study.engine.store import Store
from lightning_layerscope.training.loading import ADAPTER_CONFIG

_REMEMBERED = "digests.json"
_CONTENT = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".py")


def model_digest(name: str, store: Store) -> str:
    """Digest of a model: of the files' contents for a folder, of name and commit for one on the hub.

    Args:
        name: Folder or hub name.
        store: Remembers the digests of files that have not changed since.

    Raises:
        FileNotFoundError: If there is no such model.
    """
    folder = Path(name)
    if not folder.is_dir():
        return hashlib.sha256(f"{name}\0{model_revision(name)}".encode()).hexdigest()
    files = sorted(path for path in folder.iterdir() if path.suffix in _CONTENT and path.is_file())
    if not any(path.name in ("config.json", ADAPTER_CONFIG) for path in files):
        raise FileNotFoundError(f"{name} holds no model: neither config.json nor {ADAPTER_CONFIG} is there")
    known = store.remembered(_REMEMBERED)
    before, whole = dict(known), hashlib.sha256()
    for path in files:
        stat = path.stat()
        key = f"{path}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in known:
            known[key] = file_digest(path)
        whole.update(f"{path.name}\0{known[key]}\0".encode())
    if known != before:
        store.remember(_REMEMBERED, known)
    return whole.hexdigest()
