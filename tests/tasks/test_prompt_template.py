import pytest

from lightning_layerscope.tasks import Example, PromptTemplate
from lightning_layerscope.tasks.template import as_template

EXAMPLE = Example("Add.", "1 {instruction} 2", "3", "sum/0")
TALK = Example(
    "Be brief.",
    "User: Hi\nAssistant: Hello\nUser: Bye",
    "Ciao",
    "talk/0",
    (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")),
)


class ChatTokenizer:
    """Writes turns as <role>content</s>, like a chat template."""

    chat_template = "given"
    name_or_path = "chatty"

    def apply_chat_template(self, turns, *, tokenize, add_generation_prompt):
        assert tokenize is False
        if turns[0]["content"] == "raise":
            raise RuntimeError("System role not supported")
        text = "".join(f"<{turn['role']}>{turn['content']}</s>" for turn in turns)
        return text + ("<assistant>" if add_generation_prompt else "")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PromptTemplate(), "Add.\n1 {instruction} 2\n"),
        (PromptTemplate("{input}"), "1 {instruction} 2"),
        (PromptTemplate("{{}} {instruction} {instruction}\n\n{input} ="), "{} Add. Add.\n\n1 {instruction} 2 ="),
    ],
)
def test_text(template, expected):
    assert template.render(EXAMPLE) == expected
    assert template.render(EXAMPLE, with_output=True) == expected + "3"


def test_lines_of_an_empty_field_are_left_out():
    assert PromptTemplate().render(Example("", "x", "", "0")) == "x\n"
    assert PromptTemplate().render(Example("Do it.", "", "", "0")) == "Do it.\n"
    assert PromptTemplate("Task: {instruction}\n{input}").render(Example("", "x", "", "0")) == "Task: \nx"


def test_conversation_as_plain_text():
    assert PromptTemplate().render(TALK) == "Be brief.\nUser: Hi\nAssistant: Hello\nUser: Bye\n"


def test_chat():
    template, tokenizer = PromptTemplate(chat=True), ChatTokenizer()
    prompt = "<user>Add.\n1 {instruction} 2</s>"
    assert template.render(EXAMPLE, tokenizer) == prompt + "<assistant>"
    assert template.render(EXAMPLE, tokenizer, with_output=True) == prompt + "<assistant>3</s>"
    with_system = PromptTemplate(chat=True, system="Hm.").render(EXAMPLE, tokenizer)
    assert with_system == "<system>Hm.</s>" + prompt + "<assistant>"


def test_chat_keeps_the_turns_of_a_conversation():
    rendered = PromptTemplate(chat=True, system="Hm.").render(TALK, ChatTokenizer(), with_output=True)
    assert rendered == "<system>Be brief.</s><user>Hi</s><assistant>Hello</s><user>Bye</s><assistant>Ciao</s>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "no field"}, "must hold {instruction} or {input} or both, and no other field; got none"),
        ({"text": "{input} {output}"}, r"got \['output'\] \(the output follows the prompt by itself\)"),
        ({"text": "{input} {}"}, r"got \[''\]"),
        ({"text": "{input} {"}, "write a brace twice"),
        ({"system": "x"}, "a system message needs chat=True"),
    ],
)
def test_malformed_templates(arguments, message):
    with pytest.raises(ValueError, match=message):
        PromptTemplate(**arguments)


class PlainTokenizer(ChatTokenizer):
    chat_template = None


WHOLE = Example("", "The sky is", " blue.", "sky/0", whole=True)


@pytest.mark.parametrize(
    ("example", "tokenizer", "template", "expected"),
    [
        (TALK, ChatTokenizer(), None, {"chat": True}),
        (TALK, PlainTokenizer(), None, {"chat": False}),
        (TALK, ChatTokenizer(), {"chat": False}, {"chat": False}),
        (TALK, ChatTokenizer(), "{input}", {"chat": False, "text": "{input}"}),
        (TALK, ChatTokenizer(), PromptTemplate("Q: {input}"), {"chat": False, "text": "Q: {input}"}),
        (EXAMPLE, ChatTokenizer(), None, {"chat": False}),
        (EXAMPLE, ChatTokenizer(), {"chat": True, "system": "s"}, {"chat": True, "system": "s"}),
        (WHOLE, ChatTokenizer(), None, {"chat": False, "text": "{input}"}),
        (WHOLE, ChatTokenizer(), {"chat": False}, {"chat": False, "text": "{input}"}),
        (WHOLE, ChatTokenizer(), {"text": "Q: {input}"}, {"chat": False, "text": "Q: {input}"}),
        (WHOLE, ChatTokenizer(), {"chat": True}, {"chat": True}),
    ],
)
def test_what_nobody_said_follows_from_rows_and_tokenizer(example, tokenizer, template, expected):
    settled = as_template(template).settled([example, example], tokenizer)
    assert settled.describe() == PromptTemplate().describe() | expected
    assert settled.settled([example], tokenizer) == settled
    assert as_template(template).render(example, tokenizer) == settled.render(example, tokenizer)


def test_the_prompt_of_a_completion_is_kept_to_the_letter():
    assert PromptTemplate().render(WHOLE) == "The sky is"
    assert PromptTemplate().render(WHOLE, with_output=True) == "The sky is blue."


def test_rows_of_several_kinds_need_a_word():
    with pytest.raises(
        ValueError,
        match=r"several kinds \(conversations, e.g. 'talk/0', rows of instruction and input, e.g. 'sum/0'\)",
    ):
        PromptTemplate().settled([TALK, EXAMPLE], ChatTokenizer())
    with pytest.raises(ValueError, match=r"prompts with completions, e\.g\. 'sky/0'"):
        PromptTemplate().settled([EXAMPLE, WHOLE])
    # Without a chat template both are the same text, and one that was chosen holds for all.
    assert PromptTemplate().settled([TALK, EXAMPLE], PlainTokenizer()).chat is False
    assert PromptTemplate(chat=True).settled([TALK, EXAMPLE, WHOLE], ChatTokenizer()).chat is True


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"chat": "yes"}, r"chat is true or false, got \{'chat': 'yes'\}"),
        ({"test": "x"}, r"has the keys \['test'\]"),
        ({"text": "x"}, "must hold {instruction} or {input}"),
    ],
)
def test_malformed_templates_of_configurations(template, message):
    with pytest.raises(ValueError, match=message):
        as_template(template)


def test_chat_needs_a_chat_template():
    template = PromptTemplate(chat=True)
    with pytest.raises(ValueError, match="needs the tokenizer"):
        template.render(EXAMPLE)
    with pytest.raises(ValueError, match=r"tokenizer 'chatty' has no chat template; leave chat=True out"):
        template.render(EXAMPLE, PlainTokenizer())


def test_a_refusing_chat_template_is_quoted():
    with pytest.raises(
        ValueError, match=r"refused turns with the roles \['system', 'user'\]: System role not supported"
    ):
        PromptTemplate(chat=True, system="raise").render(EXAMPLE, ChatTokenizer())


def test_describe_names_everything():
    assert PromptTemplate("{input}", chat=True, system="s").describe() == {
        "text": "{input}",
        "chat": True,
        "system": "s",
    }
