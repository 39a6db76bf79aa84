"""Built-in toy tasks: real text, no download, for demonstrations and tests."""

from __future__ import annotations

from random import Random

from lightning_layerscope.tasks import _toy_makers as make
from lightning_layerscope.tasks.task import Example, Task, TaskCollection

_TASKS: dict[str, tuple[str, str, make.Maker]] = {
    # name: (cluster, instruction, how one example is made)
    "copy_sentence": ("copying", "Repeat the sentence.", make.copy_sentence),
    "last_word": ("copying", "Give the last word of the list.", make.last_word),
    "reverse_words": ("copying", "Write the words in reverse order.", make.reverse_words),
    "first_letter": ("copying", "Give the first letter of each word.", make.first_letter),
    "review_sentiment": ("sentiment", "Is the review positive or negative?", make.review_sentiment),
    "negated_sentiment": ("sentiment", "Was the opinion positive or negative?", make.negated_sentiment),
    "emotion": ("sentiment", "Which emotion does the person show?", make.emotion),
    "larger_number": ("numbers", "Which number is larger?", make.larger_number),
    "sort_numbers": ("numbers", "Sort the numbers from small to large.", make.sort_numbers),
    "parity": ("numbers", "Is the number odd or even?", make.parity),
    "addition": ("numbers", "How many are there together?", make.addition),
    "to_lumi": ("translation", "Translate from English to Lumi.", make.to_invented),
    "from_lumi": ("translation", "Translate from Lumi to English.", make.from_invented),
    "plural": ("translation", "Write the phrase for the number given.", make.plural),
    "entailment_place": ("entailment", "Does the hypothesis follow? Answer yes or no.", make.entailment_place),
    "entailment_negation": ("entailment", "Is the hypothesis true? Answer yes or no.", make.entailment_negation),
    "entailment_order": ("entailment", "Can this be concluded? Answer yes or no.", make.entailment_order),
    "category": ("categories", "What kind of thing was bought?", make.category),
    "odd_one_out": ("categories", "Which word does not belong to the others?", make.odd_one_out),
    "topic": ("categories", "What is the report about?", make.topic),
    "who_has": ("reading", "Answer the question about who has what.", make.who_has),
    "where_is": ("reading", "Answer the question about where people are.", make.where_is),
    "count_things": ("reading", "Count how often the word occurs.", make.count_things),
    "describe_record": ("reading", "Turn the record into a sentence.", make.describe_record),
}
_TRIES_PER_EXAMPLE = 50


def toy_tasks(*, seed: int = 0, train: int = 256, test: int = 64) -> TaskCollection:
    """Make the toy tasks: 24 text tasks in 7 clusters, from copying to two-step reading.

    The same arguments give the same examples on every machine and Python version. Labels are drawn before the text is,
    so that they are about balanced. No input occurs twice within a task, hence train and test share none.

    Args:
        seed: Which examples are drawn.
        train: Examples per task in the split ``"train"``.
        test: Examples per task in the split ``"test"``.

    Returns:
        The tasks, in a fixed order.

    Raises:
        ValueError: For negative counts or none at all, or when a task cannot make that many different examples.

    Example:
        >>> tasks = toy_tasks(train=8, test=4)
        >>> len(tasks), len(set(tasks.clusters.values()))
        (24, 7)
        >>> tasks["last_word"].split("test")[0].instruction
        'Give the last word of the list.'
    """
    if train < 0 or test < 0 or train + test == 0:
        raise ValueError(
            f"toy_tasks needs counts that are not negative, and one above 0, got train={train}, test={test}"
        )
    tasks = []
    for name, (cluster, instruction, maker) in _TASKS.items():
        # A generator of its own for each task: adding a task changes none of the others.
        pairs = _distinct(name, maker, Random(f"{name}/{seed}"), train + test)
        rows = {"train": pairs[:train], "test": pairs[train:]}
        splits = {
            split: tuple(Example(instruction, *pair, f"{name}/{split}/{row}") for row, pair in enumerate(chosen))
            for split, chosen in rows.items()
            if chosen
        }
        tasks.append(Task(name, cluster, splits))
    return TaskCollection(tasks, source=f"toy(seed={seed}, train={train}, test={test})")


def _distinct(name: str, maker: make.Maker, rng: Random, count: int) -> list[tuple[str, str]]:
    answers: dict[str, str] = {}
    for _ in range(_TRIES_PER_EXAMPLE * count):
        text, answer = maker(rng)
        answers.setdefault(text, answer)
        if len(answers) == count:
            return list(answers.items())
    raise ValueError(
        f"toy task {name!r} has only about {len(answers)} different examples, and {count} were asked for; "
        "ask for fewer train and test examples"
    )
