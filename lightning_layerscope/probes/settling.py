"""What nobody said about the probes to be made: found out from the tasks and the tokenizer, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lightning_layerscope.notices import warn_user
from lightning_layerscope.probes.tokens import closes_texts
from lightning_layerscope.tasks.chat_template import depends_on_clock
from lightning_layerscope.tasks.task import Example, MissingSplitError, TaskCollection
from lightning_layerscope.tasks.template import PromptTemplate

USUAL_SPLIT = "test"


def load_split(load: Callable[..., TaskCollection], split: str | None) -> TaskCollection:
    """Load the tasks of the split that ``settle_split`` will take, not all of what may be millions of rows.

    Args:
        load: Loads the tasks, and takes ``splits``.
        split: What was asked for; None takes ``USUAL_SPLIT``, or the only split there is.

    Raises:
        ValueError: When it is not there; the message lists those there are.
    """
    try:
        return load(splits=[USUAL_SPLIT if split is None else split])
    except MissingSplitError as error:
        if split is not None or len(error.available) != 1:
            wanted = USUAL_SPLIT if split is None else split
            raise ValueError(f"no rows have the split {wanted!r}; name one of {error.available} with split=") from error
        return load(splits=error.available)


def settle_split(tasks: TaskCollection, split: str | None) -> tuple[str, list[str]]:
    """The split to take examples from, and what there is to say about it.

    Args:
        tasks: The tasks.
        split: What was asked for; None takes ``USUAL_SPLIT``, or the only split there is.

    Raises:
        ValueError: When no task has the split; the message lists those there are.
    """
    known = sorted({name for task in tasks.values() for name in task.splits})
    wanted = USUAL_SPLIT if split is None else split
    if wanted in known:
        return wanted, []
    if split is not None or len(known) > 1:
        raise ValueError(
            f"no task of {tasks.source or 'these'} has a split {wanted!r}; name one of {known} with split="
        )
    note = (
        f"the prompts are of the split {known[0]!r}, the only one of {tasks.source or 'the tasks'}: if the training "
        "reads the same rows, hold some out under another split"
    )
    warn_user(note)
    return known[0], [note]


def settle_template(
    tasks: TaskCollection, split: str, template: PromptTemplate, tokenizer: Any
) -> tuple[PromptTemplate, list[str]]:
    """The template with nothing left open, and what there is to say about the prompts it makes.

    Raises:
        ValueError: For rows of several kinds, see ``PromptTemplate.settled``.
    """
    settled = template.settled(_examples(tasks, split), tokenizer)
    notes = []
    talks = any(example.messages for example in _examples(tasks, split))
    if talks and template.chat is None and settled.chat:
        notes.append(
            "the rows are conversations, which take the tokenizer's chat template; chat: false makes them text"
        )
    elif talks and template.chat is None:
        notes.append("the rows are conversations, and as the tokenizer has no chat template they are plain text")
    if settled.chat:
        turns = [settled.turns(example) for example in _examples(tasks, split)]
        one_of_each_form = {tuple(turn["role"] for turn in spoken): spoken for spoken in turns}
        if any(depends_on_clock(tokenizer, spoken) for spoken in one_of_each_form.values()):
            note = (
                "the tokenizer's chat template writes today's date, so that probes made on another day are others: "
                "save these once (ProbeSet.save) and give the file wherever results are to be compared"
            )
            warn_user(note)
            notes.append(note)
    elif closes_texts(tokenizer):
        end = tokenizer.eos_token
        notes.append(f"the tokenizer closes every text with {end!r}; prompts leave it out, as an answer follows them")
    return settled, notes


def _examples(tasks: TaskCollection, split: str) -> Iterator[Example]:
    return (example for task in tasks.values() for example in task.splits.get(split, ()))
