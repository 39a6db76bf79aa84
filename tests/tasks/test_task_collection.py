import pytest

from lightning_layerscope.tasks import Example, Task, TaskCollection


def make_task(name, cluster="group", rows=2, split="test"):
    return Task(name, cluster, {split: tuple(Example("Do.", f"{name} {i}", "out", f"{name}/{i}") for i in range(rows))})


@pytest.fixture
def tasks():
    return TaskCollection([make_task("b", "x"), make_task("a", "y"), make_task("c", "x", split="train")], "somewhere")


def test_keeps_the_order_given(tasks):
    assert list(tasks) == ["b", "a", "c"]
    assert tasks.clusters == {"b": "x", "a": "y", "c": "x"}
    assert repr(tasks) == "TaskCollection(3 tasks in 2 clusters from 'somewhere')"


def test_select_and_without_clusters(tasks):
    assert list(tasks.select(["c", "b"])) == ["c", "b"]
    assert list(tasks.select("c")) == ["c"]
    assert list(tasks.without_clusters(["x"])) == list(tasks.without_clusters("x")) == ["a"]
    assert tasks.select(["b"]).source == "somewhere"


def test_with_clusters_moves_only_the_named(tasks):
    assert tasks.with_clusters({"a": "z"}).clusters == {"b": "x", "a": "z", "c": "x"}
    assert tasks.clusters["a"] == "y"


def test_texts_of_one_split(tasks):
    assert tasks.texts("train") == ["Do.\nc 0\nout", "Do.\nc 1\nout"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.select(["a", "nope"]), r"tasks that somewhere has not: \['nope'\].*\['b', 'a', 'c'\]"),
        (lambda t: t.with_clusters({"nope": "x"}), r"clusters are given for tasks.*\['nope'\]"),
        (lambda t: t.without_clusters(["x", "w"]), r"unknown clusters \['w'\].*\['x', 'y'\]"),
        (lambda t: t.without_clusters(["x", "y"]), "leaves no task"),
        (lambda t: t.texts("validation"), r"no task has a split 'validation'; the splits are \['test', 'train'\]"),
        (lambda t: t["a"].split("train"), r"task 'a' has no split 'train'; it has \['test'\]"),
        (lambda t: TaskCollection([]), "no tasks"),
        (lambda t: TaskCollection([make_task("a"), make_task("b"), make_task("a")]), r"more than once in it: \['a'\]"),
        (lambda t: make_task(""), "needs a name and a cluster"),
        (lambda t: make_task("a", cluster=""), "needs a name and a cluster"),
    ],
)
def test_errors_say_what_is_there(tasks, call, message):
    with pytest.raises(ValueError, match=message):
        call(tasks)


def test_unknown_task_is_a_key_error_that_lists_them(tasks):
    with pytest.raises(KeyError, match=r"nope.*'b', 'a', 'c'"):
        tasks["nope"]
    assert "nope" not in tasks


def test_ids_are_unique_within_a_split_only():
    row = Example("", "x", "", "7")
    assert Task("t", "c", {"train": (row,), "test": (row,)}).split("test") == (row,)
    with pytest.raises(
        ValueError, match=r"task 't' has 1 example id\(s\) more than once in its split 'test', e.g. \['7'\]"
    ):
        Task("t", "c", {"test": (row, row)})


def test_from_prompts():
    tasks = TaskCollection.from_prompts({"a": ["one", "two"], "b": ("three",)}, clusters={"a": "x"})
    assert tasks.clusters == {"a": "x", "b": "unclustered"}
    assert [(e.input, e.id) for e in tasks["a"].split("test")] == [("one", "a/test/0"), ("two", "a/test/1")]


@pytest.mark.parametrize("texts", ["one string", [1, 2]])
def test_from_prompts_refuses_what_is_no_list_of_texts(texts):
    with pytest.raises(TypeError, match="prompts of task 'a' must be a list of strings"):
        TaskCollection.from_prompts({"a": texts})


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(ValueError, match=r"example 't/0' is no valid Unicode: character 2 is half of a surrogate pair"):
        Example("", "a\udc00", "", "t/0")
    with pytest.raises(ValueError, match="is no valid Unicode"):
        TaskCollection.from_prompts({"a\ud83d": ["x"]})
