"""Probes from every source, saved and loaded, and checked against tokenizers and models."""

import json

import pytest
import torch
from torch import nn

from lightning_layerscope.probes import Probe, ProbeSet
from lightning_layerscope.tasks import Example, PromptTemplate, toy_tasks


@pytest.fixture(scope="module")
def tasks():
    return toy_tasks(train=40, test=40).select(["parity", "copy_sentence"])


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer, tasks):
    return make_tokenizer(tasks.texts("test") + tasks.texts("train"), bos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tasks):
    folder = tmp_path_factory.mktemp("tasks")
    for name, task in tasks.items():
        rows = [
            {"instruction": e.instruction, "input": e.input, "output": e.output, "split": split}
            for split, examples in task.splits.items()
            for e in examples
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_jsonl(folder, tokenizer, tasks):
    probes = ProbeSet.from_jsonl(folder, tokenizer, clusters={"parity": "numbers"}, examples_per_task=32)
    assert probes.clusters == {"copy_sentence": "unclustered", "parity": "numbers"}
    assert {text.split("\n")[1] for text in probes["parity"].texts} <= {e.input for e in tasks["parity"].split("test")}


def test_prompts(tokenizer):
    texts = {"a": [f"{i} or {i + 1}" for i in range(100)], "b": [str(i) for i in range(40)]}
    probes = ProbeSet.from_prompts(texts, tokenizer, clusters={"a": "x"})
    assert [len(probe) for probe in probes.values()] == [100, 40]
    assert sorted(probes["b"].texts) == sorted(texts["b"])
    assert probes.clusters == {"a": "x", "b": "unclustered"}
    assert probes.template["text"] == "{input}"
    assert len(ProbeSet.from_prompts(texts, tokenizer, examples_per_task=50)["a"]) == 50
    with pytest.raises(ValueError, match=r"fewer than 32 .*: c \(1\)"):
        ProbeSet.from_prompts({"c": ["one"]}, tokenizer)
    with pytest.raises(ValueError, match="empty prompts"):
        ProbeSet.from_prompts({"c": ["one", ""]}, tokenizer, min_examples=2)


def test_prompts_with_a_chat_template(make_tokenizer):
    tokenizer = make_tokenizer(["hi"], chat=True)
    probes = ProbeSet.from_prompts(
        {"a": ["hi"]}, tokenizer, template=PromptTemplate("{input}", chat=True), min_examples=1
    )
    assert probes["a"].texts == ("<s><user> hi </s> <assistant>",)


def test_datasets(tokenizer, tasks):
    datasets = pytest.importorskip("datasets", reason="needs the datasets library")
    rows = [{"q": e.input, "kind": name} for name, task in tasks.items() for e in task.split("test")]
    source = datasets.DatasetDict({"dev": datasets.Dataset.from_list(rows)})
    options = {"task_column": "kind", "columns": {"input": "q"}, "split_map": {"dev": "test"}, "examples_per_task": 35}
    probes = ProbeSet.from_datasets(source, tokenizer, **options)
    assert {name: (len(probe), probe.available) for name, probe in probes.items()} == {
        "parity": (35, 40),
        "copy_sentence": (35, 40),
    }


def test_datasets_with_one_split_give_that_one(tokenizer, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the datasets library")
    rows = datasets.Dataset.from_dict({"input": [str(i) for i in range(64)]})
    for source in (rows, datasets.DatasetDict({"valid": rows})):
        with pytest.warns(UserWarning, match="the only one"):
            probes = ProbeSet.from_datasets(source, tokenizer)
        assert probes.split == ("train" if source is rows else "valid")
    datasets.DatasetDict({"valid": rows}).save_to_disk(tmp_path)
    with pytest.warns(UserWarning, match="the only one"):
        assert ProbeSet.from_source(tmp_path, tokenizer).split == "valid"
    with pytest.raises(ValueError, match=r"no rows have the split 'test'; name one of \['valid'\] with split="):
        ProbeSet.from_source(tmp_path, tokenizer, split="test")
    datasets.DatasetDict({"valid": rows, "train": rows}).save_to_disk(tmp_path)
    with pytest.raises(
        ValueError, match=r"no rows have the split 'test'; name one of \['train', 'valid'\] with split="
    ):
        ProbeSet.from_source(tmp_path, tokenizer)


def test_flan(tokenizer):
    datasets = pytest.importorskip("datasets", reason="needs the datasets library")
    rows = {"inputs": [str(i) for i in range(64)], "targets": ["x"] * 64, "task": ["rte", "wmt16_translate_deen"] * 32}
    probes = ProbeSet.from_flan(tokenizer, datasets.DatasetDict({"test": datasets.Dataset.from_dict(rows)}))
    assert probes.clusters == {"rte": "natural_language_inference", "wmt16_translate_deen": "translation"}
    assert set(probes["rte"].texts) == {f"{i}\n" for i in range(0, 64, 2)}


def test_datamodule(tokenizer, tasks):
    pl = pytest.importorskip("pytorch_lightning")

    class Module(pl.LightningDataModule):
        def __init__(self, offer):
            super().__init__()
            self.offer = offer

        def probe_tasks(self):
            return self.offer

    assert ProbeSet.from_datamodule(Module(tasks), tokenizer) == ProbeSet.from_tasks(tasks, tokenizer)
    plain = {"a": ["one", "two"]}
    assert ProbeSet.from_datamodule(Module(plain), tokenizer, min_examples=2) == ProbeSet.from_prompts(
        plain, tokenizer, min_examples=2
    )
    with pytest.raises(TypeError, match=r"Module.probe_tasks\(\) must return a TaskCollection or a dict .* got list"):
        ProbeSet.from_datamodule(Module([1]), tokenizer)
    with pytest.raises(TypeError, match=r"LightningDataModule offers no probes: give it a method probe_tasks\(\)"):
        ProbeSet.from_datamodule(pl.LightningDataModule(), tokenizer)


class TestFile:
    @pytest.fixture
    def probes(self, tasks, tokenizer):
        return ProbeSet.from_tasks(
            tasks, tokenizer, max_length=10, token_choice="first_2", seed=5, template="{input} é="
        )

    def test_round_trip(self, probes, tmp_path):
        path = probes.save(tmp_path / "new" / "probes.json")
        loaded = ProbeSet.load(path)
        assert loaded == probes
        assert vars(loaded) == vars(probes)
        assert hash(loaded) == hash(probes)
        assert loaded["parity"].truncated == probes["parity"].truncated
        assert [file.name for file in path.parent.iterdir()] == ["probes.json"]
        probes.select("parity").save(path)
        assert list(ProbeSet.load(path)) == ["parity"]

    @pytest.mark.parametrize(
        ("field", "digest"),
        [("texts", "tokens_digest"), ("input_ids", "tokens_digest"), ("sources", "examples_digest")],
    )
    def test_changes_are_noticed(self, probes, tmp_path, field, digest):
        path = probes.save(tmp_path / "probes.json")
        content = json.loads(path.read_text())
        content["probes"][0][field][0] = [1, 2] if field == "input_ids" else "changed"
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"was changed after it was saved: its {digest} is"):
            ProbeSet.load(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "other"}, "is no probe file: expected one written by ProbeSet.save"),
            ({"version": 99}, "has version 99 of the probe format, this release reads 3"),
            ({"token_choice": "mean_prompt"}, "was changed after it was saved: its tokens_digest"),
            ({"token_choice": "my.choice"}, r"was saved with the callable my.choice; pass it as token_choice="),
            ({"probes": [{"task": "x"}]}, "is damaged: KeyError"),
        ],
    )
    def test_wrong_files(self, probes, tmp_path, change, message):
        path = probes.save(tmp_path / "probes.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ValueError, match=message):
            ProbeSet.load(path)

    @pytest.mark.parametrize(
        "change", [{"seed": 6}, {"split": "train"}, {"vocab_size": 7}, {"notes": ["other"]}, {"max_length": 11}]
    )
    def test_changes_beside_the_prompts_are_noticed(self, probes, tmp_path, change):
        path = probes.save(tmp_path / "probes.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ValueError, match="was changed after it was saved: its content_digest is"):
            ProbeSet.load(path)

    def test_a_changed_cluster_is_noticed(self, probes, tmp_path):
        path = probes.save(tmp_path / "probes.json")
        path.write_text(path.read_text().replace(json.dumps(probes["parity"].cluster), '"other"'))
        with pytest.raises(ValueError, match="was changed after it was saved: its content_digest is"):
            ProbeSet.load(path)

    def test_files_of_the_first_version_are_read(self, probes, tmp_path):
        path = probes.save(tmp_path / "probes.json")
        content = json.loads(path.read_text()) | {"version": 1}
        del content["content_digest"], content["notes"]
        for probe in content["probes"]:
            del probe["last_tokens"], probe["answers"]
        path.write_text(json.dumps(content))
        assert ProbeSet.load(path).tokens_digest == probes.tokens_digest
        assert not ProbeSet.load(path)["parity"].answers
        assert "the last tokens of the prompts are not known" in ProbeSet.load(path).summary()

    def test_json_nested_too_deeply_is_told_with_the_file(self, tmp_path):
        path = tmp_path / "probes.json"
        path.write_text('{"format": "lightning-layerscope probes", "version": ' + "[" * 200_000)
        with pytest.raises(ValueError, match=r"probes.json is no probe file.*nested too deeply"):
            ProbeSet.from_source(path)

    def test_cut_off_and_missing_files(self, probes, tmp_path):
        path = probes.save(tmp_path / "probes.json")
        path.write_text(path.read_text()[:-50])
        with pytest.raises(ValueError, match="is no probe file, or it was cut off"):
            ProbeSet.load(path)
        with pytest.raises(FileNotFoundError, match="no probe file at"):
            ProbeSet.load(tmp_path / "nope.json")

    def test_callable_token_choice_is_given_again(self, tasks, tokenizer, tmp_path):
        probes = ProbeSet.from_tasks(tasks, tokenizer, token_choice=torch.ones_like)
        path = probes.save(tmp_path / "probes.json")
        assert ProbeSet.load(path, token_choice=torch.ones_like) == probes
        with pytest.raises(ValueError, match=r"saved with the callable .*ones_like; pass it as token_choice="):
            ProbeSet.load(path)
        with pytest.raises(ValueError, match=r"saved with token_choice .*ones_like', not 'last_prompt'"):
            ProbeSet.load(path, token_choice="last_prompt")


class TestFromSource:
    def test_saved_probes(self, tasks, tokenizer, tmp_path, make_tokenizer):
        probes = ProbeSet.from_tasks(tasks, tokenizer)
        path = probes.save(tmp_path / "probes.json")
        assert ProbeSet.from_source(path) == ProbeSet.from_source(str(path), tokenizer) == probes
        with pytest.raises(ValueError, match=r"is a saved probe set, which settles .*max_length"):
            ProbeSet.from_source(path, max_length=3)
        with pytest.raises(ValueError, match=r"makes other tokens of task 'parity': make the probes again"):
            ProbeSet.from_source(path, make_tokenizer(["other words"], bos=True))

    def test_tasks(self, folder, tokenizer, tmp_path):
        tokenizer.save_pretrained(tmp_path)
        probes = ProbeSet.from_source(folder, str(tmp_path), examples_per_task=33, clusters={"parity": "n"})
        assert probes == ProbeSet.from_jsonl(folder, tokenizer, examples_per_task=33, clusters={"parity": "n"})
        assert len(ProbeSet.from_source("toy", tokenizer)) == 24

    def test_errors(self, folder, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="is no saved probe set, and probes from tasks need a tokenizer"):
            ProbeSet.from_source(folder)
        with pytest.raises(FileNotFoundError, match="no tasks at"):
            ProbeSet.from_source(tmp_path / "nope", tokenizer)


@pytest.fixture(scope="module")
def model():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=6, n_embd=8, n_layer=1, n_head=1))


