import pytest

from lightning_layerscope.tasks import TaskCollection
from lightning_layerscope.tasks.hold_out import hold_out


def test_rows_are_parted_once_and_for_all():
    tasks = TaskCollection.from_prompts({"a": [str(i) for i in range(40)], "b": ["x", "y", "z"]}, split="all")
    parted = hold_out(tasks, most=8)
    assert {name: {s: len(rows) for s, rows in task.splits.items()} for name, task in parted.items()} == {
        "a": {"train": 32, "test": 8},
        "b": {"train": 2, "test": 1},
    }
    for name, task in parted.items():
        ids = [example.id for rows in task.splits.values() for example in rows]
        assert sorted(ids) == sorted(example.id for example in tasks[name].split("all"))
    # Other tasks and their order change nothing, another seed does.
    assert hold_out(tasks.select(["a"]), most=8)["a"] == parted["a"]
    assert hold_out(tasks, most=8, seed=1)["a"] != parted["a"]


def test_one_row_cannot_be_parted():
    with pytest.raises(ValueError, match="task 'a' has 1 row: there is nothing to hold out"):
        hold_out(TaskCollection.from_prompts({"a": ["x"]}), most=8)
