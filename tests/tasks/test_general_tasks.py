"""The built-in retention set holds what its description promises."""

import re
from itertools import combinations

import pytest

from lightning_layerscope.probes.near_duplicates import near_duplicates
from lightning_layerscope.tasks import general_tasks, load_tasks


@pytest.fixture(scope="module")
def rows():
    return [example for task in general_tasks().values() for example in task.split("test")]


def words(text):
    return re.findall(r"\w+", text.lower())


def shared(first, second, length=3):
    """Share of the shorter prompt's runs of three words that the other prompt has, too."""
    runs = [set(zip(*(words(text)[start:] for start in range(length)), strict=False)) for text in (first, second)]
    return len(runs[0] & runs[1]) / max(1, min(map(len, runs)))


def test_six_skills_of_32_prompts_with_answers(rows):
    tasks = load_tasks("general")
    assert {name: len(task.split("test")) for name, task in tasks.items()} == dict.fromkeys(
        ("arithmetic", "facts", "instructions", "language", "reading", "reasoning"), 32
    )
    assert set(tasks.clusters.values()) == {"retention"}
    assert all(example.output.strip() and example.input.strip() and not example.instruction for example in rows)
    assert max(len(words(example.input)) for example in rows) <= 30
    assert max(len(words(example.output)) for example in rows) <= 8


def test_no_two_prompts_share_a_template(rows):
    openings = [tuple(words(example.input)[:3]) for example in rows]
    assert len(set(openings)) == len(rows)
    numberless = {re.sub(r"\d+", "0", example.input) for example in rows}
    assert len(numberless) == len(rows)
    assert max(shared(a.input, b.input) for a, b in combinations(rows, 2)) < 0.3


def test_the_check_above_sees_a_template():
    assert shared("What is the capital of France?", "What is the capital of Peru?") > 0.7


def test_it_passes_the_packages_own_check_for_near_copies(rows):
    vocabulary = {}
    ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in words(example.input)] for example in rows]
    assert near_duplicates(ids) == []
    assert near_duplicates([*ids, ids[40]]) == [[40, len(ids)]]
