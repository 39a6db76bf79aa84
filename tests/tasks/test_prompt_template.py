import pytest

from lightning_layerscope.tasks import Example, PromptTemplate

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


def test_chat_needs_a_chat_template():
    class Plain(ChatTokenizer):
        chat_template = None

    template = PromptTemplate(chat=True)
    with pytest.raises(ValueError, match="needs the tokenizer"):
        template.render(EXAMPLE)
    with pytest.raises(ValueError, match=r"tokenizer 'chatty' has no chat template; use PromptTemplate\(chat=False\)"):
        template.render(EXAMPLE, Plain())


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
