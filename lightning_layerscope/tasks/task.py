"""What a task is: named examples in splits, in a named cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightning_layerscope.wording import count

UNCLUSTERED = "unclustered"
"""The cluster of tasks whose source names none."""


class MissingSplitError(ValueError):
    """A source has no rows in the splits that were asked for.

    Attributes:
        available: The splits that it has, sorted.
    """

    def __init__(self, message: str, available: Iterable[str]) -> None:
        super().__init__(message)
        self.available = sorted(set(available))


def check_text(text: str, where: str) -> None:
    """Refuse text that no tokenizer and no file can hold.

    Raises:
        ValueError: For half of a surrogate pair; ``where`` names its place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} is no valid Unicode: character {error.start + 1} is half of a surrogate pair "
            f"({text[error.start]!a}), as a cut emoji leaves it; repair the text, or leave the row out"
        ) from None


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a task.

    Attributes:
        instruction: What to do; the same for many examples of a task, or ``""``.
        input: What to do it with; this part is cut when a prompt is too long.
        output: The expected answer, or ``""`` where the source has none.
        id: Unique within its split, and the same in every run: ``"<task>/<split>/<row number from 0>"`` unless the
            source has its own.
        messages: The turns before the answer as ``(role, content)``, where the source is a conversation; empty
            otherwise. ``instruction`` and ``input`` then hold the same text in plain form.
        whole: Whether ``input`` is the whole prompt to the last letter, as in rows of prompt and completion.

    Raises:
        ValueError: For text that is no Unicode, as a cut emoji leaves it.
    """

    instruction: str
    input: str
    output: str
    id: str
    messages: tuple[tuple[str, str], ...] = ()
    whole: bool = False

    def __post_init__(self) -> None:
        for text in (self.id, self.instruction, self.input, self.output, *(content for _, content in self.messages)):
            check_text(text, f"example {self.id!r}")

    @property
    def text(self) -> str:
        """Instruction, input and output, one below the other: raw text, e.g. for training a tokenizer."""
        return "\n".join(part for part in (self.instruction, self.input, self.output) if part)


@dataclass(frozen=True)
class Task:
    """A named set of examples.

    Attributes:
        name: The task's name, e.g. ``"sst2"``.
        cluster: The group it belongs to, e.g. ``"sentiment"``.
        splits: Examples by the name of their split, e.g. ``{"train": (...), "test": (...)}``.

    Raises:
        ValueError: For an empty name or cluster, a name that is no Unicode, or two examples of a split with one id.
    """

    name: str
    cluster: str
    splits: Mapping[str, tuple[Example, ...]]

    def __post_init__(self) -> None:
        if not self.name or not self.cluster:
            raise ValueError(f"a task needs a name and a cluster, got name={self.name!r}, cluster={self.cluster!r}")
        check_text(self.name, f"the name of the task {self.name!r}")
        for split, examples in self.splits.items():
            ids = Counter(example.id for example in examples)
            twice = [example_id for example_id, count in ids.items() if count > 1]
            if twice:
                raise ValueError(
                    f"task {self.name!r} has {len(twice)} example id(s) more than once in its split {split!r}, e.g. "
                    f"{twice[:3]}: ids say which rows of two measurements belong together, so each row needs its own"
                )

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one split.

        Raises:
            ValueError: When the task has no such split; the message lists those it has.
        """
        if name not in self.splits:
            raise ValueError(f"task {self.name!r} has no split {name!r}; it has {sorted(self.splits)}")
        return self.splits[name]


