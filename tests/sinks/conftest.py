"""Records made of real profiles."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lightning_layerscope.measurements import Measurement, RunRecord
from lightning_layerscope.profiles import COLUMNS, LayerProfile
from lightning_layerscope.sinks import PictureSink
from lightning_layerscope.sinks.pictures import draw_pictures
from lightning_layerscope.transitions import find_transitions
from tests.loopback import serving
from tests.offline_run import read_offline


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


def picture(sink, record, host_step, *, last=False):
    """What the drawing process does for the last measurement of a record, here at once."""
    if isinstance(sink, PictureSink) and sink.wants_pictures(record):
        measurement = record.measurements[-1]
        pictures = draw_pictures(measurement, record)
        return sink.log_pictures(pictures, step=measurement.step, host_step=host_step, last=last)
    return True


def replay(sink, record, *, status="finished", host_step=lambda step: step):
    """What a monitor does over a run, from a complete record."""
    growing = RunRecord(record.config, run_id=record.run_id)
    sink.start(growing)
    for measurement in record.measurements:
        growing.add(measurement)
        sink.log(measurement, growing, host_step(measurement.step))
        assert picture(sink, growing, host_step(measurement.step), last=True)
    sink.finish(growing, status)


def twenty_steps(sink, run, *, each_step, reference):
    """A user who logs with ``step=`` before, during and after; measurements at steps 0, 5, 10, 15 and 19.

    Pictures are drawn so slowly that two measurements' are ready at once.
    """
    record = make_record((0, 5, 10, 15, 19), tasks=4, clusters=2, layers=8, reference=reference)
    waiting = list(record.measurements)
    growing = RunRecord(record.config, run_id=record.run_id)
    late = []
    sink.start(growing)
    for step in range(20):
        for part in range(each_step):
            run.log({f"user/{part}": float(step)}, step=step)
            if part == 0 and waiting and waiting[0].step == step:
                growing.add(waiting.pop(0))
                sink.log(growing.measurements[-1], growing, step)
                late.append(RunRecord(record.config, growing.measurements))
            while step % 10 > 5 and late and picture(sink, late[0], step):
                late.pop(0)
    for each in late:
        assert picture(sink, each, 19, last=True)
    sink.finish(growing, "finished")
    for step in (20, 21):
        run.log({"user/0": float(step)}, step=step)


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
    functions = (names, make_profile, make_measurement, make_record, picture, replay, twenty_steps, read_offline)
    return SimpleNamespace(**{function.__name__: function for function in functions})


@pytest.fixture
def server(monkeypatch):
    """A stand-in of W&B's server, which the test's runs log to."""
    with serving(monkeypatch) as server:
        yield server
