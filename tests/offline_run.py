"""A reader of the files that offline W&B runs write."""

import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class OfflineRun:
    """What an offline run's file holds."""

    history: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    globs: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    files: Path = Path()
    raw: bytes = b""
    id: str = ""
    exited: bool = False

    def column(self, key: str) -> list[Any]:
        return [row[key] for row in self.history if key in row]


def read_offline(folder: Path) -> OfflineRun:
    """Read the one run below ``folder``: records in 32 KiB blocks of a leveldb-style log."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.rglob("run-*.wandb")
    run = OfflineRun(files=path.parent / "files", raw=path.read_bytes())
    for payload in _payloads(run.raw):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            run.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
            run.sizes.append(sum(len(_key(item)) + len(item.value_json) for item in record.history.item))
        elif kind == "metric":
            if record.metric.glob_name:
                run.globs.append(record.metric.glob_name)
            else:
                run.metrics[record.metric.name] = record.metric.step_metric
                if record.metric.options.hidden:
                    run.hidden.add(record.metric.name)
        elif kind == "config":
            run.config.update({_key(item): json.loads(item.value_json) for item in record.config.update})
        elif kind == "run":
            run.id = record.run.run_id
            run.config.update({_key(item): json.loads(item.value_json) for item in record.run.config.update})
        elif kind == "summary":
            run.summary.update({_key(item): json.loads(item.value_json) for item in record.summary.update})
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            run.artifacts.append(record.request.log_artifact.artifact)
        elif kind == "exit":
            run.exited = True
    return run


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _payloads(data: bytes):
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, position)
        body = data[position + 7 : position + 7 + length]
        assert zlib.crc32(bytes([kind]) + body) & 0xFFFFFFFF == checksum
        position += 7 + length
        parts.append(body)
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []
