"""Mistakes that can be known before the first step: each raises there, with the way out."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lightning_layerscope.extraction.checks import check_probes, choose_layers
from lightning_layerscope.extraction.target import Target, find_target
from lightning_layerscope.monitor.adapters import check_separable
from lightning_layerscope.monitor.answers import check_answers, check_head
from lightning_layerscope.monitor.attempts import refusing
from lightning_layerscope.monitor.settings import Settings
from lightning_layerscope.monitor.sharding import check_not_sharded
from lightning_layerscope.monitor.weights import check_update_source
from lightning_layerscope.options import did_you_mean
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.sinks.wandb_reference import fetch_reference, is_artifact
from lightning_layerscope.wording import count

_WAY_OUT = "Probe with the probes that it was made of (probes.json of the same results), or make it anew."


def check_start(
    settings: Settings, model: nn.Module, probes: ProbeSet | None, bank: ReferenceBank | None = None
) -> None:
    """Whether the model has what is asked of it, and probes and reference fit it and each other.

    Args:
        settings: What the user asked for.
        model: Before the first step.
        probes: What will be measured on; None in passive mode.
        bank: The reference, where there is one already.

    Raises:
        Refused: With an error that says what was expected, what came and what to do.
    """
    with refusing():
        target = find_target(model, settings.extraction.layer_modules, settings.forward)
        layers = choose_layers(settings.layers, target.stack.num_layers, embeddings=settings.extraction.embeddings)
        if probes is not None:
            check_not_sharded(model)
            check_probes(probes, target)
            if settings.reference_kind == "base":
                check_separable(model)
        if bank is not None:
            _check_layers(bank, target, layers)
            if probes is not None:
                _check_prompts(bank, probes, target.name)


def check_behaviour(settings: Settings, model: nn.Module, probes: ProbeSet | None, retention: ProbeSet | None) -> None:
    """Whether the model has answers to measure, and the probes have them.

    Args:
        settings: What the user asked for.
        model: Before the first step.
        probes: What will be measured on; None in passive mode.
        retention: What must not be lost; None where nothing is named.

    Raises:
        Refused: With an error that says what was expected, what came and what to do.
    """
    signals = settings.signals
    answered = signals.answer_loss or signals.gradient_conflict
    asked = {"probes": probes if answered or signals.kl else None, "retention set": retention}
    groups = {name: each for name, each in asked.items() if each is not None}
    with refusing():
        check_update_source(signals.update_from, model)
        if not groups:
            return
        target = find_target(model, settings.extraction.layer_modules, settings.forward)
        check_head(model, target)
        for name, each in groups.items():
            if name == "retention set" or answered:
                check_answers(name, each, target)


def stored_reference(settings: Settings) -> tuple[ReferenceBank, str]:
    """The bank that the settings name, and the artifact of W&B that it is; empty for one of this machine.

    Raises:
        Refused: When it is not there, or damaged.
    """
    with refusing():
        if isinstance(settings.reference, ReferenceBank):
            return settings.reference, ""
        if is_artifact(settings.reference):
            return fetch_reference(str(settings.reference))
        folder = Path(settings.reference)
        if not folder.exists():
            raise FileNotFoundError(_not_there(folder))
        return ReferenceBank.load(folder), ""


def _not_there(folder: Path) -> str:
    try:
        beside = sorted(path.name for path in folder.parent.iterdir())
    except OSError:
        beside = []
    hint = did_you_mean(folder.name, beside) or did_you_mean(folder, ("initial", "base"))
    return (
        f'reference must be "initial", "base" or the folder of a stored bank, and there is no folder {folder} '
        f"(looked for at {folder.absolute()}).{hint}"
    )


def _check_prompts(bank: ReferenceBank, probes: ProbeSet, model_name: str) -> None:
    """The same prompts, task by task and row by row, as far as that is known before hidden states are."""
    lacking = [task for task in probes if task not in bank]
    if lacking:
        raise ValueError(
            f"the reference {bank.name!r} has no states of the tasks {lacking[:5]}, only of {sorted(bank)[:8]}. "
            f"{_WAY_OUT}"
        )
    for task, probe in probes.items():
        if bank.example_ids[task] != tuple(probe.example_ids):
            raise ValueError(f"the reference {bank.name!r} is of other prompts of the task {task!r}. {_WAY_OUT}")
    if set(bank) != set(probes) or bank.identity.partial or not bank.examples_digest:
        return  # a digest covers all tasks: among others, the ids decide
    if bank.examples_digest != probes.examples_digest:
        raise ValueError(f"the reference {bank.name!r} is of other prompts under the same ids. {_WAY_OUT}")
    if bank.tokens_digest != probes.tokens_digest and bank.model_name and bank.model_name == model_name:
        raise ValueError(
            f"the reference {bank.name!r} is of the same prompts and the same model, read in another way: the "
            f"tokenizer, template, max_length or token_choice is another. {_WAY_OUT}"
        )


def _check_layers(bank: ReferenceBank, target: Target, layers: tuple[int, ...]) -> None:
    """A bank of another depth, or without some of the layers that are measured."""
    if bank.num_layers != target.stack.num_layers:
        raise ValueError(
            f"the reference {bank.name!r} is of a model of {count(bank.num_layers, 'layer')}, and this one has "
            f"{target.stack.num_layers}: only models of one depth can be compared."
        )
    if lacking := [layer for layer in layers if layer not in bank.layers]:
        raise ValueError(
            f"the reference {bank.name!r} has no states of the layers {lacking[:8]}, only of {list(bank.layers)}. Pass "
            "layers= with those that it has, or make it anew with all."
        )
