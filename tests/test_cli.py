"""The commands as a user types them, on models, tasks and profiles on disk."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch

from lightning_layerscope import HiddenStates, LayerProfile, ReferenceBank
from lightning_layerscope.cli import build_parser, main
from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import add_lora, small_llama, train_tokenizer

TASKS = 9


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two models, an adapter and tasks."""
    folder = tmp_path_factory.mktemp("cli")
    tasks = toy_tasks(train=12, test=12)
    tasks = tasks.select(list(tasks)[:TASKS])
    (folder / "tasks").mkdir()
    for name, task in tasks.items():
        rows = [
            {"split": split, "instruction": e.instruction, "input": e.input, "output": e.output}
            for split, examples in task.splits.items()
            for e in examples
        ]
        text = "\n".join(map(json.dumps, rows))
        (folder / "tasks" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "other").mkdir()
    rows = [{"question": f"Which is {number}?", "answer": str(number)} for number in range(12)]
    (folder / "other" / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    clusters = {name: {"cluster": task.cluster} for name, task in tasks.items()}
    (folder / "tasks" / "tasks.json").write_text(json.dumps(clusters), encoding="utf-8")
    tokenizer = train_tokenizer(tasks.texts("train"), vocab_size=400)
    base = small_llama(tokenizer, width=16, layers=6, heads=2, max_length=256)
    tuned = small_llama(tokenizer, width=16, layers=6, heads=2, max_length=256)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in tuned.model.layers[3:]:
            for parameter in layer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    for name, model in (("base", base), ("tuned", tuned)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    adapted = add_lora(base)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "base")
    adapted.save_pretrained(folder / "adapter")
    return folder


FEW = ("--examples-per-task", "10", "--min-examples", "4")


@pytest.fixture(scope="module")
def extracted(place):
    for model, out, kind in (
        ("base", "base.bank", ["--reference"]),
        ("tuned", "tuned.states", []),
        ("base", "base.states", []),
    ):
        arguments = ["extract", place / model, "--tasks", place / "tasks", "--out", place / out, *kind, *FEW]
        assert main(list(map(str, arguments))) == 0
    assert (
        main([*map(str, ["compare", place / "tuned.states", place / "base.bank", "--out", place / "tuned.parquet"])])
        == 0
    )
    assert (
        main([*map(str, ["compare", place / "base.states", place / "base.bank", "--out", place / "base.parquet"])]) == 0
    )
    return place


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_extract_writes_states_and_references(extracted):
    states, bank = HiddenStates.load(extracted / "tuned.states"), ReferenceBank.load(extracted / "base.bank")
    assert len(states) == len(bank) == TASKS
    assert {tensor.shape for tensor in states.values()} == {(6, 10, 16)}
    assert bank.kind == "gram"
    assert bank.name == "base"
    assert (states.tokens_digest, states.clusters) == (bank.tokens_digest, bank.clusters)


def test_extract_takes_an_adapter_on_its_base_or_alone(extracted, capsys, tmp_path):
    common = ["--tasks", extracted / "tasks", *FEW, "--layers", "2,4-5"]
    assert (
        run(
            capsys, "extract", extracted / "base", "--adapter", extracted / "adapter", *common, "--out", tmp_path / "a"
        )[0]
        == 0
    )
    assert run(capsys, "extract", extracted / "adapter", *common, "--out", tmp_path / "b")[0] == 0
    one, two, base = (
        HiddenStates.load(folder) for folder in (tmp_path / "a", tmp_path / "b", extracted / "base.states")
    )
    assert one.layers == (2, 4, 5)
    for task in one:
        assert torch.equal(one[task], two[task])
        assert not torch.allclose(one[task], base[task][[1, 3, 4]], atol=1e-3)


def test_extract_takes_columns_and_the_only_split_there_is(extracted, capsys, tmp_path):
    columns = ["--columns", "input=question", "output=answer"]
    code, out, error = run(
        capsys, "extract", extracted / "base", "--tasks", extracted / "other", *columns, *FEW, "--out", tmp_path / "q"
    )
    assert code == 0
    assert "of the split 'train'" in out
    assert "note: the prompts are of the split 'train', the only one" in error
    assert {tensor.shape for tensor in HiddenStates.load(tmp_path / "q").values()} == {(6, 10, 16)}


def test_extract_renders_chats_when_told_and_conversations_unasked(extracted, capsys, tmp_path):
    (tmp_path / "talk").mkdir()
    rows = [{"messages": [{"role": "user", "content": f"Which is {number}?"}], "split": "test"} for number in range(12)]
    (tmp_path / "talk" / "talk.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    kinds = {}
    for tasks, flags in (
        (tmp_path / "talk", []),
        (tmp_path / "talk", ["--no-chat"]),
        (extracted / "other", ["--chat"]),
    ):
        columns = [] if tasks.name == "talk" else ["--columns", "input=question"]
        out = tmp_path / f"of {tasks.name}{''.join(flags)}"
        code, told, error = run(
            capsys, "extract", extracted / "base", "--tasks", tasks, *FEW, *flags, "--out", out, *columns
        )
        assert code == 0, error
        kinds[out.name] = "'chat': True" in told
    assert kinds == {"of talk": True, "of talk--no-chat": False, "of other--chat": True}


def test_two_checkpoints_have_no_step_between_them(extracted, capsys):
    _, out, _ = run(capsys, "compare", extracted / "tuned.states", extracted / "base.bank")
    assert "note: " in out
    assert "step 0" not in out
    _, out, _ = run(capsys, "compare", extracted / "tuned.states", extracted / "base.bank", "--step", "7")
    assert "note: step 7: " in out


def test_compare_prints_layers_with_intervals_and_clusters(extracted, capsys):
    code, out, _ = run(capsys, "compare", extracted / "tuned.states", extracted / "base.bank")
    assert code == 0
    header, *rows = out.splitlines()[1:8]
    profile = LayerProfile.from_parquet(extracted / "tuned.parquet")
    assert header.split()[:4] == ["layer", "mean", "low", "high"]
    assert set(profile.clusters.values()) == set(header.split()[4:])
    curve = profile.mean_curve()
    for row, expected in zip(rows, curve.itertuples(), strict=True):
        shown = row.split()
        assert int(shown[0]) == expected.layer
        assert [float(cell) for cell in shown[1:4]] == pytest.approx(
            [expected.value, expected.low, expected.high], abs=6e-4
        )
    # The first three layers are the same in both models.
    assert np.allclose(curve["value"][:3], 1)
    assert curve["value"][5] < 0.9


def test_compare_takes_states_on_both_sides(extracted, capsys):
    code, out, _ = run(capsys, "compare", extracted / "tuned.states", extracted / "base.states", "--measure", "rsa")
    assert code == 0
    assert out.startswith("rsa")
    assert "with base.states" in out


def test_diff_subtracts_the_first(extracted, capsys, tmp_path):
    code, out, _ = run(
        capsys, "diff", extracted / "base.parquet", extracted / "tuned.parquet", "--out", tmp_path / "d.parquet"
    )
    assert code == 0
    assert (tmp_path / "d.parquet").is_file()
    last = out.splitlines()[7].split()
    profile = LayerProfile.from_parquet(extracted / "tuned.parquet")
    assert float(last[1]) == pytest.approx(profile.mean_curve()["value"].iloc[-1] - 1, abs=6e-4)


def test_transitions_in_words_and_json(extracted, capsys):
    code, words, _ = run(capsys, "transitions", extracted / "tuned.parquet")
    assert code == 0
    assert "ransition in " in words
    header, *signals, agreement = words.splitlines()[-5:]
    assert header.split() == ["signal", "start", "end", "why", "not"]
    assert [line.split()[0] for line in signals] == ["median", "spread", "components"]
    assert "too few prompts: " in signals[-1]
    assert "signals" in agreement
    _, text, _ = run(capsys, "transitions", extracted / "tuned.parquet", "--json")
    found = json.loads(text)
    assert found["layers"] == [1, 2, 3, 4, 5, 6]
    assert found["found"] is ("No " not in words)
    assert [cut["name"] for cut in found["signals"]["cuts"]] == ["median", "spread", "components"]
    tuned = extracted / "tuned.parquet"
    _, text, _ = run(capsys, "transitions", tuned, "--base", tuned, "--json")
    cuts = json.loads(text)["signals"]["cuts"]
    assert [cut["name"] for cut in cuts] == ["median", "spread", "tuned - base", "crossing", "components"]


def test_show_draws_in_the_terminal(extracted, capsys):
    profile = extracted / "tuned.parquet"
    code, out, _ = run(capsys, "show", profile)
    assert code == 0
    assert "CKA per layer and task" in out
    assert all(task in out for task in LayerProfile.from_parquet(profile).tasks)
    code, _, error = run(capsys, "show", profile, "--measure", "svcca")
    assert code == 2
    assert "no measure 'svcca'" in error


def test_report_of_a_profile(extracted, capsys, tmp_path):
    page = tmp_path / "page.html"
    code, out, _ = run(capsys, "report", extracted / "tuned.parquet", "--out", page, "--title", "Mine & yours")
    assert code == 0
    assert str(page) in out
    assert "Mine &amp; yours" in page.read_text(encoding="utf-8")
    code, _, error = run(capsys, "report", extracted / "tuned.parquet", "--out", page)
    assert code == 2
    assert "--overwrite" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "{}/nowhere", "--tasks", "toy", "--out", "{}/x"], "there is no folder"),
        (["extract", "{}/tasks", "--tasks", "toy", "--out", "{}/x"], "config.json is missing"),
        (["extract", "{}/base", "--tasks", "{}/none.jsonl", "--out", "{}/x"], "no tasks at"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x"], "lower --min-examples, or"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", *FEW, "--split", "dev"], "with --split"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--device", "cudda"], "--device cudda is no"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--device", "hpu"], "cannot be used here"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/base/config.json/x"], "cannot be written"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/base.bank", "--overwrite"], "holds something else"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--columns", "input"], "expected FIELD=COLUMN"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--columns", "a=b"], "--columns maps one of"),
        (
            ["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--columns", "input=text"],
            "no column 'text' (for 'input')",
        ),
        (["extract", "{}/base", "--tasks", "{}/other", "--out", "{}/x"], "with --columns input=... output=..."),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--system", "Hi"], "needs --chat; without"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--tokens", "last"], "--tokens must be"),
        (
            ["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", "--reference", "--examples-per-task", "3"],
            "--reference needs at least 4 prompts of each task",
        ),
        (["compare", "{}/tuned.states", "{}/base.bank", "--out", "{}/base/config.json/x"], "cannot be written"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/base"], "is there already"),
        (["extract", "{}/base", "--tasks", "{}/tasks", "--out", "{}/x", *FEW, "--layers", "9"], "9"),
        (["extract", "{}/base", "--adapter", "{}/tuned", "--tasks", "toy", "--out", "{}/x"], "adapter_config.json"),
        (["extract", "{}/base", "--tasks", "toy", "--out", "{}/x", "--max-length", "0"], "1 or more, got '0'"),
        (["extract", "{}/base", "--tasks", "toy"], "the following arguments are required: --out"),
        (["compare", "{}/tasks", "{}/base.bank"], "neither hidden states nor a reference"),
        (["compare", "{}/tuned.states", "{}/base.bank", "--measure", "cosine"], "cosine"),
        (["compare", "{}/tuned.states", "{}/base.bank", "--out", "{}/base.parquet"], "is there already"),
        (["diff", "{}/base.parquet", "{}/none.parquet"], "there is no profile at"),
        (["transitions", "{}/tuned.parquet", "--measure", "svcca"], "no measure 'svcca'"),
        (["report", "{}/tasks"], "config.json"),
        (["demo", "--steps", "3"], "expected --steps of 6 or more, got 3"),
        (["nonsense"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(extracted, capsys, arguments, message):
    code, _, error = run(capsys, *(argument.format(extracted) for argument in arguments))
    assert code == 2
    assert message in error
    assert "error: " in error
    assert len(error.strip().splitlines()) == 1
    assert not (extracted / "x").exists()
    assert not re.search(r"\w=( |,|;|\{|True|False|$)", error), "a parameter of Python, which nobody typed here"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, capsys, extracted):
    monkeypatch.setattr(LayerProfile, "from_parquet", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["transitions", str(extracted / "tuned.parquet")])
    monkeypatch.undo()
    monkeypatch.setenv("LAYERSCOPE_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["transitions", str(extracted / "none.parquet")])


@pytest.mark.parametrize("command", ["demo", "extract", "compare", "diff", "transitions", "show", "report", "recipe"])
def test_every_command_explains_itself_with_examples(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"  layerscope {command} " in out.split("examples:")[1]
    assert max(map(len, out.splitlines())) <= 120


def test_the_examples_in_the_help_can_be_parsed():
    parser = build_parser()
    for command in ("demo", "extract", "compare", "diff", "transitions", "show", "report", "recipe"):
        (commands,) = [action for action in parser._actions if action.dest == "command"]
        for line in commands.choices[command].epilog.splitlines()[1:]:
            command_line = line.strip().removeprefix("WANDB_MODE=online ").split("     ")[0].split(" > ")[0]
            words = shlex.split(command_line)
            assert words[0] == "layerscope"
            assert parser.parse_args(words[1:]).command == command


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "lightning_layerscope", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("lightning-layerscope ")
