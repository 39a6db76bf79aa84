"""A tokenizer and a tiny model of the toy tasks, made once."""

import pytest

from lightning_layerscope.tasks import toy_tasks
from lightning_layerscope.training import small_llama, train_tokenizer


@pytest.fixture(scope="session")
def tasks():
    return toy_tasks(train=24, test=8).select(["last_word", "parity", "to_lumi", "describe_record"])


@pytest.fixture(scope="session")
def tokenizer(tasks):
    return train_tokenizer(tasks.texts("train"), vocab_size=400)


@pytest.fixture
def model(tokenizer):
    return small_llama(tokenizer, width=16, layers=2, heads=2, max_length=256)
