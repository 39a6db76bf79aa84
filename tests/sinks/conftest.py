"""Records made of real profiles, and a reader of the files that offline W&B runs write."""

import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.measurements import Measurement, RunRecord
from lightning_layerscope.profiles import COLUMNS, LayerProfile
from lightning_layerscope.transitions import find_transitions


def names(tasks: int, clusters: int) -> dict[str, str]:
    return {f"task_{i:02d}": f"cluster {i % clusters}" for i in range(tasks)}


def make_profile(
    step, clusters, layers=12, *, reference="initial", share=0.0, undefined=True, measures=("cka",), seed=0
):
    """A curve that falls over the middle layers by ``share``; the last task is undefined at layer 1."""
    random = np.random.default_rng(seed + step)
    ramp = np.clip((np.arange(1, layers + 1) - 0.3 * layers) / (0.25 * layers), 0, 1)
    rows = []
    for measure in measures:
        for position, (task, cluster) in enumerate(clusters.items()):
            effect = share * (0.5 + 0.5 * (position % 5) / 5)
            noise = random.normal(0, 0.004, layers) if share else np.zeros(layers)
            for layer, value in enumerate(1 - effect * ramp - np.abs(noise), start=1):
                hole = undefined and position == len(clusters) - 1 and layer == 1
                number, reason = (np.nan, "zero variance") if hole else (value, "")
                rows.append(
                    (step, layer, task, cluster, measure, "debiased", number, number - 0.01, number + 0.01, reason)
                )
    meta = {
        "measure": measures[0],
        "reference": reference,
        "reference_digest": "5e" * 32,
        "examples_digest": "ab" * 32,
        "tokens_digest": "cd" * 32,
        "model_name": "tiny-llama",
        "num_layers": layers,
        "clusters": clusters,
        "tasks": list(clusters),
    }
    return LayerProfile(pd.DataFrame(rows, columns=list(COLUMNS)), meta)


def make_measurement(step, clusters, layers=12, **options):
    profile = make_profile(step, clusters, layers, **options)
    random = np.random.default_rng(step)
    cosines = np.atleast_2d(np.corrcoef(random.normal(size=(len(clusters), 2 * len(clusters)))))
    distance = np.abs(np.subtract.outer(np.arange(layers), np.arange(layers)))
    return Measurement(
        step=step,
        profile=profile,
        transition=find_transitions(profile, resamples=50),
        layer_x_layer=np.exp(-distance / layers),
        task_x_task=dict.fromkeys((1, layers // 2, layers), cosines),
        seconds=0.25,
        overhead=0.0125,
        warnings=["layer 3: one dimension holds 97 % of the variance"],
    )


def make_record(steps=(0, 20, 40), tasks=16, clusters=4, layers=12, *, config=None, **options):
    groups = names(tasks, clusters)
    settings = {"role": "training", "cadence": "every 20 steps", "measure": "cka", "estimator": "debiased"}
    record = RunRecord({**settings, **(config or {})})
    for position, step in enumerate(steps):
        share = 0.5 * position / max(1, len(steps) - 1)
        record.add(make_measurement(step, groups, layers, share=share, **options))
    return record


def replay(sink, record, *, status="finished", host_step=lambda step: step):
    """What a monitor does over a run, from a complete record."""
    growing = RunRecord(record.config, run_id=record.run_id)
    sink.start(growing)
    for measurement in record.measurements:
        growing.add(measurement)
        sink.log(measurement, growing, host_step(measurement.step))
    sink.finish(growing, status)


def twenty_steps(sink, run, *, each_step, reference):
    """A user who logs with ``step=`` before, during and after; measurements at steps 0, 5, 10, 15 and 19."""
    record = make_record((0, 5, 10, 15, 19), tasks=4, clusters=2, layers=8, reference=reference)
    waiting = list(record.measurements)
    growing = RunRecord(record.config, run_id=record.run_id)
    sink.start(growing)
    for step in range(20):
        for part in range(each_step):
            run.log({f"user/{part}": float(step)}, step=step)
            if part == 0 and waiting and waiting[0].step == step:
                growing.add(waiting.pop(0))
                sink.log(growing.measurements[-1], growing, step)
    sink.finish(growing, "finished")
    for step in (20, 21):
        run.log({"user/0": float(step)}, step=step)


@dataclass
class OfflineRun:
    """What an offline run's file holds."""

    history: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    globs: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    files: Path = Path()
    raw: bytes = b""
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
        elif kind == "config":
            run.config.update({_key(item): json.loads(item.value_json) for item in record.config.update})
        elif kind == "run":
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


@pytest.fixture
def offline_run(tmp_path):
    """Start an offline run in a folder of its own; ``read()`` ends it and reads its file."""
    import wandb

    started = []

    def start(**options):
        run = wandb.init(mode="offline", dir=tmp_path, project="layerscope-test", **options)
        started.append(run)

        def read():
            run.finish()
            # finish() can return before the file is complete.
            wandb.teardown()
            return read_offline(tmp_path)

        return run, read

    yield start
    if wandb.run is not None:
        wandb.run.finish()
    wandb.teardown()


@pytest.fixture(scope="session")
def kit():
    """The functions above: test files cannot import from here."""
    functions = (names, make_profile, make_measurement, make_record, replay, twenty_steps, read_offline)
    return SimpleNamespace(**{function.__name__: function for function in functions})
