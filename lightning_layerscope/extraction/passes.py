"""Forward passes over planned batches: a shared prefix once, and smaller batches when memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_layerscope.extraction.batching import Batch, worthwhile_padding
from lightning_layerscope.extraction.capture import Capture
from lightning_layerscope.extraction.exactness import EquivalenceCache, deviation, tolerance
from lightning_layerscope.extraction.prefix import PrefixSharing
from lightning_layerscope.extraction.target import Target
from lightning_layerscope.extraction.token_choice import Selection, TokenChoice, select_tokens
from lightning_layerscope.wording import count

# Whether states of padded prompts are those of each prompt alone.
_IGNORES_PADDING = EquivalenceCache()


class Passes:
    """Runs batches of one extraction.

    Args:
        target: What to call.
        capture: The hooks, already in place.
        token_choice: Which token stands for a prompt.
        max_tokens: Bound of the padded tokens of a batch whose prefix cannot be shared after all.
    """

    def __init__(self, target: Target, capture: Capture, token_choice: TokenChoice, max_tokens: int) -> None:
        self.target, self.capture, self.token_choice = target, capture, token_choice
        self.max_tokens = max_tokens
        self._sharing = PrefixSharing(target, capture)
        self._rows = 0  # the largest batch that memory allows; 0: not yet met

    @property
    def may_share(self) -> bool:
        """Whether the model has a cache that a prefix can be kept in."""
        return self._sharing.possible

    def run(self, batch: Batch) -> Iterator[tuple[Batch, Tensor]]:
        """Yield the batch, or the parts that memory forced it into, with states ``(layers, B, width)``."""
        if self._rows and len(batch.rows) > self._rows:
            for part in batch.halves():
                yield from self.run(part)
            return
        states, failure = None, ""
        try:
            states = self._shared(batch) if batch.prefix else self._plain(batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            failure = str(error).splitlines()[0]
        if states is not None:
            yield batch, states
            return
        # Outside the except block: the error's traceback would keep the failed pass's tensors alive.
        if failure:
            self._make_room(batch, failure)
            parts = list(batch.halves())
        elif not batch.prefix:  # the model reads its padding
            parts = batch.equal_lengths()
        else:  # no sharing after all: whole prompts are longer, so fewer fit into a batch
            parts = batch.unshared().parts(self.max_tokens, worthwhile_padding(self.target.device))
        for part in parts:
            yield from self.run(part)

    def _make_room(self, batch: Batch, message: str) -> None:
        size = len(batch.rows)
        if size == 1:
            raise torch.OutOfMemoryError(
                f"A single prompt of {count(len(batch.prefix) + len(batch.ids[0]), 'token')} does not fit into memory "
                "beside the model "
                f"({message}). Build the probe set with a smaller max_length, or want fewer layers."
            )
        self._rows = (size + 1) // 2
        warnings.warn(
            f"A batch of {size} prompts ran out of memory; going on with {self._rows}. "
            "Set max_tokens_per_batch lower to avoid the failed attempt.",
            RuntimeWarning,
            stacklevel=2,
        )
        self.capture.select(None, tokens=0)
        if self.target.device.type == "cuda":
            torch.cuda.empty_cache()

    def _shared(self, batch: Batch) -> Tensor | None:
        """States of prompts behind their prefix, or None where sharing turns out not to work."""
        if (prefix := self._sharing.prefix(batch.prefix)) is None:
            return None
        ids, mask = self._pad(batch)
        full = torch.cat([torch.ones(len(mask), len(batch.prefix), dtype=torch.bool), mask], dim=1)
        selection = select_tokens(self.token_choice, full, skip=len(batch.prefix)).to(self.target.device)
        states = self._sharing.run(prefix, self._send(ids), self._send(full.long()), selection)
        if self._sharing.verified(full.shape[1]):
            return states
        return states if self._verify(batch, states) else None

    def _verify(self, batch: Batch, states: Tensor) -> bool:
        """Whether a cache is exact cannot be read off a model of unknown make: one prompt tells, the most padded one.

        It goes through whole, and again with its last token changed, which no state of the prefix may notice.
        """
        prompt = list(batch.prefix + batch.ids[-1])
        other = [*prompt[:-1], prompt[0] if prompt[0] != prompt[-1] else (prompt[-1] + 1) % self._ids]
        mask = torch.ones(3, len(prompt), dtype=torch.bool)
        selection = select_tokens(self.token_choice, mask)
        end = torch.tensor(len(batch.prefix) - 1)
        if selection.index is not None:
            selection = Selection(index=torch.stack([selection.index[0], end, end]))
        elif selection.weights is not None:
            at_end = torch.nn.functional.one_hot(end, len(prompt)).float()
            selection = Selection(weights=torch.stack([selection.weights[0], at_end, at_end]))
        self.capture.select(selection.to(self.target.device), tokens=len(prompt))
        self.target.run(self._send(torch.tensor([prompt, prompt, other])), self._send(mask.long()))
        plain, before, after = self.capture.take().unbind(1)
        longest = len(batch.prefix) + len(batch.ids[0])
        return self._sharing.verify(states[:, -1], plain, before, after, longest=longest)

    def _plain(self, batch: Batch) -> Tensor | None:
        """States of whole prompts, or None where padding turns out to change them."""
        longest, shortest = len(batch.ids[0]), len(batch.ids[-1])
        known = _IGNORES_PADDING.get(self.target, longest, shortest)
        if longest > shortest and known is False:
            return None
        states = self._padded(batch)
        if longest == shortest or known:
            return states
        return states if self._check_padding(batch, states) else None

    def _check_padding(self, batch: Batch, states: Tensor) -> bool:
        """Whether the most padded prompt has the states that it has alone."""
        alone = self._padded(Batch(batch.rows[-1:], batch.ids[-1:]))[:, 0]
        off = deviation(states[:, -1], alone)
        # States that are not finite are no matter of padding: the collector reports them.
        good = off <= tolerance(self.target) or not bool(alone.isfinite().all())
        _IGNORES_PADDING.set(self.target, good, len(batch.ids[0]), len(batch.ids[-1]))
        if not good:
            warnings.warn(
                f"{self.target.name} gives other hidden states when a prompt is padded (relative deviation {off:.1e}); "
                "from now on only prompts of equal length go through together, which takes longer.",
                RuntimeWarning,
                stacklevel=2,
            )
        return good

    def _padded(self, batch: Batch) -> Tensor:
        ids, mask = self._pad(batch)
        if self.target.decoder_start is None:
            selection = select_tokens(self.token_choice, mask)
            tokens = ids.shape[1]
        else:
            selection, tokens = Selection(index=torch.zeros(len(ids), dtype=torch.long)), 1
        self.capture.select(selection.to(self.target.device), tokens=tokens)
        self.target.run(self._send(ids), self._send(mask.long()))
        return self.capture.take()

    def _pad(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Right-padded ids ``(B, T)`` and their mask; what stands in the padding is never seen."""
        width = max(map(len, batch.ids))
        ids = torch.full((len(batch.ids), width), self._padding)
        for row, prompt in enumerate(batch.ids):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        mask = torch.arange(width) < torch.tensor([len(prompt) for prompt in batch.ids])[:, None]
        return ids, mask

    @property
    def _ids(self) -> int:
        return int(getattr(self.target.stack.embedding, "num_embeddings", 1))

    @property
    def _padding(self) -> int:
        # The model's own padding id where it has one: RoBERTa counts positions by it.
        pad = getattr(getattr(self.target.language_model, "config", None), "pad_token_id", None)
        # It may lie beyond the embedding: a [PAD] that the tokenizer got, and no batch of training ever needed.
        size = getattr(self.target.stack.embedding, "num_embeddings", None)
        return pad if isinstance(pad, int) and 0 <= pad < (pad + 1 if size is None else size) else 0

    def _send(self, tensor: Tensor) -> Tensor:
        device = self.target.device
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)


def _out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text
