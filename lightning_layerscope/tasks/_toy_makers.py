"""One function per toy task: a random generator in, (input, output) out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from lightning_layerscope.tasks import _toy_words as w

Maker = Callable[[Random], tuple[str, str]]
_FEW_WORDS = w.CATEGORIES["animal"] + w.CATEGORIES["fruit"]


def _sentence(rng: Random) -> str:
    return f"{rng.choice(w.NAMES)} {rng.choice(w.VERBS)} the {rng.choice(w.COLOURS)} {rng.choice(w.THINGS)}"


def copy_sentence(rng: Random) -> tuple[str, str]:
    sentence = _sentence(rng)
    return sentence, sentence


def last_word(rng: Random) -> tuple[str, str]:
    words = rng.sample(w.NOUNS, rng.randrange(3, 7))
    return " ".join(words), words[-1]


def reverse_words(rng: Random) -> tuple[str, str]:
    words = rng.sample(_FEW_WORDS, 3)
    return " ".join(words), " ".join(reversed(words))


def first_letter(rng: Random) -> tuple[str, str]:
    words = rng.sample(_FEW_WORDS + w.CATEGORIES["tool"], 2)
    return " ".join(words), " ".join(word[0].upper() for word in words)


def review_sentiment(rng: Random) -> tuple[str, str]:
    label, words = rng.choice((("positive", w.GOOD), ("negative", w.BAD)))
    first, second = rng.sample(words, 2)
    return f"The {rng.choice(w.SUBJECTS)} was {first} and the {rng.choice(w.PARTS)} was {second}.", label


def negated_sentiment(rng: Random) -> tuple[str, str]:
    good, negated = rng.random() < 0.5, rng.random() < 0.5
    word = rng.choice(w.GOOD if good else w.BAD)
    text = f"{rng.choice(w.NAMES)} said the {rng.choice(w.SUBJECTS)} was {'not ' if negated else ''}{word}."
    return text, "positive" if good != negated else "negative"


def emotion(rng: Random) -> tuple[str, str]:
    label = rng.choice(tuple(w.MOODS))
    return f"In the {rng.choice(w.PLACES)} {rng.choice(w.NAMES)} {rng.choice(w.MOODS[label])}.", label


def larger_number(rng: Random) -> tuple[str, str]:
    first, second = rng.sample(range(1, 100), 2)
    return f"{first} or {second}", str(max(first, second))


def sort_numbers(rng: Random) -> tuple[str, str]:
    numbers = rng.sample(range(1, 13), 3)
    return ", ".join(map(str, numbers)), ", ".join(map(str, sorted(numbers)))


def parity(rng: Random) -> tuple[str, str]:
    label = rng.randrange(2)
    number = 2 * rng.randrange(1, 20) + label
    return f"{rng.choice(w.NAMES)} counts {number} {_many(rng.choice(w.THINGS))}.", "odd" if label else "even"


def addition(rng: Random) -> tuple[str, str]:
    first, second, thing = rng.randrange(2, 10), rng.randrange(2, 10), rng.choice(w.THINGS)
    return f"{rng.choice(w.NAMES)} has {first} {_many(thing)} and finds {second} more.", str(first + second)


def _many(noun: str) -> str:
    return w.PLURALS.get(noun, f"{noun}s")


def to_invented(rng: Random) -> tuple[str, str]:
    name, verb, colour = rng.choice(w.NAMES), rng.choice(w.VERBS), rng.choice(w.COLOURS)
    noun = rng.choice(w.CATEGORIES["animal"])
    # Another word order, so that a translation is more than a list of words.
    return f"{name} {verb} the {colour} {noun}", f"{w.invented(noun)} {w.invented(colour)} {w.invented(verb)} {name}"


def from_invented(rng: Random) -> tuple[str, str]:
    answer, question = to_invented(rng)
    return question, answer


def plural(rng: Random) -> tuple[str, str]:
    number, colour, noun = rng.randrange(2, 13), rng.choice(w.COLOURS), rng.choice(w.NOUNS)
    return f"one {colour} {noun} -> {number}", f"{number} {colour} {_many(noun)}"


def _pair(rng: Random, premise: str, true: str, false: str) -> tuple[str, str]:
    label = rng.choice(("yes", "no"))
    return f"Premise: {premise} Hypothesis: {true if label == 'yes' else false}", label


def entailment_place(rng: Random) -> tuple[str, str]:
    name, verb = (
        rng.choice(w.NAMES),
        rng.choice(("reads", "sleeps", "sings", "waits", "works", "plays", "eats", "sits")),
    )
    place, other = rng.sample(w.PLACES[:5], 2)
    return _pair(rng, f"{name} {verb} in the {place}.", f"{name} is in the {place}.", f"{name} is in the {other}.")


def entailment_negation(rng: Random) -> tuple[str, str]:
    name, colour, thing, denied = rng.choice(w.NAMES), rng.choice(w.COLOURS), rng.choice(w.THINGS), rng.random() < 0.5
    owns, lacks = f"{name} owns a {colour} {thing}.", f"{name} does not own a {colour} {thing}."
    said, other = (lacks, owns) if denied else (owns, lacks)
    return _pair(rng, said, said, other)


def entailment_order(rng: Random) -> tuple[str, str]:
    a, b, c = rng.sample(w.NAMES, 3)
    return _pair(
        rng, f"{a} is older than {b}. {b} is older than {c}.", f"{a} is older than {c}.", f"{c} is older than {a}."
    )


def category(rng: Random) -> tuple[str, str]:
    label = rng.choice(tuple(w.CATEGORIES))
    return f"{rng.choice(w.NAMES)} bought a {rng.choice(w.COLOURS)} {rng.choice(w.CATEGORIES[label])}.", label


def odd_one_out(rng: Random) -> tuple[str, str]:
    common, other = rng.sample(tuple(w.CATEGORIES), 2)
    words, odd = rng.sample(w.CATEGORIES[common], 3), rng.choice(w.CATEGORIES[other])
    words.insert(rng.randrange(4), odd)
    return ", ".join(words), odd


def topic(rng: Random) -> tuple[str, str]:
    label = rng.choice(tuple(w.TOPICS))
    return f"{rng.choice(w.NAMES)} reports from the {rng.choice(w.PLACES)}: {rng.choice(w.TOPICS[label])}.", label


def who_has(rng: Random) -> tuple[str, str]:
    names, things = rng.sample(w.NAMES, 2), rng.sample(w.THINGS, 2)
    asked = rng.randrange(2)
    facts = " ".join(f"{name} has the {thing}." for name, thing in zip(names, things, strict=True))
    return f"{facts} Who has the {things[asked]}?", names[asked]


def where_is(rng: Random) -> tuple[str, str]:
    names, places = rng.sample(w.NAMES, 2), rng.sample(w.PLACES, 3)
    moved = rng.randrange(2)
    facts = (
        f"{names[0]} is in the {places[0]}. {names[1]} is in the {places[1]}. {names[moved]} goes to the {places[2]}."
    )
    asked = rng.randrange(2)
    return f"{facts} Where is {names[asked]}?", places[2] if asked == moved else places[asked]


def count_things(rng: Random) -> tuple[str, str]:
    thing, other = rng.sample(w.THINGS, 2)
    count = rng.randrange(1, 6)
    words = [thing] * count + [other] * rng.randrange(1, 4)
    rng.shuffle(words)
    return f"{' '.join(words)}. How often {thing}?", str(count)


def describe_record(rng: Random) -> tuple[str, str]:
    name, place, thing = rng.choice(w.NAMES), rng.choice(w.PLACES), rng.choice(w.THINGS)
    colour = rng.choice(w.COLOURS)
    return (
        f"name = {name}; place = {place}; thing = {thing}; colour = {colour}",
        f"In the {place}, {name} has a {colour} {thing}.",
    )
