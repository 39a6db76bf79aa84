"""A metric logged as an object in a LightningModule: computed at the end of the epoch, reset, exact under bfloat16."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from lightning_layerscope.functional import linear_cka
from lightning_layerscope.metrics import LinearCKA

N = 21  # the last batch holds a single example


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 6, generator=generator), torch.randn(N, 4, generator=generator)


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)
        self.cka = LinearCKA()

    def validation_step(self, batch):
        ids, x, y = batch
        self.cka.update(x, y + self.layer(x.to(self.layer.weight.dtype)).float() * 0, ids)
        self.log("cka", self.cka, on_step=False, on_epoch=True)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
def test_logged_at_the_end_of_every_epoch(precision, tmp_path, tolerances):
    x, y = data()
    loader = DataLoader(TensorDataset(torch.arange(N), x, y), batch_size=5)
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    if precision == "bf16-true":
        # Lightning casts the batch as well: the states that were seen are the rounded ones.
        x, y = x.bfloat16().float(), y.bfloat16().float()
    module = Module()
    for _ in range(2):
        found = trainer.validate(module, loader, verbose=False)[0]["cka"]
        assert found == pytest.approx(float(linear_cka(x, y)), abs=tolerances.METRIC)