class TaskCollection(Mapping[str, Task]):
    r"""Tasks by name, in the order they were given.

    Args:
        tasks: The tasks; their names must differ.
        source: Where they come from, for messages and records.

    Raises:
        ValueError: For no task at all, or two of one name.

    Example:
        >>> task = Task("greet", "speech", {"test": (Example("Greet.", "Anna", "Hello, Anna!", "greet/test/0"),)})
        >>> tasks = TaskCollection([task], source="docs")
        >>> tasks.clusters
        {'greet': 'speech'}
        >>> tasks.texts("test")
        ['Greet.\nAnna\nHello, Anna!']
    """

    def __init__(self, tasks: Iterable[Task], source: str = "") -> None:
        tasks = list(tasks)
        if not tasks:
            raise ValueError(f"no tasks in {source or 'the given collection'}")
        twice = sorted(name for name, count in Counter(task.name for task in tasks).items() if count > 1)
        if twice:
            raise ValueError(f"task names must differ, but these occur more than once in {source or 'it'}: {twice}")
        self._tasks = {task.name: task for task in tasks}
        self.source = source

    @classmethod
    def from_prompts(
        cls, prompts: Mapping[str, Sequence[str]], *, clusters: Mapping[str, str] | None = None, split: str = "test"
    ) -> TaskCollection:
        """Wrap plain prompts, task name to texts, as tasks with one split and without outputs.

        Raises:
            TypeError: When a task's prompts are one string instead of several, or not strings.
            ValueError: When ``clusters`` names tasks that are not there.
        """
        tasks = []
        for name, texts in prompts.items():
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise TypeError(f"the prompts of task {name!r} must be a list of strings")
            rows = tuple(Example("", text, "", f"{name}/{split}/{row}") for row, text in enumerate(texts))
            tasks.append(Task(name, UNCLUSTERED, {split: rows}))
        return cls(tasks, source="prompts").with_clusters(clusters or {})

    @property
    def clusters(self) -> dict[str, str]:
        """Task name to cluster name."""
        return {name: task.cluster for name, task in self._tasks.items()}

    def with_clusters(self, clusters: Mapping[str, str]) -> TaskCollection:
        """The same tasks, those named in ``clusters`` moved to the cluster given there.

        Raises:
            ValueError: When it names tasks that are not here.
        """
        self._check_known(clusters, "clusters are given for tasks")
        moved = [Task(name, clusters.get(name, task.cluster), task.splits) for name, task in self._tasks.items()]
        return TaskCollection(moved, self.source)

    def select(self, names: Iterable[str]) -> TaskCollection:
        """Only the named tasks, in the order of ``names``.

        Raises:
            ValueError: When some are not here.
        """
        names = _listed(names)
        self._check_known(names, "tasks")
        return TaskCollection([self._tasks[name] for name in names], self.source)

    def without_clusters(self, names: Iterable[str]) -> TaskCollection:
        """All tasks but those of the named clusters, e.g. to hold clusters out of a training.

        Raises:
            ValueError: When some clusters are not here, or nothing would be left.
        """
        names = _listed(names)
        known = set(self.clusters.values())
        unknown = sorted(set(names) - known)
        if unknown:
            raise ValueError(f"unknown clusters {unknown}; {self.source or 'the collection'} has {sorted(known)}")
        kept = [task for task in self._tasks.values() if task.cluster not in set(names)]
        if not kept:
            raise ValueError(f"leaving out the clusters {sorted(set(names))} leaves no task")
        return TaskCollection(kept, self.source)

    def texts(self, split: str) -> list[str]:
        """Raw text of every example of one split, task after task; tasks without that split are left out.

        Raises:
            ValueError: When no task has the split.
        """
        if not any(split in task.splits for task in self._tasks.values()):
            known = sorted({name for task in self._tasks.values() for name in task.splits})
            raise ValueError(f"no task has a split {split!r}; the splits are {known}")
        return [example.text for task in self._tasks.values() for example in task.splits.get(split, ())]

    def _check_known(self, names: Iterable[str], what: str) -> None:
        unknown = sorted(set(names) - set(self._tasks))
        if unknown:
            raise ValueError(f"{what} that {self.source or 'the collection'} has not: {unknown}; it has {list(self)}")

    def __getitem__(self, name: str) -> Task:
        if name not in self._tasks:
            raise KeyError(f"{name!r}; the tasks are {list(self._tasks)}")
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        clusters = count(len(set(self.clusters.values())), "cluster")
        return f"TaskCollection({count(len(self), 'task')} in {clusters} from {self.source!r})"


def _listed(names: Iterable[str]) -> list[str]:
    # A lone string would be taken apart into letters.
    return [names] if isinstance(names, str) else list(names)
