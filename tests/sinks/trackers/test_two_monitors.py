"""Two monitors in one run of a tracker: whatever each of them logs begins with a name of its own."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from lightning_layerscope.measurements.alert import Alert
from lightning_layerscope.sinks.tracker import TrackerSink
from lightning_layerscope.sinks.trackers import CLASSES, tracker_of

OTHER = "layerscope_early"


class Calls:
    """Whatever is called or indexed; every string that comes by is kept."""

    def __init__(self, seen):
        self._seen = seen

    def __getattr__(self, name):
        if name.startswith("_") or name in ("experiment", "log_hyperparams"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key):
        return self(key)

    def __call__(self, *values, **named):
        self._seen.update(_strings([values, named]))
        return self


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)


HANDLES = {
    "aim": ("aim", "Run"),
    "clearml": ("clearml", "Task"),
    "comet": ("comet_ml", "Experiment"),
    "csv": ("pytorch_lightning", "CSVLogger"),
    "dvclive": ("dvclive", "Live"),
    "litlogger": ("pytorch_lightning", "LitLogger"),
    "mlflow": ("pytorch_lightning", "MLFlowLogger"),
    "swanlab": ("swanlab", "Run"),
    "trackio": ("trackio", "Run"),
}
"""Kind of tracker -> package and class of a handle that is known as one."""


def _stand_in(kind, folder, monkeypatch):
    """A tracker's handle and its library, and the names that they have got."""
    seen = set()
    for name in ("aim", "litlogger", "mlflow", "mlflow.entities", "swanlab", "trackio"):
        module = ModuleType(name)
        module.Image = module.Table = lambda *_, **__: None
        module.Metric = lambda *values: values
        module.alert = Calls(seen)
        monkeypatch.setitem(sys.modules, name, module)
    package, name = HANDLES[kind]
    handle = type(name, (Calls,), {"__module__": package})(seen)
    handle.log_dir, handle.run_id = str(folder), "run"
    if kind in ("litlogger", "mlflow"):
        handle.experiment = Calls(seen)
    return handle, seen


def _named(seen, folder):
    """What was logged, by what a tracker would lay over each other."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files | {name for name in seen if name.startswith("layerscope")}


@pytest.mark.parametrize("kind", CLASSES)
def test_nothing_of_two_monitors_is_logged_under_one_name(kind, kit, tried, tmp_path, monkeypatch):
    record = kit.make_record((0, 20), tasks=4, clusters=2, layers=3)
    found = []
    for root in ("layerscope", OTHER):
        folder = tmp_path / root
        handle, seen = _stand_in(kind, folder, monkeypatch)
        sink = TrackerSink(tracker_of(handle), root=root)
        tried.replay(sink, record)
        sink.alert(Alert("collapse", "step 20: planted"))
        found.append(_named(seen, folder))
    ours, other = found
    assert len(ours) >= 8, "keys of numbers and of pictures; ClearML splits them"
    assert other == {name.replace("layerscope", OTHER, 1) for name in ours}
    assert all(name.startswith(OTHER) for name in other)


def test_alerts_of_wandb_name_the_monitor():
    from lightning_layerscope.sinks import WandbSink

    sent = []
    run = SimpleNamespace(config={}, summary={}, log=None, define_metric=None, alert=lambda **call: sent.append(call))
    for root in ("layerscope", OTHER):
        WandbSink(run, root=root).alert(Alert("collapse", "step 20: planted"))
    assert [call["title"] for call in sent] == ["layerscope: collapse", f"{OTHER}: collapse"]
