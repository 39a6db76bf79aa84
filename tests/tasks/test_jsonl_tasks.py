import json

import pytest

from lightning_layerscope.tasks import Example, load_jsonl


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")


def test_folder_with_clusters(tmp_path):
    write(
        tmp_path / "b.jsonl", {"split": "test", "instruction": "Say.", "input": "hé", "output": 3}, "", {"input": "x"}
    )
    write(tmp_path / "a.jsonl", {"split": "train", "instruction": "Just this.", "output": None})
    (tmp_path / "tasks.json").write_text(json.dumps({t: {"cluster": f"c{t}", "train": 1} for t in "abz"}))
    tasks = load_jsonl(tmp_path)
    assert list(tasks) == ["a", "b"]
    assert tasks.clusters == {"a": "ca", "b": "cb"}
    assert tasks["b"].split("test") == (Example("Say.", "hé", "3", "b/test/0"),)
    assert tasks["b"].split("train") == (Example("", "x", "", "b/train/1"),)
    assert tasks["a"].split("train") == (Example("Just this.", "", "", "a/train/0"),)
    assert load_jsonl(tmp_path, clusters={"b": "mine"}).clusters == {"a": "ca", "b": "mine"}


def test_one_file_with_named_columns_tasks_and_ids(tmp_path):
    write(
        tmp_path / "all.jsonl",
        {"q": "1?", "a": "x", "kind": "k1", "fold": "dev", "uid": 10},
        {"q": "2?", "a": "y", "kind": "k2", "fold": "dev", "uid": 11},
    )
    columns = {"input": "q", "output": "a", "task": "kind", "split": "fold", "id": "uid"}
    tasks = load_jsonl(tmp_path / "all.jsonl", columns=columns, clusters={"k2": "two"})
    assert tasks.clusters == {"k1": "unclustered", "k2": "two"}
    assert tasks["k2"].split("dev") == (Example("", "2?", "y", "11"),)


def test_conversations(tmp_path):
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you")]
    row = {"conversation": [{"role": role, "content": content} for role, content in turns]}
    write(tmp_path / "chat.jsonl", row)
    [example] = load_jsonl(tmp_path, columns={"messages": "conversation"})["chat"].split("train")
    assert example.messages == tuple(turns[:-1])
    assert example.output == "See you"
    assert example.instruction == "Be brief."
    assert example.input == "User: Hi\nAssistant: Hello\nUser: Bye"


def test_conversation_of_one_turn_without_an_answer(tmp_path):
    write(tmp_path / "chat.jsonl", {"messages": [{"role": "user", "content": "Hi"}]})
    assert load_jsonl(tmp_path)["chat"].split("train") == (Example("", "Hi", "", "chat/train/0", (("user", "Hi"),)),)


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ("{not json", None, r"t.jsonl, line 2: not valid JSON"),
        ("[1]", None, r"t.jsonl, line 2: expected a JSON object, got list"),
        ({"text": "x"}, None, r"t.jsonl, line 2: expected a column 'instruction' or 'input', got \['text'\].*columns="),
        ({"instruction": " ", "input": ""}, None, "line 2: instruction and input are both empty"),
        ({"input": ["x"]}, None, r"line 2: column 'input' .* must hold text, got list; name a column of chat messages"),
        ({"input": True}, None, "line 2: column 'input' .* must hold text, got bool"),
        ({"input": "x"}, {"output": "answer"}, r"line 2: no column 'answer' \(for 'output'\); it has \['input'\]"),
        ({"input": "x"}, {"messages": "m"}, r"line 2: no column 'm' \(for 'messages'\)"),
        ({"input": "x"}, {"question": "q"}, r"columns= maps one of .*but has the keys \['question'\]"),
        ({"messages": "hi"}, None, "line 2: messages must be a list of"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, None, "line 2: messages must be a list of"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, None, r"need a user turn before.*\['assistant'\]"),
    ],
)
def test_errors_name_file_and_line(tmp_path, row, columns, message):
    write(tmp_path / "t.jsonl", "", row)
    with pytest.raises(ValueError, match=message):
        load_jsonl(tmp_path, columns=columns)


def test_missing_and_empty_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder of JSONL tasks"):
        load_jsonl(tmp_path / "nope")
    with pytest.raises(FileNotFoundError, match=r"no \*.jsonl file"):
        load_jsonl(tmp_path)
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(ValueError, match=r"empty task files.*'a.jsonl'"):
        load_jsonl(tmp_path)
    write(tmp_path / "a.jsonl", "", " ")
    with pytest.raises(ValueError, match="no tasks in"):
        load_jsonl(tmp_path)


def test_clusters_must_cover_the_tasks(tmp_path):
    write(tmp_path / "a.jsonl", {"input": "x"})
    (tmp_path / "tasks.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tasks.json names no cluster for \['a'\]"):
        load_jsonl(tmp_path)
    assert load_jsonl(tmp_path, clusters={"a": "c"}).clusters == {"a": "c"}
    with pytest.raises(ValueError, match=r"clusters are given for tasks.*\['b'\]"):
        load_jsonl(tmp_path, clusters={"a": "c", "b": "c"})
    (tmp_path / "tasks.json").write_text('{"a": {"group": "c"}}')
    with pytest.raises(ValueError, match=r"tasks.json: expected .*cluster"):
        load_jsonl(tmp_path)


def test_double_ids_are_refused(tmp_path):
    write(tmp_path / "a.jsonl", {"id": "1", "input": "x"}, {"id": "1", "input": "y"})
    with pytest.raises(ValueError, match=r"task 'a' has 1 example id\(s\) more than once"):
        load_jsonl(tmp_path)


def test_real_tasks(shared_data):
    tasks = load_jsonl(shared_data / "instruct48")
    table = json.loads((shared_data / "instruct48" / "tasks.json").read_text())
    assert tasks.clusters == {name: table[name]["cluster"] for name in sorted(table)}
    assert len(set(tasks.clusters.values())) == 16
    for name, task in tasks.items():
        assert {split: len(rows) for split, rows in task.splits.items()} == {
            s: table[name][s] for s in ("train", "test")
        }
        assert all(example.instruction and example.input and example.output for example in task.split("test"))
