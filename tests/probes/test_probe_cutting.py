"""What a prompt is made of, and what goes when it is too long."""

import pytest

from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import Example, PromptTemplate, Task, TaskCollection

WORDS = [f"w{i}" for i in range(30)]


def words(text):
    return text.split()


def build(example, tokenizer, **options):
    tasks = TaskCollection([Task("t", "c", {"test": (example,)})])
    return ProbeSet.from_tasks(tasks, tokenizer, min_examples=1, **options)["t"]


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer):
    return make_tokenizer(["do this : = end", " ".join(WORDS)], bos=True)


@pytest.fixture(scope="module")
def chat(make_tokenizer):
    return make_tokenizer(["do this : = end", " ".join(WORDS)], bos=True, chat=True)


def test_cut_from_the_left_of_the_input(tokenizer):
    example = Example("do this :", " ".join(WORDS), "", "t/0")
    probe = build(example, tokenizer, max_length=10, template="{instruction} {input} = end")
    # 1 start token, 3 of the instruction, 2 of the template's end: 4 are left.
    assert probe.texts == ("do this : w26 w27 w28 w29 = end",)
    assert tokenizer.convert_ids_to_tokens(list(probe.input_ids[0])) == ["<s>", *probe.texts[0].split()]
    assert probe.truncated == 1
    exact = build(example, tokenizer, max_length=36, template="{instruction} {input} = end")
    assert (exact.truncated, len(exact.input_ids[0])) == (0, 36)


@pytest.mark.parametrize("limit", range(8, 36))
def test_as_much_as_fits_is_kept(tokenizer, limit):
    example = Example("do this :", " ".join(WORDS), "", "t/0")
    probe = build(example, tokenizer, max_length=limit, template="{instruction} {input} = end")
    assert len(probe.input_ids[0]) == limit


def test_plain_prompts_are_cut_from_their_left(tokenizer):
    probes = ProbeSet.from_prompts({"t": [" ".join(WORDS), "w1"]}, tokenizer, max_length=4, min_examples=2)
    assert set(probes["t"].texts) == {"w27 w28 w29", "w1"}
    assert probes["t"].truncated == 1
    instruction_only = build(Example(" ".join(WORDS), "", "", "t/0"), tokenizer, max_length=4)
    assert instruction_only.texts == ("w27 w28 w29\n",)


def test_an_instruction_too_long_is_an_error(tokenizer):
    with pytest.raises(
        ValueError,
        match=r"task 't': the prompt of 't/0' has 7 tokens, and more than max_length=4 even.*raise max_length",
    ):
        build(Example("do this : do", "w1 w2", "", "t/0"), tokenizer, max_length=4)


def test_one_long_word_is_cut_inside(make_bpe):
    tokenizer = make_bpe(["aba cac bab"], vocab_size=270)
    probe = build(Example("go", "one " + "xyz" * 50, "", "t/0"), tokenizer, max_length=20)
    assert probe.truncated == 1
    assert len(probe.input_ids[0]) == 20
    assert probe.texts[0].startswith("go\n")
    assert ("xyz" * 50 + "\n").endswith(probe.texts[0].removeprefix("go\n"))


def test_byte_level_text_without_spaces(make_bpe):
    tokenizer = make_bpe(["ok"], vocab_size=265)
    probe = build(Example("", "猫が好き" * 20, "", "t/0"), tokenizer, max_length=32)
    assert ("猫が好き" * 20 + "\n").endswith(probe.texts[0])
    # Three bytes a letter, and the line break.
    assert 30 <= len(probe.input_ids[0]) <= 32


def test_special_tokens_come_once(make_tokenizer):
    example = Example("do", "w1", "", "t/0")
    for options, expected in [
        ({}, "do w1"),
        ({"bos": True}, "<s> do w1"),
        ({"bos": True, "end": True}, "<s> do w1"),
        ({"bos": True, "end": True, "sep_token": "</s>"}, "<s> do w1 </s>"),
    ]:
        tokenizer = make_tokenizer(["do w1"], **options)
        [ids] = build(example, tokenizer).input_ids
        assert tokenizer.convert_ids_to_tokens(list(ids)) == expected.split()


