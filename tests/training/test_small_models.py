import math

import pytest
import torch

from lightning_layerscope.training import pretrain, raw_texts, small_llama, train_tokenizer


def test_the_tokenizer_is_lossless_and_repeatable(tasks, tokenizer):
    again = train_tokenizer(tasks.texts("train"), vocab_size=400)
    assert again.get_vocab() == tokenizer.get_vocab()
    for text in ["Ünïcödé 日本 🙂", "  two  spaces\n\nand lines\t", tasks.texts("test")[0]]:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_chat_turns_end_where_the_assistant_does(tokenizer):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompt == "<s><|system|>Be brief.\n<|user|>Hi\n<|assistant|>"
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "Hello"}], tokenize=False)
    assert whole == prompt + "Hello</s>\n"


def test_a_tokenizer_needs_texts_and_room_for_bytes():
    with pytest.raises(ValueError, match="at least 262"):
        train_tokenizer(["text"], vocab_size=100)
    with pytest.raises(ValueError, match="got none"):
        train_tokenizer(["", " "])


def test_weights_depend_on_the_seed_alone(tokenizer):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = small_llama(tokenizer, width=16, layers=2, heads=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    same, other = (small_llama(tokenizer, width=16, layers=2, heads=2, seed=seed) for seed in (0, 1))
    weights = [model.model.layers[0].mlp.up_proj.weight for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    with pytest.raises(ValueError, match="multiple of 2 x heads, got width=18"):
        small_llama(tokenizer, width=18, heads=4)


def test_raw_texts_take_question_and_answer_apart(tasks):
    texts = raw_texts(tasks)
    assert len(texts) == len(set(texts))
    for example in tasks["to_lumi"].split("train"):
        assert f"{example.instruction}\n{example.input}" in texts
        assert example.output in texts
        assert not any(example.input in text and example.output in text for text in texts)


def test_pretraining_learns_and_repeats(tasks, tokenizer):
    runs = []
    for _ in range(2):
        model = small_llama(tokenizer, width=16, layers=2, heads=2)
        state = torch.get_rng_state()
        seen = []
        losses = pretrain(
            model,
            tokenizer,
            raw_texts(tasks),
            steps=30,
            learning_rate=1e-2,
            length=16,
            progress=lambda step, loss: seen.append(step),  # noqa: B023
        )
        assert torch.equal(torch.get_rng_state(), state)
        assert seen == list(range(1, 31))
        runs.append(losses)
    assert runs[0] == runs[1]
    assert runs[0][0] == pytest.approx(math.log(len(tokenizer)), abs=0.5)
    assert runs[0][-1] < runs[0][0] - 1


def test_pretraining_refuses_too_little_text(model, tokenizer):
    with pytest.raises(ValueError, match="fewer than one block of 64"):
        pretrain(model, tokenizer, ["short"], steps=1)
    with pytest.raises(ValueError, match="steps and batch_size >= 1"):
        pretrain(model, tokenizer, ["short"], steps=0)
