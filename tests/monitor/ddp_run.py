"""Trainings in two gloo processes with the monitor attached; started by test_distributed_monitor.py."""

import os
import runpy
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import lightning.pytorch as pl  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch import Trainer  # noqa: E402
from lightning.pytorch.strategies import DDPStrategy  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from lightning_layerscope.callbacks import Actions, Extraction, LayerSimilarityMonitor, Signals  # noqa: E402
from lightning_layerscope.measurements.alert import Alert  # noqa: E402
from lightning_layerscope.monitor import active, monitor  # noqa: E402


def alarm(measurement, earlier, baseline, *, tolerance):
    """An alert at step 2, on the process that judges."""
    if measurement.step == 2:
        measurement.alerts.append(Alert("collapse", "planted"))


def main(out: Path, what: str) -> None:
    tiny = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    real, calls = active.extract_hidden_states, []

    def harmed(*args, **kwargs):
        calls.append(1)
        if rank == 1 and len(calls) > 1 and what == "rank 1 fails":
            raise torch.OutOfMemoryError("no memory on rank 1")
        if rank == 1 and len(calls) > 1 and what == "rank 1 dies":
            os._exit(3)
        return real(*args, **kwargs)

    active.extract_hidden_states = harmed
    real_judge = monitor.judge
    if what == "stopped":
        monitor.judge = alarm
    callbacks, options = [], {"extraction": Extraction(ranks="zero" if what == "rank 0 alone" else "share")}
    if what in ("shared", "stopped"):
        every = {"effective_rank", "answer_loss", "kl", "separability", "gradient_conflict"}
        options |= {"signals": Signals(**dict.fromkeys(every, True), update=True, update_from="copy")}
        options |= {"retention": tiny["make_probes"](tasks=3, examples=6, answers=2, seed=3)}
    if what == "stopped":
        options |= {"actions": Actions(stop_when="collapse", callback_metrics=True)}
    if what != "plain":
        callbacks = [
            LayerSimilarityMonitor(
                tiny["make_probes"](tasks=5, examples=6, answers=3),
                every_n_steps=2,
                max_overhead=None,
                output_dir=str(out / "results"),
                report=False,
                verbose=False,
                **options,
            )
        ]
    tiny["seed"]()
    module = tiny["make_module"](pl)
    trainer = Trainer(
        **tiny["QUIET"],
        max_steps=4,
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(process_group_backend="gloo"),
        callbacks=callbacks,
        default_root_dir=str(out),
    )
    trainer.fit(module, DataLoader(tiny["make_rows"](), batch_size=4))
    if trainer.is_global_zero:
        counts = dict(callbacks[0].monitor.failures.counts) if callbacks else {}
        out.mkdir(exist_ok=True)
        end = {"model": module.model.state_dict(), "losses": module.losses, "failures": counts}
        torch.save(end | {"step": trainer.global_step}, out / "end.pt")
    if what == "stopped":  # on every rank
        assert "layerscope/retention/loss" in trainer.callback_metrics
    monitor.judge = real_judge
    active.extract_hidden_states = real


if __name__ == "__main__":
    place, *wanted = sys.argv[1:]
    for name in wanted:  # one start of the processes serves all of them
        folder = Path(place) / name.replace(" ", "-")
        if name.startswith("sharded"):
            runpy.run_path(str(Path(__file__).with_name("sharded_run.py")))["main"](folder, name)
        else:
            main(folder, name)
