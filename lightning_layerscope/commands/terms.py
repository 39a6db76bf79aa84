"""Messages of the package in the terms of the command line: ``min_examples=`` is ``--min-examples`` there."""

from __future__ import annotations

import argparse
import re


def in_flags(message: str, parser: argparse.ArgumentParser) -> str:
    """A message that names parameters in Python, with the command's flags in their place.

    Flags are known by their ``dest``, which is the name of the parameter that they set. A parameter without an
    underscore might be any word, and is one only before an equals sign.

    Args:
        message: The message of an exception.
        parser: The parser of the command.
    """
    for action in parser._actions:  # argparse has no public list of them
        flags = [flag for flag in action.option_strings if flag.startswith("--")]
        if flags:
            message = _replace(message, action.dest, flags[0])
    return message


def _replace(message: str, name: str, flag: str) -> str:
    message = re.sub(rf"\b{name}=\{{(.*?)\}}", lambda match: f"{flag} {' '.join(_pairs(match[1]))}", message)  # a dict
    message = re.sub(rf"\b{name}=True\b", flag, message)
    message = re.sub(rf"\b{name}=(?=[\w'\"/])", f"{flag} ", message)
    message = re.sub(rf"\b{name}=", flag, message)
    return re.sub(rf"(?<![\w-]){name}(?!\w)", flag, message) if "_" in name else message


def _pairs(content: str) -> list[str]:
    """``'input': ..., 'output': 'answer'`` -> ``input=...``, ``output=answer``."""
    return [f"{key}={value.strip()}" for key, value in re.findall(r"'(\w+)':\s*'?([^',]+)'?", content)]
