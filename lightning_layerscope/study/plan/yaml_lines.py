"""YAML whose values remember the line they stand on, so that an error can name it."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lightning_layerscope._extras import require

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
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
        lines = dict[Location, int]()
        _Lines(path, lines).collect(root, ())
        data = yaml.safe_load(text)
    except RecursionError as error:
        raise PlanError(f"{path}: nested too deeply to be a plan") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise PlanError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise PlanError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    return data, lines


class _Lines:
    """Collects the line of every value; an anchor is followed once, however often it is named."""

    def __init__(self, path: Path, lines: dict[Location, int]) -> None:
        self.path, self.lines = path, lines
        self.open: set[int] = set()
        self.seen: set[int] = set()

    def collect(self, node: Any, location: Location) -> None:
        if node is None:
            return
        if id(node) in self.open:
            line = node.start_mark.line + 1
            raise PlanError(f"{self.path}:{line}: this anchor contains itself; write the values out")
        self.lines.setdefault(location, node.start_mark.line + 1)
        if id(node) in self.seen:
            return
        self.seen.add(id(node))
        self.open.add(id(node))
        if node.id == "mapping":
            self._collect_mapping(node, location)
        elif node.id == "sequence":
            for position, value in enumerate(node.value):
                self.collect(value, (*location, position))
        self.open.remove(id(node))

    def _collect_mapping(self, node: Any, location: Location) -> None:
        keys: set[Any] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                raise PlanError(f"{self.path}:{line}: expected a name before the colon, got a list or a mapping")
            if key.value in keys:
                raise PlanError(f"{self.path}:{line}: the key {key.value!r} stands here a second time; keep one")
            keys.add(key.value)
            inner = (*location, key.value)
            self.lines[inner] = line
            self.collect(value, inner)


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
        f"{where}: {dotted or 'plan'}: {item['msg'].removeprefix('Value error, ')} (got {_SHORT.repr(item['input'])})"
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
