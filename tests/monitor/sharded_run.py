"""One training with FSDP2 in two gloo processes, watched passively; run by ddp_run.py."""

import runpy
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import lightning.pytorch as pl  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch.strategies import ModelParallelStrategy  # noqa: E402
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from lightning_layerscope.callbacks import LayerSimilarityMonitor  # noqa: E402


def main(out: Path, what: str) -> None:
    tiny = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    tiny["seed"]()

    class Module(type(tiny["make_module"](pl))):
        def configure_model(self):
            for layer in self.model.model.layers:
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])
            fully_shard(self.model, mesh=self.device_mesh["data_parallel"])

        def validation_step(self, batch, index, dataloader_idx=0):
            self.model(input_ids=batch, labels=batch)

    module, rows = Module(), tiny["make_rows"]()
    options = {"max_overhead": None, "report": False, "verbose": False}
    callbacks = []
    if what != "sharded plain":
        callbacks = [
            LayerSimilarityMonitor(mode="passive", output_dir=str(out / "results"), **options),
        ]

    def fit(module, callbacks):
        trainer = pl.Trainer(
            **tiny["QUIET"],
            max_steps=4,
            accelerator="cpu",
            devices=2,
            strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
            callbacks=callbacks,
            num_sanity_val_steps=-1,
            val_check_interval=2,
            default_root_dir=str(out),
        )
        # 9 rows over two ranks: the sampler repeats one.
        loaders = {"a": DataLoader(rows[:9], 2), "b": DataLoader(rows[9:18], 2)}
        trainer.fit(module, DataLoader(rows, batch_size=4), loaders)
        return trainer

    trainer = fit(module, callbacks)
    whole = get_model_state_dict(module.model, options=StateDictOptions(full_state_dict=True))
    if trainer.is_global_zero:
        counts = [dict(callback.monitor.failures.counts) for callback in callbacks]
        out.mkdir(exist_ok=True)
        torch.save({"model": whole, "losses": module.losses, "failures": counts}, out / "end.pt")
    if callbacks:  # on every rank alike, before the first step
        probes, refused = tiny["make_probes"](tasks=2), ""
        try:
            fit(Module(), [LayerSimilarityMonitor(probes, output_dir=str(out / "active"), **options)])
        except ValueError as error:
            refused = str(error)
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else trainer.global_rank
        (out / f"refused-{rank}.txt").write_text(refused)
