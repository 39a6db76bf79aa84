"""Which rows of two sets of hidden states belong together; what does not fit is an error that says the way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.wording import count


@dataclass(frozen=True)
class Alignment:
    """What two sides are compared on.

    Attributes:
        tasks: In the current side's order.
        layers: Their numbers.
        current: Positions of the layers in the current side.
        reference: Positions of the layers in the reference.
        notes: What could not be verified, in words.
    """

    tasks: tuple[str, ...]
    layers: tuple[int, ...]
    current: tuple[int, ...]
    reference: tuple[int, ...]
    notes: tuple[str, ...]


def align(
    current: ReferenceBank,
    reference: ReferenceBank,
    *,
    tasks: Iterable[str] | None = None,
    layers: Sequence[int] | None = None,
) -> Alignment:
    """Check that two sides hold the same examples, row by row, and the same layers.

    Args:
        current: The states measured.
        reference: What they are compared with.
        tasks: Compare these alone; else both must have the same tasks.
        layers: Compare these alone; else the reference must have all of the current side's.

    Raises:
        ValueError: For different tasks, examples, layers, depths, or tokenisations of one model.
    """
    chosen = _tasks(current, reference, tasks)
    notes = _digests(current, reference)
    for task in chosen:
        _rows(task, current.example_ids[task], reference.example_ids[task])
    if current.num_layers != reference.num_layers:
        raise ValueError(
            f"expected models of one depth, got {current.num_layers} and {count(reference.num_layers, 'layer')}; "
            "compare each with a reference of its own and the two profiles over relative depth: profile.diff(other)"
        )
    numbers = _layers(current, reference, layers)
    own, other = (tuple(side.layers.index(number) for number in numbers) for side in (current, reference))
    return Alignment(chosen, numbers, own, other, notes)


def _tasks(current: ReferenceBank, reference: ReferenceBank, tasks: Iterable[str] | None) -> tuple[str, ...]:
    if tasks is None:
        lacking = [task for task in current if task not in reference]
        beyond = [task for task in reference if task not in current]
        if lacking or beyond:
            raise ValueError(
                f"expected the same tasks on both sides, got {lacking[:5]} in the states only and {beyond[:5]} in the "
                "reference only; pass tasks=[...] to compare those that both have"
            )
        return tuple(current)
    chosen = tuple(tasks)
    if not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(f"expected distinct tasks to compare, got {list(chosen)}")
    absent = [task for task in chosen if task not in current or task not in reference]
    if absent:
        raise ValueError(f"expected tasks that both sides have, got {absent[:5]}; leave them out of tasks=[...]")
    return chosen


def _digests(current: ReferenceBank, reference: ReferenceBank) -> tuple[str, ...]:
    if not (current.examples_digest and reference.examples_digest):
        return ("the prompts of both sides could not be verified: plain tensors carry no digest",)
    if current.examples_digest != reference.examples_digest:
        # A digest covers all tasks of a probe set: with other tasks around it differs, and the ids decide.
        some = current.identity.partial or reference.identity.partial
        if some or set(current.example_ids) != set(reference.example_ids):
            return (
                "the prompts were verified by their ids alone: both sides were probed with other tasks beside these",
            )
        raise ValueError(
            f"expected states of the same prompts, got examples digests {current.examples_digest[:16]} and "
            f"{reference.examples_digest[:16]}; extract both with one ProbeSet (save it, and load it for the other)"
        )
    if current.tokens_digest == reference.tokens_digest:
        return ()
    if current.model_name and current.model_name == reference.model_name:
        raise ValueError(
            f"expected one way of reading {current.model_name}, got tokens digests {current.tokens_digest[:16]} and "
            f"{reference.tokens_digest[:16]}: the tokenizer, template, max_length or token_choice changed; "
            "extract both with one ProbeSet"
        )
    return ("the two models read the same prompts with different tokens, templates or token choices",)


def _rows(task: str, current: tuple[str, ...], reference: tuple[str, ...]) -> None:
    if current == reference:
        return
    if len(current) != len(reference):
        what = f"{len(current)} and {count(len(reference), 'example')}"
    else:
        row = next(row for row, pair in enumerate(zip(current, reference, strict=True)) if pair[0] != pair[1])
        what = f"{current[row]!r} and {reference[row]!r} in row {row}"
    raise ValueError(
        f"expected the same examples in the same order for task {task!r}, got {what}; extract both with one ProbeSet"
    )


def _layers(current: ReferenceBank, reference: ReferenceBank, layers: Sequence[int] | None) -> tuple[int, ...]:
    if layers is None:
        if lacking := [layer for layer in current.layers if layer not in reference.layers]:
            both = [layer for layer in current.layers if layer in reference.layers]
            advice = f"layers={both}" if both else "another reference"
            raise ValueError(
                f"expected a reference with all measured layers {list(current.layers)}, got one with "
                f"{list(reference.layers)}: {lacking} are missing; use {advice}"
            )
        return current.layers  # what the reference has beyond them (a bank of all layers) does not matter
    chosen = tuple(int(layer) for layer in layers)
    absent = [layer for layer in chosen if layer not in current.layers or layer not in reference.layers]
    if absent or not chosen or list(chosen) != sorted(set(chosen)):
        raise ValueError(
            f"expected increasing layers that both sides have, got {list(chosen)} of {list(current.layers)} and "
            f"{list(reference.layers)}"
        )
    return chosen
