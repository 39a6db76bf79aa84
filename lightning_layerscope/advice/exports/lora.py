"""A selection as peft's configuration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.advice.targets import TargetModule, Targets


def lora_options(targets: Targets, ranks: Mapping[str, int], *, scaling: float = 2.0) -> dict[str, Any]:
    """Arguments of ``peft.LoraConfig`` that train these matrices at these ranks, and no others.

    Whole layers become ``layers_to_transform``; where that could match matrices elsewhere in the model (T5 has two
    stacks of one name), or single matrices were chosen, they are named in full. Different ranks stand in
    ``rank_pattern``. ``alpha`` follows the rank, so that all adapters have one scale whatever their rank.

    Args:
        targets: The matrices there are.
        ranks: Full name of each chosen matrix to its rank.
        scaling: LoRA's ``alpha / rank``.

    Raises:
        ValueError: For no ranks, or names that are not among the targets.
    """
    by_name = {module.name: module for module in targets.modules}
    unknown = sorted(set(ranks) - set(by_name))
    if unknown or not ranks:
        raise ValueError(f"lora_options: expected ranks of the model's targets, at least one, got {unknown or 'none'}.")
    layers = sorted({by_name[name].layer for name in ranks})
    options: dict[str, Any] = {}
    whole = {module.name for module in targets.in_layers(layers)} == set(ranks)
    if whole and not targets.elsewhere:
        options["target_modules"] = list(targets.kinds)
        options["layers_to_transform"] = [layer - 1 for layer in layers]
        options["layers_pattern"] = targets.stack.rpartition(".")[2]
    else:
        options["target_modules"] = sorted(ranks)
    common = Counter(ranks.values()).most_common(1)[0][0]
    options["r"] = common
    options["lora_alpha"] = scaling * common
    pattern = _rank_pattern(targets, ranks, common)
    if pattern:
        options["rank_pattern"] = pattern
        options["alpha_pattern"] = {key: scaling * rank for key, rank in pattern.items()}
    if any(module.transposed for module in targets.modules):
        options["fan_in_fan_out"] = True
    return options


def lora_config(targets: Targets, ranks: Mapping[str, int], *, scaling: float = 2.0, **more: Any) -> Any:
    """The same as a ``peft.LoraConfig``.

    Args:
        targets: The matrices there are.
        ranks: Full name of each chosen matrix to its rank.
        scaling: LoRA's ``alpha / rank``.
        more: Further arguments, e.g. ``task_type="CAUSAL_LM"``.

    Raises:
        ImportError: When peft is not installed; the message holds the pip command.
        ValueError: As ``lora_options``.
    """
    return require("peft", "peft").LoraConfig(**lora_options(targets, ranks, scaling=scaling), **more)


def _rank_pattern(targets: Targets, ranks: Mapping[str, int], common: int) -> dict[str, int]:
    """Patterns for whole layers where one will do, else for single matrices."""
    pattern: dict[str, int] = {}
    by_layer: dict[int, list[TargetModule]] = {}
    for module in targets.modules:
        if module.name in ranks:
            by_layer.setdefault(module.layer, []).append(module)
    for members in by_layer.values():
        own = {ranks[module.name] for module in members}
        if own == {common}:
            continue
        if len(own) == 1:
            index = members[0].name[len(targets.stack) + 1 :].partition(".")[0]
            pattern[rf"{re.escape(targets.stack)}\.{index}\..*"] = own.pop()
            continue
        for module in members:
            if ranks[module.name] != common:
                pattern[re.escape(module.name)] = ranks[module.name]
    return pattern
