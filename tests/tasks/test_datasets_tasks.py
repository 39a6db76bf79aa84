import sys

import pytest

from lightning_layerscope.tasks import Example, load_datasets, load_tasks
from lightning_layerscope.tasks.sampling import sampling_key

datasets = pytest.importorskip("datasets", reason="needs the datasets library")


@pytest.fixture
def dataset():
    train = {"question": ["a?", "b?", "c?"], "answer": [1, 2, 3], "kind": ["x", "y", "x"]}
    dev = {"question": ["d?", "e?"], "answer": [4, 5], "kind": ["x", "y"]}
    return datasets.DatasetDict({"train": datasets.Dataset.from_dict(train), "dev": datasets.Dataset.from_dict(dev)})


COLUMNS = {"input": "question", "output": "answer"}


def check(tasks):
    assert tasks.clusters == {"x": "first", "y": "unclustered"}
    assert tasks["x"].split("train") == (Example("", "a?", "1", "x/train/0"), Example("", "c?", "3", "x/train/2"))
    assert tasks["y"].split("test") == (Example("", "e?", "5", "y/dev/1"),)


def test_in_memory_and_from_disk_are_the_same(dataset, tmp_path):
    options = {"task_column": "kind", "columns": COLUMNS, "split_map": {"dev": "test"}, "clusters": {"x": "first"}}
    check(load_datasets(dataset, **options))
    dataset.save_to_disk(tmp_path / "saved")
    check(load_datasets(tmp_path / "saved", **options))
    check(load_datasets(str(tmp_path / "saved"), **options))


def test_without_a_task_column_all_is_one_task(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "quiz")
    tasks = load_datasets(tmp_path / "quiz", columns=COLUMNS)
    assert {name: {s: len(rows) for s, rows in task.splits.items()} for name, task in tasks.items()} == {
        "quiz": {"train": 3, "dev": 2}
    }


def test_single_dataset_with_a_split_column():
    rows = datasets.Dataset.from_dict({"input": ["a", "b", "c"], "split": ["train", "validation", "test"]})
    [task] = load_datasets(rows, split_map={"validation": "test"}).values()
    assert {split: [e.input for e in examples] for split, examples in task.splits.items()} == {
        "train": ["a"],
        "test": ["b", "c"],
    }


def test_joined_splits_keep_their_ids_apart(dataset):
    tasks = load_datasets(dataset, columns=COLUMNS, split_map={"train": "all", "dev": "all"})
    assert [e.id for e in tasks["dataset"].split("all")] == [
        f"dataset/{s}" for s in ["train/0", "train/1", "train/2", "dev/0", "dev/1"]
    ]


def test_class_labels_come_as_names():
    features = datasets.Features(
        {"input": datasets.Value("string"), "output": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = datasets.Dataset.from_dict({"input": ["a", "b", "c"], "output": [1, 0, -1]}, features=features)
    assert [e.output for e in load_datasets(rows)["dataset"].split("train")] == ["good", "bad", ""]


def test_messages():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = datasets.Dataset.from_dict({"dialogue": [turns]})
    [example] = load_datasets(rows, messages_column="dialogue")["dataset"].split("train")
    assert (example.messages, example.output) == ((("user", "Hi"),), "Hello")


def test_limit_is_a_seeded_choice_that_grows():
    rows = datasets.Dataset.from_dict({"input": [str(i) for i in range(300)], "task": ["a", "b", "c"] * 100})

    def chosen(**options):
        return {name: {e.id for e in task.split("train")} for name, task in load_datasets(rows, **options).items()}

    ten, other = chosen(limit=10), chosen(limit=10, seed=1)
    assert {len(ids) for ids in ten.values()} == {10}
    assert ten == chosen(limit=10)
    assert all(ten[name] != other[name] for name in ten)
    assert all(ten[name] < ids for name, ids in chosen(limit=11).items())
    assert {len(ids) for ids in chosen(limit=1000).values()} == {100}
    # The very rows that a probe set of ten would choose from all.
    assert ten == {
        name: set(sorted(ids, key=lambda i: sampling_key(0, name, i))[:10]) for name, ids in chosen().items()
    }


def test_only_the_wanted_splits(dataset):
    tasks = load_datasets(dataset, columns=COLUMNS, split_map={"dev": "test"}, splits=["test"])
    assert list(tasks["dataset"].splits) == ["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": COLUMNS, "splits": ["test"]}, r"has no split \['test'\]; it has \['dev', 'train'\].*split_map="),
        ({"columns": COLUMNS, "split_map": {"valid": "test"}}, r"split_map names splits.*\['valid'\]; it has"),
        ({"columns": COLUMNS, "task_column": "task"}, r"split 'train', row 0: no column 'task'"),
        ({}, r"dataset, split 'train', row 0: expected a column 'instruction' or 'input', 'prompt' or 'messages', got"),
        ({"columns": COLUMNS, "limit": 0}, "limit must be at least 1"),
    ],
)
def test_errors(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        load_datasets(dataset, **options)


def test_flat_dataset_without_the_wanted_split():
    rows = datasets.Dataset.from_dict({"input": ["a"]})
    with pytest.raises(ValueError, match=r"no rows in the splits \['test'\], only in \['train'\]"):
        load_datasets(rows, splits=["test"])


def test_sources_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_datasets(tmp_path / "nope")
    with pytest.raises(ValueError, match="not written by save_to_disk"):
        load_datasets(tmp_path)
    with pytest.raises(TypeError, match="expected a name on the hub, a folder, a Dataset or a DatasetDict, got int"):
        load_datasets(3)


def test_hub_names_go_to_the_library(dataset, monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args: asked.append(args) or dataset)
    assert list(load_datasets("owner/quiz", name="small", columns=COLUMNS)) == ["small"]
    assert list(load_tasks("owner/quiz", columns=COLUMNS)) == ["quiz"]
    assert asked == [("owner/quiz", "small"), ("owner/quiz", None)]


def test_missing_library_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "lightning-layerscope\[datasets\]"'):
        load_datasets("owner/quiz")
