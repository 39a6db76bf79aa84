"""One entry for every source of tasks, as configurations and the command line name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning_layerscope.tasks.flan import load_flan
from lightning_layerscope.tasks.general import general_tasks
from lightning_layerscope.tasks.hf import is_hub_name, is_saved_dataset, load_datasets
from lightning_layerscope.tasks.jsonl import load_jsonl
from lightning_layerscope.tasks.task import TaskCollection
from lightning_layerscope.tasks.toy import toy_tasks


def load_tasks(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    clusters: Mapping[str, str] | None = None,
    splits: Iterable[str] | None = None,
) -> TaskCollection:
    """Load tasks from whatever ``source`` names.

    Args:
        source: ``"toy"`` or ``"general"`` (built in), ``"flan"`` (Flan 2021 from the hub), a JSONL file, a folder of
            JSONL files, a folder written by ``save_to_disk``, or the name of a dataset on the hub. A path that exists
            goes first.
        columns: Field to column, for JSONL and datasets.
        clusters: Task to cluster.
        splits: Only these splits, for datasets and Flan, where reading all of them costs; others hold them all.

    Raises:
        FileNotFoundError: When nothing of that name is there.
        ImportError: When the source needs the datasets library and it is missing.
        ValueError: For malformed content, or ``columns`` where the columns are fixed.
    """
    path = Path(source).expanduser()
    if path.exists():
        if is_saved_dataset(path):
            return load_datasets(path, columns=columns, clusters=clusters, splits=splits)
        return load_jsonl(path, columns=columns, clusters=clusters)
    if str(source) in ("toy", "general", "flan"):
        if columns:
            raise ValueError(f"the source {str(source)!r} has fixed columns; leave out columns=")
        if str(source) == "flan":
            return load_flan(clusters=clusters, splits=splits)
        built_in = toy_tasks() if str(source) == "toy" else general_tasks()
        return built_in.with_clusters(clusters or {})
    if not is_hub_name(str(source)) or path.suffix in (".jsonl", ".json"):
        raise FileNotFoundError(
            f"no tasks at {source}: expected 'toy', 'general', 'flan', a folder of JSONL files (or one file), a folder "
            "written by save_to_disk, or the name of a dataset on the Hugging Face hub"
        )
    return load_datasets(str(source), columns=columns, clusters=clusters, splits=splits)