def test_padding_and_truncation_settings_do_not_matter(make_tokenizer):
    texts = ["do this : = end", " ".join(WORDS)]
    example = Example("do this :", " ".join(WORDS), "", "t/0")
    plain = build(example, make_tokenizer(texts, bos=True))
    for side in ("left", "right"):
        tokenizer = make_tokenizer(texts, bos=True, padding_side=side, truncation_side=side, model_max_length=8)
        tokenizer.backend_tokenizer.enable_padding(direction=side, length=64)
        tokenizer.backend_tokenizer.enable_truncation(max_length=5)
        assert build(example, tokenizer) == plain
        assert tokenizer.padding_side == side


def test_chat_prompt(chat):
    example = Example("do this :", "w1 w2", "w3", "t/0")
    probe = build(example, chat, template=PromptTemplate(chat=True, system="= ="))
    tokens = chat.convert_ids_to_tokens(list(probe.input_ids[0]))
    assert tokens == words("<s> <system> = = </s> <user> do this : w1 w2 </s> <assistant>")


def test_chat_prompt_is_cut_in_its_input(chat):
    example = Example("do this :", " ".join(WORDS), "", "t/0")
    probe = build(example, chat, template=PromptTemplate(chat=True), max_length=10)
    tokens = chat.convert_ids_to_tokens(list(probe.input_ids[0]))
    assert tokens == words("<s> <user> do this : w27 w28 w29 </s> <assistant>")


def talk(*turns):
    return Example("", "plain text", "w9", "t/0", tuple(turns))


def test_conversations_lose_their_oldest_turns_first(chat):
    example = talk(
        ("system", "="),
        ("user", "w0"),
        ("assistant", "w0"),
        ("user", "w1 w2"),
        ("assistant", "w3"),
        ("user", "w4 w5 w6 w7"),
    )
    template = PromptTemplate(chat=True)

    def tokens(limit):
        probe = build(example, chat, template=template, max_length=limit)
        return probe.truncated, chat.convert_ids_to_tokens(list(probe.input_ids[0]))

    later = words("<user> w1 w2 </s> <assistant> w3 </s> <user> w4 w5 w6 w7 </s> <assistant>")
    start = words("<s> <system> = </s>")
    whole = start + words("<user> w0 </s> <assistant> w0 </s>") + later
    assert tokens(len(whole)) == (0, whole)
    assert tokens(len(whole) - 1) == tokens(len(start + later)) == (1, start + later)
    last = words("<s> <system> = </s> <user> w4 w5 w6 w7 </s> <assistant>")
    assert tokens(len(start + later) - 1) == tokens(len(last)) == (1, last)
    assert tokens(len(last) - 2) == (1, words("<s> <system> = </s> <user> w6 w7 </s> <assistant>"))
    with pytest.raises(ValueError, match="raise max_length"):
        tokens(7)


def test_conversation_without_a_chat_template_is_plain_text(tokenizer):
    example = talk(("user", "w1 w2"))
    assert build(example, tokenizer).texts == ("plain text\n",)
    with pytest.raises(ValueError, match="has no chat template"):
        build(example, tokenizer, template=PromptTemplate(chat=True))


def test_tokenizer_by_path(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    example = Example("do", "w1", "", "t/0")
    tasks = TaskCollection([Task("t", "c", {"test": (example,)})])
    by_path = ProbeSet.from_tasks(tasks, str(tmp_path), min_examples=1)
    assert by_path["t"] == build(example, tokenizer)
    assert by_path.tokenizer_name == str(tmp_path)
    assert by_path.tokens_digest == ProbeSet.from_tasks(tasks, tmp_path, min_examples=1).tokens_digest


@pytest.mark.parametrize("wrong", [None, 3, str.split])
def test_not_a_tokenizer(wrong):
    with pytest.raises(
        TypeError, match="tokenizer must be a transformers tokenizer, its folder or its name on the hub"
    ):
        build(Example("do", "w1", "", "t/0"), wrong)
