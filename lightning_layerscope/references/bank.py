"""Hidden states of a reference, kept as what a comparison needs of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_layerscope.references import storage
from lightning_layerscope.references.identity import Identity, concat_identities, identify
from lightning_layerscope.references.packing import PackedGrams, Stored, pack, unpack
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.extraction import HiddenStates

Kind = Literal["gram", "features"]


class ReferenceBank(Mapping[str, Tensor]):
    """What the current hidden states are compared with, per task and layer.

    Of kind ``"gram"`` it holds packed centred Gram matrices, which serve every measure that does not change when
    features are rotated, at a fraction of the states' size (one task and layer at 256 examples: 64 KB on disk where
    states of width 4096 take 2 MB). Of kind ``"features"`` it holds the states themselves.

    As a mapping it gives per task the centred Grams ``(layers, n, n)`` in float32, or the features ``(layers, n,
    width)``. Make one with :meth:`from_states` or :meth:`load`.

    Attributes:
        kind: ``"gram"`` or ``"features"``.
        identity: Which examples, layers and model it is of.
        has_robust: Whether :meth:`robust_gram` can be asked.

    Examples:
        >>> states = {"sst2": torch.randn(2, 16, 8), "rte": torch.randn(2, 12, 8)}
        >>> bank = ReferenceBank.from_states(states, name="initial")
        >>> bank["sst2"].shape, bank.layers
        (torch.Size([2, 16, 16]), (1, 2))
    """

    def __init__(
        self,
        kind: Kind,
        identity: Identity,
        stored: Mapping[str, Stored],
        robust: Mapping[str, PackedGrams] | None = None,
        digest: str = "",
    ) -> None:
        self.kind: Kind = kind
        self.identity = identity
        self._stored = dict(stored)
        self._robust = dict(robust or {})
        self._digest = digest

    @classmethod
    def from_states(
        cls,
        states: HiddenStates | Mapping[str, Tensor],
        *,
        kind: Kind = "gram",
        name: str = "",
        robust: bool = True,
    ) -> ReferenceBank:
        """Keep hidden states as a reference.

        Args:
            states: Per task ``(layers, examples, width)``. A plain mapping is numbered: layers ``1..L``, examples by
                row, no digests, so that later comparisons can check no more than the counts.
            kind: ``"gram"`` computes centred Grams now; ``"features"`` keeps the tensors as they are (no copy).
            name: What the reference is, e.g. ``"initial"``; appears in profiles.
            robust: Of kind ``"gram"``, keep the Grams of the robust transform too (twice the size and time).

        Raises:
            ValueError: For tensors that are not ``(layers, examples, width)`` with the same layers, or fewer than 4
                examples, or an unknown kind.
        """
        if kind not in ("gram", "features"):
            raise ValueError(f'expected kind "gram" or "features", got {kind!r}')
        if isinstance(states, ReferenceBank):
            raise ValueError("expected hidden states, got a ReferenceBank, which can be used as it is")
        identity = identify(states, name)
        if kind == "features":
            return cls(kind, identity, {task: states[task].detach() for task in states})
        from lightning_layerscope.functional.gram import centered_gram
        from lightning_layerscope.functional.robust import robust_gram

        grams, robust_grams = {}, {}
        for task in states:
            held = states[task].detach()
            grams[task] = pack(centered_gram(held))
            if robust:
                robust_grams[task] = pack(robust_gram(held))
        return cls(kind, identity, grams, robust_grams)

    def __getitem__(self, task: str) -> Tensor:
        stored = self._find(task)
        return unpack(stored) if isinstance(stored, PackedGrams) else stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __repr__(self) -> str:
        size = count(len(self), "task")
        return f"ReferenceBank(kind={self.kind!r}, name={self.name!r}, {size}, layers={list(self.layers)})"

    @property
    def name(self) -> str:
        """What the reference is, e.g. ``"initial"``."""
        return self.identity.name

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers held."""
        return self.identity.layers

    @property
    def num_layers(self) -> int:
        """Number of decoder blocks of the model."""
        return self.identity.num_layers

    @property
    def clusters(self) -> dict[str, str]:
        """Cluster of each task."""
        return dict(self.identity.clusters)

    @property
    def example_ids(self) -> dict[str, tuple[str, ...]]:
        """Ids of each task's examples, in the order of rows."""
        return dict(self.identity.example_ids)

    @property
    def examples_digest(self) -> str:
        """Which prompts were probed; ``""`` where unknown."""
        return self.identity.examples_digest

    @property
    def tokens_digest(self) -> str:
        """Which prompts, tokens and pooling; ``""`` where unknown."""
        return self.identity.tokens_digest

    @property
    def model_name(self) -> str:
        """The model that was read; ``""`` where unknown."""
        return self.identity.model_name

    @property
    def has_robust(self) -> bool:
        """Whether robust Grams can be given."""
        return self.kind == "features" or bool(self._robust)

    @property
    def digest(self) -> str:
        """sha256 of the content as it was first kept; saving in float16 and loading keeps it."""
        if not self._digest:
            summary = hashlib.sha256(json.dumps(self.identity.to_dict(), sort_keys=True).encode())
            for task, stored in self._stored.items():
                parts = stored.tensors() if isinstance(stored, PackedGrams) else {"features": stored}
                for part, tensor in parts.items():
                    summary.update(f"{task}/{part}/{tensor.dtype}".encode())
                    plain = tensor.detach().cpu().contiguous()
                    summary.update(plain.flatten().view(torch.uint8).numpy().data)
            self._digest = summary.hexdigest()
        return self._digest

    def gram(self, task: str) -> Tensor:
        """Centred Grams ``(layers, n, n)`` float32 of one task."""
        stored = self._find(task)
        if isinstance(stored, PackedGrams):
            return unpack(stored)
        from lightning_layerscope.functional.gram import centered_gram

        return centered_gram(stored).float()

    def robust_gram(self, task: str) -> Tensor:
        """Centred Grams ``(layers, n, n)`` float32 of the robustly transformed states (z-score, centre, row-L2).

        Raises:
            ValueError: If the bank was made without them.
        """
        stored = self._find(task)
        if isinstance(stored, Tensor):
            from lightning_layerscope.functional.robust import robust_gram

            return robust_gram(stored).float()
        if task not in self._robust:
            raise ValueError("this bank holds no robust Grams; make it with from_states(..., robust=True)")
        return unpack(self._robust[task])

    def features(self, task: str) -> Tensor:
        """States ``(layers, n, width)`` of one task.

        Raises:
            ValueError: If the bank is of kind ``"gram"``, from which they cannot be recovered.
        """
        stored = self._find(task)
        if isinstance(stored, PackedGrams):
            raise ValueError(
                'this bank keeps Gram matrices, not states; make it with from_states(..., kind="features")'
            )
        return stored

    def select(self, tasks: Iterable[str]) -> ReferenceBank:
        """The same reference with these tasks alone, in this order; the digests stay those of the whole probe set."""
        names = list(tasks)
        if names == list(self._stored):
            return self
        stored = {task: self._find(task) for task in names}
        robust = {task: self._robust[task] for task in names if task in self._robust}
        # Derived from this bank's digest, which is kept, rather than by reading all of the content again.
        digest = hashlib.sha256(json.dumps([self.digest, names]).encode()).hexdigest()
        return ReferenceBank(self.kind, self.identity.select(names), stored, robust, digest)

    @classmethod
    def concat(cls, banks: Iterable[ReferenceBank], tasks: Iterable[str] | None = None) -> ReferenceBank:
        """Join banks of different tasks into the one that would have been made of all of them together.

        Args:
            banks: Banks of one model, reference and probe set; each of other tasks.
            tasks: All of their tasks in the order wanted; by default as they come.

        Raises:
            ValueError: For no banks, for banks that share a task or differ in kind, layers, model, digests or name, or
                where ``tasks`` are not those that the banks hold.
        """
        parts = list(banks)
        identity = concat_identities([bank.identity for bank in parts])
        if len(forms := {(bank.kind, bank.has_robust) for bank in parts}) > 1:
            raise ValueError(f"expected banks of one form (kind, has_robust), got {sorted(forms)}; make them alike")
        order = list(identity.example_ids) if tasks is None else list(tasks)
        if sorted(order) != sorted(identity.example_ids):
            raise ValueError(f"expected the tasks that the banks hold ({list(identity.example_ids)}), got {order}")
        stored = {task: each for bank in parts for task, each in bank._stored.items()}
        robust = {task: each for bank in parts for task, each in bank._robust.items()}
        return cls(
            parts[0].kind,
            identity.select(order),
            {task: stored[task] for task in order},
            {task: robust[task] for task in order if task in robust},
        )

    def save(self, folder: str | Path, *, dtype: str | None = None, overwrite: bool = False) -> Path:
        """Write the bank to a folder, whole or not at all. See :func:`lightning_layerscope.references.storage.save`."""
        return storage.save(self, folder, dtype=dtype, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> ReferenceBank:
        """Read a bank back and verify it. See :func:`lightning_layerscope.references.storage.load`."""
        return storage.load(folder, cls, device=device)

    def parts(self) -> tuple[dict[str, Stored], dict[str, PackedGrams]]:
        """What is stored per task, and the robust Grams, as they are kept (for storage)."""
        return dict(self._stored), dict(self._robust)

    def _find(self, task: str) -> Stored:
        if task not in self._stored:
            raise KeyError(f"no task {task!r} in this reference; it has {sorted(self._stored)}")
        return self._stored[task]


def as_bank(source: ReferenceBank | HiddenStates | Mapping[str, Tensor]) -> ReferenceBank:
    """The bank itself, or states wrapped without computing anything."""
    return source if isinstance(source, ReferenceBank) else ReferenceBank.from_states(source, kind="features")
