import pytest

from lightning_layerscope.tasks import Example, Task, TaskCollection

tokenizers = pytest.importorskip("tokenizers")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}<{{ turn['role'] }}> {{ turn['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def make_tokenizer():
    """A function that builds one-token-per-word tokenizers; words are learned from texts."""
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    def make(texts=(), *, bos=False, end=False, chat=False, first=(), **settings):
        words = sorted({word for text in texts for word in text.split()})
        special = ["<unk>", "<pad>", "<s>", "</s>", "<user>", "<assistant>", "<system>"]
        vocabulary = {word: index for index, word in enumerate([*special, *first, *words])}
        backend = tokenizers.Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
        backend.pre_tokenizer = WhitespaceSplit()
        if bos or end:
            parts = (["<s>"] if bos else []) + ["$A"] + (["</s>"] if end else [])
            backend.post_processor = TemplateProcessing(
                single=" ".join(parts), special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            unk_token="<unk>",
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            chat_template=CHAT_TEMPLATE if chat else None,
            **settings,
        )

    return make


@pytest.fixture(scope="session")
def make_bpe():
    """A function that trains a byte-level BPE tokenizer, as most language models have."""
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def make(texts, vocab_size=600):
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=CHAT_TEMPLATE
        )

    return make


@pytest.fixture(scope="session")
def make_tasks():
    """A function: task name to number of test rows -> tasks with inputs of five words."""

    def make(split="test", **rows):
        return TaskCollection(
            Task(
                name,
                f"cluster {name[0]}",
                {
                    split: tuple(
                        Example(f"do {name} :", f"{name} row {i} of many", "yes", f"{name}/{split}/{i}")
                        for i in range(count)
                    )
                },
            )
            for name, count in rows.items()
        )

    return make
