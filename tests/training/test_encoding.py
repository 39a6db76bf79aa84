import copy

import pytest
import torch

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import Example, PromptTemplate
from lightning_layerscope.training import InstructionDataModule, encode_examples, evaluate_tasks
from lightning_layerscope.training.encoding import IGNORED, collate


def encode(tasks, tokenizer, name="to_lumi", **options):
    return encode_examples(name, tasks[name].split("test"), tokenizer, **options)


@pytest.mark.parametrize("chat", [False, True])
def test_the_prompt_has_the_tokens_of_a_probe(tasks, tokenizer, chat):
    template = PromptTemplate(chat=chat)
    probe = ProbeSet.from_tasks(tasks, tokenizer, examples_per_task=8, template=template)["to_lumi"]
    rows = {row.id: row for row in encode(tasks, tokenizer, template=template)}
    assert {name: rows[name].prompt for name in probe.example_ids} == dict(
        zip(probe.example_ids, probe.input_ids, strict=True)
    )


@pytest.mark.parametrize("chat", [False, True])
def test_prompt_and_answer_read_as_the_template_with_output(tasks, tokenizer, chat):
    template = PromptTemplate(chat=chat)
    for row, example in zip(encode(tasks, tokenizer, template=template), tasks["to_lumi"].split("test"), strict=True):
        text = template.render(example, tokenizer, with_output=True)
        ended = text if chat else "<s>" + text + "</s>"
        assert tokenizer.decode(row.prompt + row.answer) == ended
        assert "</s>" in tokenizer.decode(row.answer)


def test_long_rows_are_cut_in_the_input_and_then_in_the_answer_and_say_so(tokenizer):
    words = " ".join(["word"] * 200)
    examples = [
        Example("Repeat.", "short", "short", "a"),
        Example("Repeat.", words, "the answer", "b"),
        Example("Repeat.", "short", words, "c"),
        Example("Repeat.", words, words, "d"),
    ]
    rows = encode_examples("t", examples, tokenizer, max_length=64)
    assert [(row.cut_prompt, row.cut_answer) for row in rows] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert all(len(row) <= 64 for row in rows)
    assert tokenizer.decode(rows[1].prompt).startswith("<s>Repeat.\n")
    assert tokenizer.decode(rows[1].answer) == "the answer</s>"
    assert tokenizer.decode(rows[2].prompt) == "<s>Repeat.\nshort\n"
    assert len(rows[2]) == 64
    assert len(rows[3].answer) == 32


def test_bad_rows_are_refused(tasks, tokenizer):
    with pytest.raises(ValueError, match=r"1 of 2 examples have no output, e\.g\. \['y'\]"):
        encode_examples("t", [Example("", "a", "b", "x"), Example("", "a", " ", "y")], tokenizer)
    with pytest.raises(ValueError, match="no examples"):
        encode_examples("t", [], tokenizer)
    with pytest.raises(ValueError, match="instruction and the template alone are too long"):
        encode_examples("t", [Example("Repeat this. " * 40, "a", "b", "x")], tokenizer, max_length=32)
    with pytest.raises(ValueError, match="8 or more, got 4"):
        encode(tasks, tokenizer, max_length=4)


def test_a_batch_learns_answers_alone(tasks, tokenizer):
    rows = encode(tasks, tokenizer)[:3]
    batch = collate(rows)
    assert batch["input_ids"].shape == (3, max(map(len, rows)))
    for place, row in enumerate(rows):
        learned = batch["labels"][place] != IGNORED
        assert batch["labels"][place][learned].tolist() == list(row.answer)
        assert learned.nonzero()[0].item() == len(row.prompt)
        assert batch["attention_mask"][place].sum() == len(row)
        assert torch.all(batch["input_ids"][place, len(row) :] == row.answer[-1])


def test_a_tokenizer_that_closes_texts_gives_probes_and_training_the_same_prompt(tasks, tokenizer):
    from tokenizers.processors import TemplateProcessing

    closing = copy.deepcopy(tokenizer)
    closing.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", closing.bos_token_id), ("</s>", closing.eos_token_id)]
    )
    assert closing("Hi")["input_ids"][-1] == closing.eos_token_id
    probe = ProbeSet.from_tasks(tasks, closing, examples_per_task=8)["to_lumi"]
    rows = {row.id: row.prompt for row in encode(tasks, closing)}
    assert dict(zip(probe.example_ids, probe.input_ids, strict=True)) == {
        name: rows[name] for name in probe.example_ids
    }
    assert rows == {row.id: row.prompt for row in encode(tasks, tokenizer)}


def test_a_padding_token_that_the_model_does_not_have_is_not_looked_up(tasks, tokenizer, model):
    """A tokenizer got a [PAD] and the embedding did not grow."""
    grown = copy.deepcopy(tokenizer)
    grown.add_special_tokens({"pad_token": "[PAD]"})
    assert grown.pad_token_id >= model.get_input_embeddings().num_embeddings
    expected, losses = (evaluate_tasks(model, InstructionDataModule(tasks, each)) for each in (tokenizer, grown))
    assert losses == expected
    batch = next(iter(InstructionDataModule(tasks, grown).train_dataloader()))
    assert not batch["attention_mask"].all()
    assert model(**batch).loss.isfinite()
