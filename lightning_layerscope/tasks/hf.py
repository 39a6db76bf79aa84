"""Tasks from Hugging Face datasets: the hub, a folder on disk, or a dataset in memory."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_layerscope._extras import require
from lightning_layerscope.compat.huggingface_hub import require_loadable
from lightning_layerscope.tasks.builder import TaskBuilder
from lightning_layerscope.tasks.columns import DEFAULT_SPLIT, Columns
from lightning_layerscope.tasks.sampling import sampling_key
from lightning_layerscope.tasks.task import Example, MissingSplitError, TaskCollection


def load_datasets(
    source: Any,
    *,
    task_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    split_map: Mapping[str, str] | None = None,
    clusters: Mapping[str, str] | None = None,
    messages_column: str | None = None,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    task_name: Callable[[str], str] = str,
) -> TaskCollection:
    """Load tasks from a ``datasets.Dataset`` or ``DatasetDict``.

    Args:
        source: A name on the hub, a folder written by ``save_to_disk``, or the dataset itself.
        task_column: The column that says which task a row belongs to (default ``"task"`` where there is one). Without
            one, the whole dataset is one task, named after the configuration or the source.
        columns: Field to column, as in ``load_jsonl``: ``{"input": "question", "output": "answer"}``.
        name: The dataset's configuration on the hub.
        split_map: The dataset's split to our split, e.g. ``{"validation": "test"}``; others keep their name. Where two
            become one, their rows are joined.
        clusters: Task to cluster.
        messages_column: The column of chat messages; the same as ``columns={"messages": ...}``.
        splits: Keep only these splits (names after ``split_map``).
        limit: At most this many rows per task and split, chosen by ``seed``, any row as likely as another; memory stays
            within them. All rows by default.
        seed: Seed of that choice.
        task_name: Maps the value of the task column to the task's name.

    Returns:
        The tasks in the order in which they first occur. Class labels come as their names.

    Raises:
        ImportError: When the datasets library is missing; the message has the pip command.
        FileNotFoundError: When the source looks like a folder that is not there.
        ValueError: For unknown splits, missing columns, empty prompts; the message says which split and row.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 row per task and split, or None for all, got {limit}")
    given = dict(columns or {})
    given |= {key: column for key, column in (("task", task_column), ("messages", messages_column)) if column}
    mapping = Columns(given)
    label = str(source) if isinstance(source, str | Path) else "dataset"
    wanted = None if splits is None else set(splits)
    parts = _parts(_open(source, name), split_map or {}, wanted, label)
    whole = name or Path(label).name
    builder = TaskBuilder(label)
    drawn = _Draw(limit, seed)
    seen: set[str] = set()
    for part, split, rows in parts:
        for number, row in enumerate(_with_label_names(rows)):
            where = f"{label}, split {part!r}, row {number}" if part else f"{label}, row {number}"
            task = task_name(mapping.text(row, "task", where)) or whole
            # A dataset without splits may say in a column where each row belongs.
            own = mapping.text(row, "split", where) if part is None else ""
            of_row = dict(split_map or {}).get(own, own) or split
            seen.add(of_row)
            if wanted is None or of_row in wanted:
                example = mapping.example(row, f"{task}/{part or own or split}/{number}", where)
                drawn.add(task, of_row, example)
    for task, split, example in drawn.examples():
        builder.add(task, split, example)
    if not builder.names:
        if wanted and seen:
            raise MissingSplitError(f"{label} has no rows in the splits {sorted(wanted)}, only in {sorted(seen)}", seen)
        raise ValueError(f"{label} has no rows")
    return builder.build(clusters)


class _Draw:
    """Rows in the order in which they came, or of each task and split the ``limit`` rows of lowest key."""

    def __init__(self, limit: int | None, seed: int) -> None:
        self.limit, self.seed = limit, seed
        self._heaps: dict[tuple[str, str], list[tuple[int, int, Example]]] = {}
        self._count = 0

    def add(self, task: str, split: str, example: Example) -> None:
        heap = self._heaps.setdefault((task, split), [])
        self._count += 1
        if self.limit is None:
            heap.append((0, self._count, example))
            return
        # Negated: heapq has the smallest on top, and the row of the highest key has to go; the count breaks ties.
        item = (-sampling_key(self.seed, task, example.id), self._count, example)
        if len(heap) < self.limit:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)

    def examples(self) -> Iterator[tuple[str, str, Example]]:
        for (task, split), heap in self._heaps.items():
            for _, _, example in sorted(heap, key=lambda item: item[1]):
                yield task, split, example


def _parts(
    opened: Any, split_map: Mapping[str, str], wanted: set[str] | None, label: str
) -> list[tuple[str | None, str, Any]]:
    """Of every part to read: its name in the source (None: it has no parts), our split, its rows."""
    if not isinstance(opened, Mapping):
        own = str(getattr(opened, "split", None) or DEFAULT_SPLIT)
        return [(None, split_map.get(own, own), opened)]
    unknown = sorted(set(split_map) - set(opened))
    if unknown:
        raise ValueError(f"split_map names splits that {label} has not: {unknown}; it has {sorted(opened)}")
    ours = {part: split_map.get(part, part) for part in opened}
    missing = sorted((wanted or set()) - set(ours.values()))
    if missing:
        raise MissingSplitError(
            f"{label} has no split {missing}; it has {sorted(ours.values())}. "
            "Name another split, or say which is meant with split_map={'<its name>': '<the name wanted>'}",
            ours.values(),
        )
    return [(part, ours[part], rows) for part, rows in opened.items() if wanted is None or ours[part] in wanted]


def _with_label_names(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows with the names of class labels in place of their numbers; the number -1 means that a label is hidden."""
    features = getattr(rows, "features", None) or {}
    names = {column: feature.names for column, feature in features.items() if hasattr(feature, "int2str")}
    for row in rows:
        labels = {column: row[column] for column in names if isinstance(row[column], int)}
        yield {**row, **{column: names[column][label] if label >= 0 else "" for column, label in labels.items()}}


def _open(source: Any, name: str | None) -> Any:
    if not isinstance(source, str | Path):
        if isinstance(source, Mapping) or hasattr(source, "column_names"):
            return source
        raise TypeError(
            f"expected a name on the hub, a folder, a Dataset or a DatasetDict, got {type(source).__name__}"
        )
    datasets = require("datasets", "datasets")
    path = Path(source).expanduser()
    if is_saved_dataset(path):
        return datasets.load_from_disk(str(path))
    if path.exists():
        raise ValueError(f"{path} was not written by save_to_disk: it has neither dataset_dict.json nor state.json")
    if not is_hub_name(str(source)):
        raise FileNotFoundError(f"no such folder: {path} (and not a name on the hub, either)")
    require_loadable(str(source), "dataset")
    return datasets.load_dataset(str(source), name)


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def is_hub_name(source: str) -> bool:
    """Whether a text can name a dataset on the hub: ``"name"`` or ``"owner/name"``."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", source) is not None
