"""Models, tokenizers and adapters are loaded by one loader, for the commands as for the study."""

import pytest
import torch
import transformers

from lightning_layerscope.study.stages.model_cache import ModelCache
from lightning_layerscope.training import add_lora, load_model
from lightning_layerscope.training.loading import is_adapter

IDS = torch.tensor([[5, 6, 7]])


@pytest.fixture
def folders(model, tokenizer, tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    tuned = add_lora(load_model(base)[0])
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    tuned.save_pretrained(adapter)
    return base, adapter


def test_an_adapter_is_the_same_by_its_own_name_on_its_base_and_in_a_study(folders):
    base, adapter = folders
    assert (is_adapter(str(base)), is_adapter(str(adapter))) == (False, True)
    by_name, on_base = load_model(adapter)[0], load_model(base, adapter=adapter)[0]
    with torch.no_grad(), ModelCache(str(base)).tuned(adapter) as in_study:
        logits = [model(input_ids=IDS).logits for model in (by_name, on_base, in_study)]
        plain = load_model(base)[0](input_ids=IDS).logits
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])
    assert not torch.equal(logits[0], plain)
    assert not by_name.training


def test_an_adapter_of_another_model_names_its_base(folders, tokenizer, tmp_path):
    from lightning_layerscope.training import small_llama

    small_llama(tokenizer, width=32, layers=2, heads=2, max_length=256).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    message = rf"does not fit the base model \S*other; it names '\S*{folders[0].name}' as its base"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "other", adapter=folders[1])


def test_weights_come_in_the_wanted_dtype(folders, tmp_path):
    assert load_model(folders[0])[0].dtype == torch.float32
    assert load_model(folders[0], dtype="bfloat16")[0].dtype == torch.bfloat16
    load_model(folders[0], dtype="bfloat16")[0].save_pretrained(tmp_path / "half")
    assert ModelCache(str(tmp_path / "half"), dtype="auto").base().dtype == torch.bfloat16
    assert ModelCache(str(tmp_path / "half"), dtype="float32").base().dtype == torch.float32


def test_what_is_not_there_is_said_alike(tmp_path):
    for load in (lambda: load_model(tmp_path / "nothing"), lambda: ModelCache(str(tmp_path / "nothing")).base()):
        with pytest.raises(FileNotFoundError, match=r"there is no folder .*nothing; expected one by save_pretrained"):
            load()
    with pytest.raises(FileNotFoundError, match=r"holds no model: config\.json is missing"):
        load_model(tmp_path)


def test_a_model_that_is_no_decoder_is_told_as_one(tmp_path):
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
    transformers.T5ForConditionalGeneration(transformers.T5Config(**shape)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"expected a causal language model .* another kind \(T5Config\)"):
        load_model(tmp_path)


def test_an_adapter_that_leaves_layers_without_weights_is_refused(folders, model, tmp_path):
    config = model.config.to_dict() | {"num_hidden_layers": model.config.num_hidden_layers + 1}
    type(model)(type(model.config)(**config)).save_pretrained(tmp_path / "deeper")
    with pytest.raises(ValueError, match="has nothing for some of its matrices"):
        load_model(tmp_path / "deeper", adapter=folders[1], tokenizer=folders[0])
