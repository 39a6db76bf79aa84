"""Model and probes in, hidden states out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from lightning_layerscope.extraction.batching import plan_batches, worthwhile_padding
from lightning_layerscope.extraction.capture import Capture
from lightning_layerscope.extraction.checks import check_probes, choose_layers
from lightning_layerscope.extraction.collect import Collector
from lightning_layerscope.extraction.guard import no_trace
from lightning_layerscope.extraction.passes import Passes
from lightning_layerscope.extraction.states import HiddenStates
from lightning_layerscope.extraction.target import Forward, find_target

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet

# Enough tokens to keep the arithmetic busy; more only costs memory.
_TOKENS_CPU, _TOKENS_ACCELERATOR = 1024, 8192


def extract_hidden_states(
    model: nn.Module,
    probes: ProbeSet,
    *,
    layers: Sequence[int] | str | None = None,
    embeddings: bool = False,
    max_tokens_per_batch: int | None = None,
    device: Literal["cpu", "model"] = "cpu",
    dtype: torch.dtype | None = None,
    forward: Forward | None = None,
    layer_modules: str | Sequence[nn.Module] | None = None,
    early_exit: bool = True,
    share_prefix: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> HiddenStates:
    """Put every probe prompt through the model and keep one vector per layer.

    Runs inside :func:`no_trace`: a model in training is left as it was. Prompts are padded on the right and the kept
    positions are counted from the attention mask, so the states equal those of each prompt alone. A model that reads
    its padding is found out, on the first padded batch of every class of lengths, and gets prompts of equal length from
    then on; where rotary embeddings depend on the length of a batch (longrope, dynamic NTK), only prompts that they
    treat alike go through together, without memory of longer ones before. Logits are not
    computed, the pass ends after the deepest wanted layer, and a beginning that prompts share goes through the model
    once. An autocast context of the caller applies.

    Args:
        model: A transformers model, or anything around one (PEFT, DDP, compile, a LightningModule); other modules need
            ``layer_modules`` and ``forward``. Layers of an encoder-decoder are named with ``layer_modules``; those of
            its decoder are read at the decoder's first position, under ``"last_prompt"`` only.
        probes: The prompts; ``probes.token_choice`` says which token stands for a prompt.
        layers: Which of 1..L (0: embeddings), as numbers or as ``"all"``, ``"last"``, ``"1,4,8-12"``; default all.
        embeddings: Also keep layer 0, what goes into the first layer.
        max_tokens_per_batch: Bound of the padded tokens in one pass and so of the memory; default 1,024 on the CPU and
            8,192 elsewhere. When memory runs out all the same, batches are halved, with a warning.
        device: Leave the states on the CPU, or on the model's device.
        dtype: Cast the states; default is what the layers put out.
        forward: Runs the layers in place of ``model(...)``: ``forward(model, input_ids, attention_mask)``, both ``(B,
            T)``.
        layer_modules: Name of the layer list, pattern of the layers' names, or the layers (:func:`find_layers`).
        early_exit: Break the pass off after the deepest wanted layer. Never done under sharding or offloading.
        share_prefix: Reuse the keys and values of a shared beginning where the model's cache allows it.
        progress: Called with (prompts done, prompts in all) after every batch.

    Returns:
        Per task ``(layers, examples, width)``.

    Raises:
        ValueError: Unknown layers, token ids or prompts that do not fit the model, states that are not finite.
        RuntimeError: The layers did not run as expected.
    """
    target = find_target(model, layer_modules, forward)
    wanted = choose_layers(layers, target.stack.num_layers, embeddings=embeddings)
    if device not in ("cpu", "model"):
        raise ValueError(f'device must be "cpu" or "model", got {device!r}.')
    check_probes(probes, target)
    if max_tokens_per_batch is None:
        max_tokens_per_batch = _TOKENS_CPU if target.device.type == "cpu" else _TOKENS_ACCELERATOR
    interrupt = early_exit and target.interruptible
    collector = Collector(
        probes, len(wanted), device=torch.device("cpu") if device == "cpu" else target.device, dtype=dtype
    )
    capture = Capture(target.stack, wanted, early_exit=interrupt, virtual_tokens=target.virtual_tokens)
    with no_trace(model), capture:
        passes = Passes(target, capture, probes.token_choice, max_tokens_per_batch)
        may_share = share_prefix and passes.may_share
        batches = plan_batches(
            probes,
            max_tokens_per_batch,
            share_prefix=may_share,
            regime=target.regime,
            max_padding=worthwhile_padding(target.device),
        )
        total = sum(len(batch.rows) for batch in batches)
        for batch in batches:
            for part, states in passes.run(batch):
                collector.add(part.rows, states)
            if progress is not None:
                progress(collector.done, total)
    return HiddenStates(
        tensors=collector.finish(wanted),
        layers=wanted,
        num_layers=target.stack.num_layers,
        clusters={task: probes.clusters.get(task, "") for task in probes},
        example_ids={task: tuple(probe.example_ids) for task, probe in probes.items()},
        examples_digest=probes.examples_digest,
        tokens_digest=probes.tokens_digest,
        model_name=target.name,
    )
