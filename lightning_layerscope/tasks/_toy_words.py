"""The words that the toy tasks are made of."""

from __future__ import annotations

NAMES = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Iris",
    "Jack",
    "Kate",
    "Leo",
    "Mia",
    "Nina",
)
PLACES = ("kitchen", "garden", "school", "library", "market", "station", "park", "office", "museum", "harbour")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple")
CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": ("dog", "cat", "horse", "sheep", "tiger", "rabbit", "mouse", "duck", "whale", "snake"),
    "fruit": ("apple", "pear", "cherry", "banana", "grape", "lemon", "peach", "plum", "melon", "mango"),
    "tool": ("hammer", "saw", "drill", "spade", "wrench", "knife", "axe", "rake", "file", "brush"),
    "vehicle": ("car", "bus", "train", "boat", "plane", "truck", "bicycle", "tram", "ship", "wagon"),
    "clothing": ("coat", "shirt", "scarf", "glove", "sock", "hat", "dress", "boot", "belt", "jacket"),
}
NOUNS = tuple(word for words in CATEGORIES.values() for word in words)
THINGS = ("ball", "book", "lamp", "cup", "chair", "box", "key", "bag", "bell", "clock")
VERBS = ("sees", "buys", "paints", "finds", "carries", "sells", "likes", "moves")
GOOD = (
    "wonderful",
    "delightful",
    "brilliant",
    "charming",
    "superb",
    "lovely",
    "excellent",
    "great",
    "moving",
    "clever",
)
BAD = ("awful", "boring", "terrible", "dull", "dreadful", "weak", "clumsy", "bad", "tedious", "poor")
SUBJECTS = ("film", "book", "meal", "concert", "hotel", "game", "play", "song", "lecture", "show")
PARTS = ("story", "beginning", "ending", "sound", "service", "music", "price", "mood")
MOODS: dict[str, tuple[str, ...]] = {
    "joy": ("laughed", "danced", "smiled", "cheered", "sang"),
    "anger": ("shouted", "slammed the door", "stamped", "cursed", "glared"),
    "fear": ("trembled", "hid", "screamed", "froze", "ran away"),
    "sadness": ("cried", "sighed", "sobbed", "wept", "mourned"),
}
TOPICS: dict[str, tuple[str, ...]] = {
    "sports": (
        "the team won the final",
        "the runner broke a record",
        "the coach praised the striker",
        "the match ended late",
    ),
    "weather": ("heavy rain is expected", "snow fell in the hills", "a storm hit the coast", "the heat will last"),
    "business": (
        "the bank raised its rates",
        "the firm cut many jobs",
        "sales rose last year",
        "the shares fell sharply",
    ),
    "science": (
        "the probe reached the planet",
        "a new cell was found",
        "the telescope saw a star",
        "the virus was mapped",
    ),
}
PLURALS = {"mouse": "mice", "sheep": "sheep", "knife": "knives", "scarf": "scarves", "cherry": "cherries"}
PLURALS |= {
    "box": "boxes",
    "peach": "peaches",
    "brush": "brushes",
    "dress": "dresses",
    "bus": "buses",
    "wrench": "wrenches",
}


def invented(word: str) -> str:
    """The word of the invented language: consonants move on, vowels change, an ending by length.

    A rule rather than a list, so that it is the same everywhere; no two of the words used here become one.

    Example:
        >>> invented("dog"), invented("horse")
        ('fuho', 'juste')
    """
    consonants, vowels = "bcdfghjklmnpqrstvwxyz", "aeiou"
    moved = [
        vowels[(vowels.index(c) + 1) % 5] if c in vowels else consonants[(consonants.index(c) + 1) % 21] for c in word
    ]
    return "".join(moved)[:4].rstrip("aeiou") + "aeio"[len(word) % 4]
