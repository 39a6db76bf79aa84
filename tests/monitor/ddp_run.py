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

from lightning_layerscope.callbacks import Extraction, LayerSimilarityMonitor  # noqa: E402
from lightning_layerscope.monitor import active  # noqa: E402


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
    callbacks = []
    if what != "plain":
        callbacks = [
            LayerSimilarityMonitor(
                tiny["make_probes"](tasks=5, examples=6),
                every_n_steps=2,
                max_overhead=None,
                output_dir=str(out / "results"),
                extraction=Extraction(ranks="zero" if what == "rank 0 alone" else "share"),
                report=False,
                verbose=False,
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
        torch.save({"model": module.model.state_dict(), "losses": module.losses, "failures": counts}, out / "end.pt")
    active.extract_hidden_states = real


if __name__ == "__main__":
    place, *wanted = sys.argv[1:]
    for name in wanted:  # one start of the processes serves all of them
        folder = Path(place) / name.replace(" ", "-")
        if name.startswith("sharded"):
            runpy.run_path(str(Path(__file__).with_name("sharded_run.py")))["main"](folder, name)
        else:
            main(folder, name)
