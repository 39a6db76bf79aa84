import argparse

import pytest

from lightning_layerscope.commands.terms import in_flags


@pytest.fixture(scope="module")
def parser():
    parser = argparse.ArgumentParser()
    for flag in ("--columns", "--min-examples", "--overwrite", "--split", "--max-length"):
        parser.add_argument(flag)
    parser.add_argument("--tokens", dest="token_choice")
    return parser


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("lower min_examples=, or go", "lower --min-examples, or go"),
        ("one of ['a'] with split=", "one of ['a'] with --split"),
        ("pass overwrite=True to", "pass --overwrite to"),
        ("more than max_length=40 even", "more than --max-length 40 even"),
        ("raise max_length", "raise --max-length"),
        ("token_choice must be", "--tokens must be"),
        ("with columns={'input': ..., 'output': 'answer'}", "with --columns input=... output=answer"),
        # Words that are no parameters, of which a message may speak.
        ("the split 'test' splits=x of my_max_length", "the split 'test' splits=x of my_max_length"),
    ],
)
def test_parameters_become_flags(parser, message, expected):
    assert in_flags(message, parser) == expected
