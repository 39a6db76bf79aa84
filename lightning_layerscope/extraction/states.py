"""Hidden states per task, in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_layerscope.atomic import replace_folder
from lightning_layerscope.json_files import read_json
from lightning_layerscope.wording import count

_FORMAT = "lightning-layerscope hidden states"
_VERSION = 1
_MANIFEST, _STATES = "manifest.json", "states.safetensors"


@dataclass(frozen=True, eq=False)
class HiddenStates(Mapping[str, Tensor]):
    """Per task one tensor ``(layers, examples, width)``: a vector for every layer and probe prompt.

    Attributes:
        tensors: The states by task; row ``i`` of a task belongs to ``example_ids[task][i]``.
        layers: Which layers the first axis holds, ascending; layer l is the output of block l before any final norm, 0
            the embeddings.
        num_layers: How many layers the model has.
        clusters: Cluster of each task.
        example_ids: Ids of each task's prompts.
        examples_digest: Says which prompts these are, whatever the model.
        tokens_digest: The same together with tokenizer, template and token choice.
        model_name: What the model calls itself.
    """

    tensors: Mapping[str, Tensor] = field(repr=False)
    layers: tuple[int, ...]
    num_layers: int
    clusters: dict[str, str]
    example_ids: dict[str, tuple[str, ...]] = field(repr=False)
    examples_digest: str = ""
    tokens_digest: str = ""
    model_name: str = ""

    def __post_init__(self) -> None:
        layers = tuple(self.layers)
        if list(layers) != sorted(set(layers)) or (layers and not 0 <= layers[0] <= layers[-1] <= self.num_layers):
            raise ValueError(f"layers must ascend within 0..{self.num_layers}, got {layers}.")
        for task, states in self.tensors.items():
            if task not in self.example_ids:
                raise ValueError(f"Task {task!r} has hidden states but no example_ids.")
            expected = (len(layers), len(self.example_ids[task]))
            if states.ndim != 3 or states.shape[:2] != expected:
                raise ValueError(
                    f"Task {task!r}: expected hidden states of shape (layers {expected[0]}, examples "
                    f"{expected[1]}, width), "
                    f"got {tuple(states.shape)}."
                )
        object.__setattr__(self, "layers", layers)

    def __getitem__(self, task: str) -> Tensor:
        return self.tensors[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def means(self) -> Tensor:
        """Mean over each task's prompts: ``(tasks, layers, width)``, float32, tasks in order."""
        if not self.tensors:
            raise ValueError("There are no hidden states to take means of.")
        return torch.stack([states.to(torch.float64).mean(1).float() for states in self.tensors.values()])

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``states.safetensors`` and ``manifest.json``; the folder appears whole or not at all.

        Prompt texts are not part of it.

        Args:
            folder: Where to.
            overwrite: Replace hidden states that are there already.

        Raises:
            FileExistsError: When the folder is taken, and ``overwrite`` is not set or something else lies there.
        """
        tasks = list(self.tensors)
        manifest = {
            "format": _FORMAT,
            "version": _VERSION,
            "tasks": tasks,
            "layers": list(self.layers),
            "num_layers": self.num_layers,
            "clusters": self.clusters,
            "example_ids": {task: list(self.example_ids[task]) for task in tasks},
            "examples_digest": self.examples_digest,
            "tokens_digest": self.tokens_digest,
            "model_name": self.model_name,
        }
        with replace_folder(folder, overwrite=overwrite, marker=_STATES) as passing:
            # Under numbers: a task may be called anything, the name of a safetensors entry may not.
            entries = {str(i): self.tensors[task].detach().cpu().contiguous() for i, task in enumerate(tasks)}
            save_file({key: t.clone() if _shared(t, entries) else t for key, t in entries.items()}, passing / _STATES)
            (passing / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> HiddenStates:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: When there is nothing of that kind.
            ValueError: When manifest and states do not belong together, or come from a newer version.
        """
        folder = Path(folder)
        for name in (_MANIFEST, _STATES):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no hidden states: {name} is missing. Write them with HiddenStates.save."
                )
        manifest: dict[str, Any] = read_json(folder / _MANIFEST)
        if manifest.get("format") != _FORMAT or manifest.get("version") != _VERSION:
            raise ValueError(
                f"{folder / _MANIFEST} describes {manifest.get('format')!r} version {manifest.get('version')}, "
                "expected "
                f"{_FORMAT!r} version {_VERSION}. Extract again, or use the package version that wrote it."
            )
        tensors, tasks = load_file(folder / _STATES), manifest["tasks"]
        if set(tensors) != {str(i) for i in range(len(tasks))}:
            raise ValueError(
                f"{folder}: the manifest names {count(len(tasks), 'task')}, the file holds {len(tensors)}; "
                "extract again"
            )
        return cls(
            tensors={task: tensors[str(i)] for i, task in enumerate(tasks)},
            layers=tuple(manifest["layers"]),
            num_layers=manifest["num_layers"],
            clusters=manifest["clusters"],
            example_ids={task: tuple(ids) for task, ids in manifest["example_ids"].items()},
            examples_digest=manifest["examples_digest"],
            tokens_digest=manifest["tokens_digest"],
            model_name=manifest["model_name"],
        )


def _shared(tensor: Tensor, entries: dict[str, Tensor]) -> bool:
    """Whether another entry lies in the same memory, which safetensors refuses."""
    storage = tensor.untyped_storage().data_ptr()
    return sum(other.untyped_storage().data_ptr() == storage for other in entries.values()) > 1
