"""Hooks that read hidden states while somebody else runs the model, and never disturb who does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from lightning_layerscope.extraction import Capture, DecoderLayers, find_layers, select_tokens
from lightning_layerscope.extraction.checks import choose_layers
from lightning_layerscope.extraction.target import find_target
from lightning_layerscope.extraction.token_choice import TokenChoice
from lightning_layerscope.monitor.attempts import describe
from lightning_layerscope.monitor.boundary import batch_entries, labels_of_batch, prompt_mask

Rows = dict[str, Tensor]
"""Example id -> ``(layers, width)``."""


class ValidationRecorder:
    """Reads one vector per prompt and layer from the forward passes of the user's own validation.

    Only the first forward pass of a batch counts, so that generation afterwards is not read, and none between the
    batches. Nothing raised in here reaches the model: the first error is kept in ``error`` and ends the reading.

    Args:
        model: Around a transformers model whose forward pass gets ``input_ids``.
        layers: As in :func:`~lightning_layerscope.extract_hidden_states`.
        layer_modules: Likewise.
        token_choice: Which token of the prompt stands for it.
        most: Examples to keep per task.
        embeddings: Keep layer 0, too.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layers: Sequence[int] | str | None,
        layer_modules: str | None,
        token_choice: TokenChoice,
        most: int,
        embeddings: bool = False,
    ) -> None:
        self.stack: DecoderLayers = find_layers(model, layer_modules)
        self.layers = choose_layers(layers, self.stack.num_layers, embeddings=embeddings)
        self.target = find_target(model, layer_modules)
        self.token_choice, self.most = token_choice, most
        self.rows: Rows = {}
        self.error = ""
        self._entries: dict[str, Any] | None = None  # of the batch under way whose forward pass is still to come
        self._capture = Capture(
            self.stack, self.layers, virtual_tokens=self.target.virtual_tokens, on_error=self._keep_error
        )
        self._reading = False  # whether the forward pass under way is read
        self._pending: list[str] = []
        self._installed = ExitStack()

    def install(self) -> None:
        """Put the hooks in place."""
        root = self.target.language_model or self.target.call
        self._installed.callback(root.register_forward_pre_hook(self._before, with_kwargs=True).remove)
        self._installed.enter_context(self._capture)
        self._installed.callback(root.register_forward_hook(self._after).remove)

    def remove(self) -> None:
        """Take the hooks away."""
        self._installed.close()

    def begin_batch(self, batch: Any) -> None:
        """A batch begins: its first forward pass is read. Its ``example_id`` are the ids, where it has any."""
        try:
            self._entries = batch_entries(batch)
        except Exception as error:
            self._keep_error(error)

    def end_batch(self) -> None:
        """The batch is through: forward passes until the next one are somebody else's."""
        self._entries = None
        self._stop_reading()

    def take(self) -> Rows:
        """What was read since the last time."""
        rows, self.rows = self.rows, {}
        return rows

    def _before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._stop_reading()
        if self.error or self._entries is None:
            return
        try:
            self._begin(self._entries, arguments, keywords)
        except Exception as error:
            self._keep_error(error)

    def _begin(self, entries: dict[str, Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        ids = keywords.get("input_ids", arguments[0] if arguments else None)
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            raise ValueError(
                "the model was called without input_ids (B, T); passive mode cannot tell the prompts apart"
            )
        self._entries = None
        labels = None
        if not self._is_encoder_decoder:  # there, labels are of another sequence than the prompts
            labels = keywords.get("labels")
            labels = labels_of_batch(entries, ids) if labels is None else labels
        prompt = prompt_mask(ids, keywords.get("attention_mask"), labels, keywords.get("position_ids"))
        self._pending = _example_ids(entries) or [
            _content_id(row[mask]) for row, mask in zip(ids.cpu(), prompt.cpu(), strict=True)
        ]
        if len(self._pending) != len(ids):
            raise ValueError(f"the batch has {len(self._pending)} example_id for {len(ids)} rows")
        self._capture.select(select_tokens(self.token_choice, prompt), tokens=ids.shape[1])
        self._reading = True

    @property
    def _is_encoder_decoder(self) -> bool:
        config = getattr(self.target.language_model, "config", None)
        return bool(getattr(config, "is_encoder_decoder", False))

    def _after(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if not self._reading or self.error:
            return
        try:
            states = self._capture.take().movedim(0, 1).cpu()
            for name, vectors in zip(self._pending, states, strict=True):
                if len(self.rows) < self.most:
                    self.rows.setdefault(name, vectors)  # a sampler's padding repeats examples: the first one counts
        except Exception as error:
            self._keep_error(error)
        finally:
            self._stop_reading()

    def _stop_reading(self) -> None:
        self._reading = False
        self._capture.select(None, tokens=0)

    def _keep_error(self, error: Exception) -> None:
        """The first one is kept, and ends the reading."""
        self.error = self.error or describe(error)
        self._stop_reading()


def _content_id(tokens: Tensor) -> str:
    return hashlib.sha256(str(tokens.tolist()).encode()).hexdigest()[:16]


def _example_ids(entries: dict[str, Any]) -> list[str] | None:
    """The user's ids of a batch's rows, as texts; None where there are none."""
    ids = entries.get("example_id")
    if ids is None:
        return None
    return [str(one) for one in (ids.tolist() if isinstance(ids, Tensor) else ids)]
