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
        ({"text": "x"}, None, r"t.jsonl, line 2: expected a column .*'input', .*'messages', got \['text'\].*columns="),
        ({"instruction": " ", "input": ""}, None, "line 2: instruction and input are both empty"),
        ({"input": ["x"]}, None, r"line 2: column 'input' .* must hold text, got list; name a column of chat messages"),
        ({"input": True}, None, "line 2: column 'input' .* must hold text, got bool"),
        ({"input": "x"}, {"output": "answer"}, r"line 2: no column 'answer' \(for 'output'\); it has \['input'\]"),
        ({"input": "x"}, {"messages": "m"}, r"line 2: no column 'm' \(for 'messages'\)"),
        ({"input": "x"}, {"question": "q"}, r"columns= maps one of .*but has the keys \['question'\]"),
        ({"messages": "hi"}, None, "line 2: messages must be a list of"),
        ({"messages": ["hi"]}, None, "line 2: messages must be a list of"),
        (
            {"messages": [{"role": "user", "content": None}]},
            None,
            "line 2: .* but turn 1 has the role 'user' and NoneType",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, None, "line 2: turn 1 .* the type 'image'"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, None, "line 2: turn 1 of messages is no valid Unicode"),
        ({"input": "a \ud83d"}, None, "line 2: column 'input' is no valid Unicode: character 3 is half of a surrogate"),
        ({"input": "a", "split": "\ud83d"}, None, "line 2: column 'split' is no valid Unicode"),
        ({"prompt": " "}, None, "line 2: the prompt is empty"),
        (
            {"prompt": "x", "completion": [{"role": "assistant", "content": "y"}]},
            None,
            "line 2: the prompt is text, the",
        ),
        (
            {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "user", "content": "y"}]},
            None,
            r"line 2: a completion must be one turn of the assistant, got the roles \['user'\]",
        ),
        ("[" * 100_000, None, "line 2: JSON that is nested too deeply"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, None, r"need a user turn before.*\['assistant'\]"),
    ],
)
def test_errors_name_file_and_line(tmp_path, row, columns, message):
    write(tmp_path / "t.jsonl", "", row)
    with pytest.raises(ValueError, match=message):
        load_jsonl(tmp_path, columns=columns)


def test_content_parts_are_joined(tmp_path):
    parts = [{"type": "text", "text": "Hi, "}, {"type": "text", "text": "you"}]
    write(tmp_path / "chat.jsonl", {"messages": [{"role": "user", "content": parts}]})
    [example] = load_jsonl(tmp_path)["chat"].split("train")
    assert example.messages == (("user", "Hi, you"),)


def test_prompt_and_completion_as_text_are_kept_to_the_letter(tmp_path):
    write(
        tmp_path / "t.jsonl", {"prompt": "The sky is", "completion": " blue."}, {"prompt": "Q: 1+1?\nA:", "output": "2"}
    )
    first, second = load_jsonl(tmp_path)["t"].split("train")
    assert first == Example("", "The sky is", " blue.", "t/train/0", whole=True)
    assert (second.input, second.output, second.whole) == ("Q: 1+1?\nA:", "2", True)


@pytest.mark.parametrize("completion", [[{"role": "assistant", "content": "Blue."}], "Blue."])
def test_prompt_and_completion_as_messages_are_a_conversation(tmp_path, completion):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour?"}]
    write(tmp_path / "t.jsonl", {"prompt": turns, "completion": completion})
    [example] = load_jsonl(tmp_path)["t"].split("train")
    assert example.messages == (("system", "Be brief."), ("user", "Which colour?"))
    assert (example.output, example.whole) == ("Blue.", False)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_fields_are_empty_text(tmp_path, missing):
    rows = [{"instruction": "Add.", "input": missing, "output": missing, "split": missing, "id": missing}]
    write(tmp_path / "t.jsonl", *rows, {"input": 1.5, "split": "test"})
    tasks = load_jsonl(tmp_path)
    assert tasks["t"].split("train") == (Example("Add.", "", "", "t/train/0"),)
    assert tasks["t"].split("test") == (Example("", "1.5", "", "t/test/1"),)


ROWS = json.dumps({"input": "grün"}, ensure_ascii=False) + "\r\n" + json.dumps({"input": "für"}, ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_are_read(tmp_path, encoding):
    (tmp_path / "t.jsonl").write_bytes(ROWS.encode(encoding))
    assert [example.input for example in load_jsonl(tmp_path)["t"].split("train")] == ["grün", "für"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS.encode("cp1252"), "t.jsonl, line 1: the byte 0xfc is not UTF-8; expected text in UTF-8"),
        (b'{"input": "x"}\n\n' + ROWS.encode("latin-1"), "t.jsonl, line 3: the byte 0xfc is not UTF-8"),
        ('\ufeff{"input": 1}\n\n'.encode("utf-16-le") + b"\x00\xd8", "t.jsonl, line 3: the byte 0x00 is not UTF-16"),
        (ROWS.encode("utf-16-le"), "t.jsonl, line 1: holds zero bytes"),
    ],
)
def test_other_encodings_are_told_with_their_line(tmp_path, content, message):
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_jsonl(tmp_path)


def test_hidden_files_are_no_tasks(tmp_path):
    write(tmp_path / "t.jsonl", {"input": "x"})
    (tmp_path / "._t.jsonl").write_bytes(b"\x00\x05\x16\x07")
    assert list(load_jsonl(tmp_path)) == ["t"]
    (tmp_path / "t.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \*.jsonl file"):
        load_jsonl(tmp_path)


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
    for content in ('{"a": {"group": "c"}}', '{"a": {"cluster": NaN}}', '{"a": 1}', "[1]"):
        (tmp_path / "tasks.json").write_text(content)
        with pytest.raises(ValueError, match=r"tasks.json: expected .*cluster"):
            load_jsonl(tmp_path)
    (tmp_path / "tasks.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"tasks.json: JSON that is nested too deeply"):
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
