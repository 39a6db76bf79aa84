"""YAML whose values remember the line they stand on, so that an error can name it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lightning_layerscope._extras import require

Location = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


class PlanError(ValueError):
    """A plan that cannot be run; the message names the file and the line."""


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """Read a YAML mapping together with the line of each value.

    Args:
        path: The file.

    Returns:
        The mapping, and a table from the path of keys and list positions to the line (from 1).

    Raises:
        PlanError: If the file is absent, is not YAML, repeats a key or is not a mapping.
    """
    yaml = require("yaml", extra="study")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror}); give the path of a plan in YAML") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise PlanError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise PlanError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    lines: dict[Location, int] = {}
    _collect_lines(root, (), lines, path)
    return data, lines


def _collect_lines(node: Any, location: Location, lines: dict[Location, int], path: Path) -> None:
    lines.setdefault(location, node.start_mark.line + 1)
    if node.id == "mapping":
        seen: set[Any] = set()
        for key, value in node.value:
            if key.value in seen:
                raise PlanError(
                    f"{path}:{key.start_mark.line + 1}: the key {key.value!r} stands here a second time; keep one"
                )
            seen.add(key.value)
            inner = (*location, key.value)
            lines[inner] = key.start_mark.line + 1
            _collect_lines(value, inner, lines, path)
    elif node.id == "sequence":
        for position, value in enumerate(node.value):
            _collect_lines(value, (*location, position), lines, path)


def validate(model: type[ModelT], data: Mapping[str, Any], lines: Mapping[Location, int], path: Path) -> ModelT:
    """Build a pydantic model from a mapping; every error names its line.

    Args:
        model: The class to build.
        data: The settings.
        lines: The line of each value, from :func:`read_yaml`.
        path: The file, for the messages.

    Raises:
        PlanError: If a value is missing, unknown or of the wrong kind. All errors are listed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        messages = [_message(item, model, lines, path) for item in error.errors()]
        raise PlanError("\n".join(messages)) from None


def _message(item: Any, model: type[BaseModel], lines: Mapping[Location, int], path: Path) -> str:
    # Unions put the name of the tried member into the location; only what is a key or position in the file counts.
    location: Location = ()
    for part in item["loc"]:
        if (*location, part) in lines:
            location = (*location, part)
    dotted = ".".join(str(part) for part in item["loc"])
    where = f"{path}:{lines.get(location, 1)}"
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return f"{where}: unknown setting {dotted!r}; {hint}"
    if item["type"] == "missing":
        return f"{where}: the setting {dotted!r} is missing"
    return (
        f"{where}: {dotted or 'plan'}: {item['msg'].removeprefix('Value error, ')} (got {item['input']!r})"
        if dotted
        else f"{where}: {item['msg'].removeprefix('Value error, ')}"
    )


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        nested = field.annotation if field else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return []
        model = nested
    return list(model.model_fields)
