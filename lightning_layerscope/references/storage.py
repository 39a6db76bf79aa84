"""A reference bank on disk: ``bank.safetensors`` and ``manifest.json``, which names and verifies everything in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_layerscope.atomic import replace_folder
from lightning_layerscope.json_files import read_json
from lightning_layerscope.references.identity import Identity
from lightning_layerscope.references.packing import PackedGrams, Stored
from lightning_layerscope.sealed import file_digest

if TYPE_CHECKING:
    from lightning_layerscope.references.bank import ReferenceBank

TENSORS, MANIFEST, FORMAT = "bank.safetensors", "manifest.json", 1
MANY = 256
"""From this many examples on, Grams go to float16 by default; with fewer they are small, and rounding weighs more."""

_DTYPES = {"float16": torch.float16, "float32": torch.float32}


def save(bank: ReferenceBank, folder: str | Path, *, dtype: str | None = None, overwrite: bool = False) -> Path:
    """Write a bank to a folder, whole or not at all.

    Args:
        bank: What to write.
        folder: Where; it must not exist, or be empty.
        dtype: Data type of Grams: ``"float32"`` (error in CKA under 1e-7) or ``"float16"`` (half the size; error at
            most about 2e-6 with 256 examples, 2e-5 with 32); by default the latter for tasks of at least 256 examples.
            Features keep their dtype unless it is ``"float32"``.
        overwrite: Replace a bank that is there.

    Raises:
        FileExistsError: If the folder is taken, and ``overwrite`` is false or it holds no bank.
        ValueError: For another dtype, or float16 for features, which it would overflow.
    """
    if dtype not in (None, *_DTYPES) or (bank.kind == "features" and dtype == "float16"):
        allowed = "None or 'float32' for features" if bank.kind == "features" else "'float16' or 'float32'"
        raise ValueError(f"expected dtype {allowed}, got {dtype!r}")
    stored, robust = bank.parts()
    tensors: dict[str, Tensor] = {}
    for prefix, group in (("main", stored), ("robust", robust)):
        for task, held in group.items():
            for part, tensor in _converted(held, dtype).items():
                tensors[f"{prefix}/{part}/{task}"] = _own_memory(tensor)
    with replace_folder(folder, overwrite=overwrite, marker=TENSORS) as passing:
        save_file(tensors, passing / TENSORS)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "kind": bank.kind,
            "robust": bool(robust),
            "digest": bank.digest,
            "file_sha256": file_digest(passing / TENSORS),
            "identity": bank.identity.to_dict(),
        }
        manifest["manifest_sha256"] = _manifest_digest(manifest)
        (passing / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return Path(folder)


def load(folder: str | Path, make: type[ReferenceBank], *, device: str | torch.device = "cpu") -> ReferenceBank:
    """Read a bank back; every byte is verified against the manifest.

    Args:
        folder: What :func:`save` wrote.
        make: The class of banks, which imports this file and not the other way round.
        device: Where its tensors go.

    Raises:
        FileNotFoundError: If there is no bank.
        ValueError: If a file is damaged, was changed, or is of a later format.
    """
    source = Path(folder)
    for name in (MANIFEST, TENSORS):
        if not (source / name).is_file():
            raise FileNotFoundError(f"expected a reference bank in {source}, got no {name} there")
    again = "save the bank again, or measure the reference anew"
    try:
        manifest = read_json(source / MANIFEST)
        expected = manifest.pop("manifest_sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"the manifest of the bank in {source} is damaged ({error!r}); {again}") from error
    if expected != _manifest_digest(manifest):
        raise ValueError(f"the manifest of the bank in {source} was changed after it was written; {again}")
    if manifest["format"] != FORMAT:
        raise ValueError(f"expected bank format {FORMAT}, got {manifest['format']} in {source}; use a later version")
    if file_digest(source / TENSORS) != manifest["file_sha256"]:
        raise ValueError(f"{source / TENSORS} does not match its manifest: it is damaged or of another bank; {again}")
    identity = Identity.from_dict(manifest["identity"])
    with safe_open(source / TENSORS, framework="pt", device=str(device)) as file:

        def grams(prefix: str, task: str) -> PackedGrams:
            return PackedGrams(
                *(file.get_tensor(f"{prefix}/{part}/{task}") for part in ("values", "scale", "diagonal"))
            )

        stored: dict[str, Stored] = {}
        for task in identity.example_ids:
            features = manifest["kind"] == "features"
            stored[task] = file.get_tensor(f"main/features/{task}") if features else grams("main", task)
        robust = {task: grams("robust", task) for task in identity.example_ids} if manifest["robust"] else {}
    return make(manifest["kind"], identity, stored, robust, manifest["digest"])


def _converted(held: Stored, dtype: str | None) -> dict[str, Tensor]:
    if isinstance(held, PackedGrams):
        return held.to(_DTYPES[dtype or ("float16" if held.examples >= MANY else "float32")]).tensors()
    return {"features": held if dtype is None else held.to(_DTYPES[dtype])}


def _own_memory(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, and sharing memory with no other tensor, which the file format refuses."""
    plain = tensor.detach().cpu().contiguous()
    return plain.clone() if plain.data_ptr() == tensor.data_ptr() else plain


def _manifest_digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