class TestCheckModel:
    @staticmethod
    def make(*ids):
        return ProbeSet([Probe("t", "c", ("0",), ("x",), (ids,))], tokenizer_name="mine", vocab_size=99)

    def test_fits(self, model):
        self.make(0, 19, 3, 4, 5, 6).check_model(model)

    def test_ids_beyond_the_embedding(self, model):
        with pytest.raises(
            ValueError, match=r"Task 't', .*token id 20 lies outside .* of 20 entries \(ids 0 to 19\).*'mine'"
        ):
            self.make(3, 20).check_model(model)

    def test_found_inside_a_wrapper(self, model):
        wrapper = nn.ModuleDict({"inner": model})
        with pytest.raises(ValueError, match="token id 20 lies outside"):
            self.make(20).check_model(wrapper)

    def test_longer_than_the_positions(self, model):
        with pytest.raises(ValueError, match=r"7 tokens exceed the model's 6 positions .*wpe\)\. .*max_length=6"):
            self.make(*[1] * 7).check_model(model)

    def test_rotary_positions_have_no_table(self):
        from transformers import LlamaConfig, LlamaModel

        config = LlamaConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=4,
        )
        self.make(*[1] * 7).check_model(LlamaModel(config))

    def test_model_without_embedding_is_not_checked(self):
        self.make(1000).check_model(nn.Linear(2, 2))


def test_importing_stays_light():
    import subprocess
    import sys

    code = "import sys, lightning_layerscope.probes, lightning_layerscope.tasks; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "lightning_layerscope.probes" in loaded
    assert not {"torch", "transformers", "datasets", "numpy", "pandas"} & set(loaded)


def test_messages_in_a_probe_count_in_its_source():
    from lightning_layerscope.probes.prompts import source_digest

    plain = Example("", "hi", "", "0")
    assert source_digest(plain) == source_digest(Example("", "hi", "answer", "1"))
    assert source_digest(plain) != source_digest(Example("", "hi", "", "0", (("user", "hi"),)))
