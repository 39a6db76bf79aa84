"""A probe set as one JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lightning_layerscope.atomic import replace_file
from lightning_layerscope.json_files import read_json
from lightning_layerscope.probes.digests import TokenChoice, digest, token_choice_name
from lightning_layerscope.probes.probe import Probe

if TYPE_CHECKING:
    from lightning_layerscope.probes.base import BaseProbeSet

    Kind = TypeVar("Kind", bound=BaseProbeSet)

FORMAT = "lightning-layerscope probes"
VERSION = 3
_OLDEST = 1  # without notes, last tokens, and the digest of the whole content; 2: without answers
_META = ("tokenizer_name", "vocab_size", "template", "max_length", "split", "seed")
_ROWS = ("example_ids", "texts", "input_ids", "sources", "last_tokens")
_AGAIN = "make the probes again from their tasks"


def is_probe_file(path: str | Path) -> bool:
    """Whether a path is a file written by ``save_probes``."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return FORMAT in file.read(200)


def save_probes(probes: BaseProbeSet, path: str | Path) -> Path:
    """Write a probe set, prompt texts included, atomically; an existing file is replaced."""
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    content |= {"examples_digest": probes.examples_digest, "tokens_digest": probes.tokens_digest}
    content |= {"token_choice": token_choice_name(probes.token_choice)}
    content |= {name: getattr(probes, name) for name in _META}
    content["notes"] = probes.notes
    content["probes"] = [vars(probe) for probe in probes.values()]
    content["content_digest"] = digest(content)
    with replace_file(path) as passing:
        passing.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return Path(path)


def load_probes(kind: type[Kind], path: str | Path, token_choice: TokenChoice | None) -> Kind:
    """Read a probe set and check it against the digests it was saved with."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no probe file at {path}")
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is no probe file, or it was cut off: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no probe file: expected one written by ProbeSet.save")
    version = content.get("version")
    if not isinstance(version, int) or not _OLDEST <= version <= VERSION:
        raise ValueError(f"{path} has version {version} of the probe format, this release reads {VERSION}; {_AGAIN}")
    try:
        choice = _token_choice(path, content["token_choice"], token_choice)
        rows = [_probe(row) for row in content["probes"]]
        meta = {name: content[name] for name in _META}
        probes = kind(rows, token_choice=choice, notes=content.get("notes", ()), **meta)
        here = {name: getattr(probes, name) for name in ("examples_digest", "tokens_digest")}
        stored = {name: content[name] for name in here}
        if version > _OLDEST:
            stored["content_digest"] = content.pop("content_digest")
            here["content_digest"] = digest(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}; {_AGAIN}") from error
    for name, value in here.items():
        if value != stored[name]:
            raise ValueError(
                f"{path} was changed after it was saved: its {name} is {value[:16]}, the file says "
                f"{str(stored[name])[:16]}; {_AGAIN}"
            )
    return probes


def _token_choice(path: Path, saved: str, given: TokenChoice | None) -> TokenChoice:
    if given is None:
        try:
            token_choice_name(saved)
        except ValueError:
            raise ValueError(f"{path} was saved with the callable {saved}; pass it as token_choice=") from None
        return saved
    if token_choice_name(given) != saved:
        raise ValueError(f"{path} was saved with token_choice {saved!r}, not {token_choice_name(given)!r}")
    return given


def _probe(row: dict[str, Any]) -> Probe:
    rows = {name: tuple(row[name]) for name in _ROWS if name in row}
    rows["input_ids"] = tuple(tuple(ids) for ids in row["input_ids"])
    rows["answers"] = tuple(tuple(ids) for ids in row.get("answers", ()))
    return Probe(**{**row, **rows})
