"""The causal check from folders, and as a command."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from scipy.stats import spearmanr

from lightning_layerscope import check_layers
from lightning_layerscope.advice.correlation import rank_correlation
from lightning_layerscope.cli import main
from lightning_layerscope.training import add_lora

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def place(toy, tmp_path_factory):
    """A base model, one whose layer 2 was changed, and an adapter on layer 3 alone."""
    model, tokenizer, _ = toy
    folder = tmp_path_factory.mktemp("check")
    for name in ("base", "tuned"):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    tuned = type(model).from_pretrained(folder / "tuned")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in tuned.model.layers[1].parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    tuned.save_pretrained(folder / "tuned")
    adapted = add_lora(type(model).from_pretrained(folder / "base"), layers=[3])
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "base")
    adapted.save_pretrained(folder / "adapter")
    (folder / "tasks").mkdir()
    for name, task in toy[2].items():
        rows = [{"split": "test", "input": e.input, "output": e.output} for e in task.split("test")]
        (folder / "tasks" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_two_checkpoints(place, toy):
    check = check_layers(place / "base", place / "tuned", toy[2], rows_per_task=6, max_length=96)
    changed = [float(np.abs(losses - check.tuned).max()) > 1e-4 for losses in check.restored["alone"]]
    assert changed == [False, True, False, False]
    drift = np.mean([check.drift[task] for task in check.tasks], axis=0)
    assert drift[0] == pytest.approx(0, abs=1e-5)
    assert drift[1] > 0.01
    assert len(check.row_tasks) == 18
    frame = check.to_frame()
    assert len(frame) == 3 * 4 * 4
    assert set(frame["task"]) == {"mean", *toy[2]}


def test_an_adapter_on_its_base(place, toy):
    check = check_layers(place / "base", place / "adapter", toy[2], rows_per_task=6, max_length=96, ways=["alone"])
    changed = [float(np.abs(losses - check.tuned).max()) > 1e-4 for losses in check.restored["alone"]]
    assert changed == [False, False, True, False]
    assert np.mean([check.drift[task] for task in check.tasks], axis=0)[:2] == pytest.approx([0, 0], abs=1e-5)


def test_the_command_prints_the_curves_and_writes_the_rows(place, tmp_path, capsys):
    out = tmp_path / "check.parquet"
    arguments = [
        "check",
        place / "base",
        place / "tuned",
        "--tasks",
        place / "tasks",
        "--rows",
        "4",
        "--max-length",
        "96",
    ]
    assert main([*map(str, arguments), "--alone", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split()[:2] == ["layer", "drift"]
    assert "Rank correlation of drift and change of loss" in printed
    assert set(pd.read_parquet(out)["layer"]) == {1, 2, 3, 4}
    assert main([*map(str, arguments), "--alone", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_models_that_do_not_fit_are_refused(place, toy, tmp_path):
    model, tokenizer, tasks = toy
    shape = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 4}
    sizes = {"vocab_size": model.config.vocab_size, "intermediate_size": 24, "max_position_embeddings": 128}
    other = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape, **sizes))
    wide = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **{**sizes, "intermediate_size": 40}))
    deep = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**model.config.to_dict(), "num_hidden_layers": 6}))
    for name, each in (("qwen", other), ("wide", wide), ("deep", deep)):
        each.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    options = {"rows_per_task": 4, "max_length": 96, "ways": ["alone"]}
    with pytest.raises(ValueError, match="layer 1 is a Qwen2DecoderLayer in the base model and a LlamaDecoderLayer"):
        check_layers(tmp_path / "qwen", place / "tuned", tasks, **options)
    with pytest.raises(ValueError, match=r"mlp\.\w+\.weight of layer 1 is \(.*expected two checkpoints of one"):
        check_layers(tmp_path / "wide", place / "tuned", tasks, **options)
    add_lora(copy.deepcopy(model)).save_pretrained(tmp_path / "adapter")  # on every layer
    check_layers(place / "base", tmp_path / "adapter", tasks, **options)
    with pytest.raises(ValueError, match=r"does not fit the base model .* nothing for some of its matrices"):
        check_layers(tmp_path / "deep", tmp_path / "adapter", tasks, **options)
    with pytest.raises(ValueError, match="the base model first and the tuned one second"):
        check_layers(place / "adapter", place / "base", tasks, **options)
    with pytest.raises(ValueError, match="layer 1 is a Qwen2DecoderLayer"):
        check_layers(other, place / "adapter", tasks, **options)


def test_what_has_not_changed_has_no_correlation(place, toy):
    check = check_layers(place / "base", place / "base", toy[2], rows_per_task=4, max_length=96, ways=["alone"])
    assert "No rank correlation of drift and change of loss" in check.describe()
    assert "nan" not in check.describe()


def test_the_command_reads_columns_that_are_named_otherwise(place, tmp_path, capsys):
    (tmp_path / "own").mkdir()
    for file in (place / "tasks").glob("*.jsonl"):
        text = file.read_text(encoding="utf-8").replace('"input"', '"question"').replace('"output"', '"solution"')
        (tmp_path / "own" / file.name).write_text(text, encoding="utf-8")
    arguments = ["check", place / "base", place / "tuned", "--tasks", tmp_path / "own", "--rows", "4", "--alone"]
    assert main(list(map(str, arguments))) == 2
    assert "question" in capsys.readouterr().err
    assert main([*map(str, arguments), "--columns", "input=question", "output=solution"]) == 0


def test_a_model_in_memory_needs_its_tokenizer(toy):
    with pytest.raises(ValueError, match="pass tokenizer="):
        check_layers(None, toy[0], toy[2])


class TestRankCorrelation:
    """Against scipy on the means, and an interval that knows its units."""

    def test_value(self):
        generator = np.random.default_rng(0)
        one, other = generator.normal(size=(2, 6, 10))
        expected = spearmanr(one.mean(axis=0), other.mean(axis=0)).statistic
        assert rank_correlation(one, other).value == pytest.approx(expected)

    def test_agreeing_curves_are_seen_and_unrelated_ones_are_not(self):
        generator = np.random.default_rng(1)
        depth = np.arange(12.0)
        one, other = (depth + generator.normal(size=(8, 12)) for _ in range(2))
        assert rank_correlation(one, other).low > 0.5
        found = rank_correlation(*generator.normal(size=(2, 8, 12)))
        assert found.low < 0 < found.high

    def test_undefined_layers_are_left_out_and_one_unit_has_no_interval(self):
        one = np.array([[np.nan, 1.0, 2.0, 3.0]])
        found = rank_correlation(one, np.array([[9.0, 1.0, 2.0, 3.0]]))
        assert found.value == pytest.approx(1)
        assert np.isnan(found.low)
        with pytest.raises(ValueError, match="layers >= 3"):
            rank_correlation(one[:, :2], one[:, :2])
