import hashlib
import re
from collections import Counter

import pytest

from lightning_layerscope.tasks import _toy_words as words
from lightning_layerscope.tasks import load_tasks, toy_tasks


@pytest.fixture(scope="module")
def tasks():
    return toy_tasks()


def fingerprint(tasks):
    rows = [
        repr((e.instruction, e.input, e.output, e.id)) for t in tasks.values() for s in t.splits.values() for e in s
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def test_size(tasks):
    assert len(tasks) >= 16
    assert len(set(tasks.clusters.values())) >= 5
    assert min(Counter(tasks.clusters.values()).values()) >= 3
    assert all(
        {s: len(rows) for s, rows in task.splits.items()} == {"train": 256, "test": 64} for task in tasks.values()
    )


def test_same_on_every_machine_and_python(tasks):
    assert fingerprint(tasks) == "85e3a36085137765"
    assert fingerprint(toy_tasks(seed=1)) != fingerprint(tasks)


def test_train_and_test_share_no_input(tasks):
    for task in tasks.values():
        inputs = [e.input for rows in task.splits.values() for e in rows]
        assert len(set(inputs)) == len(inputs)


def test_a_prefix_of_a_longer_draw(tasks):
    longer = toy_tasks(train=300)
    for name, task in tasks.items():
        assert longer[name].split("train")[:256] == task.split("train")


def test_labels_are_balanced(tasks):
    for task in tasks.values():
        counts = Counter(e.output for e in task.split("train"))
        if len(counts) <= 5:
            share = 256 / len(counts)
            assert all(0.6 * share < count < 1.4 * share for count in counts.values()), task.name


def answers(tasks, name):
    return [(e.input, e.output) for e in tasks[name].split("train")]


def test_answers_are_right(tasks):
    assert all(output == text for text, output in answers(tasks, "copy_sentence"))
    assert all(output == text.split()[-1] for text, output in answers(tasks, "last_word"))
    assert all(output.split() == text.split()[::-1] for text, output in answers(tasks, "reverse_words"))
    assert all(int(output) == max(map(int, text.split(" or "))) for text, output in answers(tasks, "larger_number"))
    for text, output in answers(tasks, "addition"):
        assert int(output) == sum(int(word) for word in text.split() if word.isdigit())
    for text, output in answers(tasks, "parity"):
        assert (output == "odd") == bool(int(text.split()[2]) % 2)
    for text, output in answers(tasks, "sort_numbers"):
        assert [int(n) for n in output.split(", ")] == sorted(int(n) for n in text.split(", "))
    kinds = {word: kind for kind, group in words.CATEGORIES.items() for word in group}
    assert all(kinds[text.rstrip(".").split()[-1]] == output for text, output in answers(tasks, "category"))
    for text, output in answers(tasks, "odd_one_out"):
        assert Counter(kinds[word] for word in text.split(", "))[kinds[output]] == 1
    for text, output in answers(tasks, "negated_sentiment"):
        said = text.rstrip(".").split()
        assert (output == "positive") == ((said[-1] in words.GOOD) != ("not" in said))
    for text, output in answers(tasks, "entailment_place"):
        premise, hypothesis = text.split(" Hypothesis: ")
        assert (output == "yes") == (premise.split()[-1] == hypothesis.split()[-1])
    for text, output in answers(tasks, "entailment_negation"):
        premise, hypothesis = text.removeprefix("Premise: ").split(" Hypothesis: ")
        assert (output == "yes") == (premise == hypothesis)
    for text, output in answers(tasks, "entailment_order"):
        older, middle, _, youngest = re.match(
            r"Premise: (\w+) is older than (\w+)\. (\w+) is older than (\w+)\.", text
        ).groups()
        assert text.endswith(
            f"{older} is older than {youngest}." if output == "yes" else f"{youngest} is older than {older}."
        )
        assert middle not in (older, youngest)
    for text, output in answers(tasks, "who_has"):
        assert f"{output} has the {text.rstrip('?').split()[-1]}." in text
    for text, output in answers(tasks, "count_things"):
        row, asked = text.rstrip("?").split(". How often ")
        assert int(output) == row.split().count(asked)
    for text, output in answers(tasks, "where_is"):
        *facts, question = text.split(". ")
        places = {fact.split()[0]: fact.split()[-1] for fact in facts}  # the last word on each person counts
        assert output == places[question.rstrip("?").split()[-1]]


def test_invented_words_differ_and_translations_mirror_each_other(tasks):
    vocabulary = words.NOUNS + words.COLOURS + words.VERBS
    assert len({words.invented(word) for word in vocabulary}) == len(vocabulary)
    for text, output in answers(tasks, "to_lumi"):
        name, verb, _, colour, noun = text.split()
        assert output == f"{words.invented(noun)} {words.invented(colour)} {words.invented(verb)} {name}"
    for text, output in answers(tasks, "from_lumi"):
        name, verb, _, colour, noun = output.split()
        assert text == f"{words.invented(noun)} {words.invented(colour)} {words.invented(verb)} {name}"


@pytest.mark.parametrize("counts", [{"train": -1}, {"train": 0, "test": 0}])
def test_impossible_counts(counts):
    with pytest.raises(ValueError, match="counts that are not negative"):
        toy_tasks(**counts)


def test_too_many_are_refused_by_name():
    with pytest.raises(
        ValueError, match=r"toy task '\w+' has only about \d+ different examples, and 5000 were asked for"
    ):
        toy_tasks(train=4000, test=1000)


def test_only_test_rows():
    assert list(toy_tasks(train=0, test=8)["parity"].splits) == ["test"]


def test_by_name():
    assert fingerprint(load_tasks("toy")) == fingerprint(toy_tasks())
    assert load_tasks("toy", clusters={"parity": "mine"}).clusters["parity"] == "mine"


def test_loader_errors(tmp_path):
    with pytest.raises(ValueError, match="'toy' has fixed columns"):
        load_tasks("toy", columns={"input": "x"})
    for wrong in ("./nope", tmp_path / "nope", "nope.jsonl", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="expected 'toy', 'general', 'flan', a folder of JSONL files"):
            load_tasks(wrong)
