"""What the sections share: sizes, a model, prompts, a clock that waits for the device, and a run under Lightning."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_layerscope.probes import Probe, ProbeSet

#: Prompts: (tasks, examples per task, shortest, longest).
Prompts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """A Llama's shape."""

    layers: int
    width: int
    intermediate: int
    heads: int
    vocabulary: int


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    large: Shape  # whose states, cost and memory are measured
    small: Shape  # trained again and again for the bitwise comparison
    batch: tuple[int, int]  # rows and tokens per row of a training step of the large model
    exact: Prompts
    measured: dict[str, Prompts]
    cka: tuple[tuple[int, int, int], ...]  # layers, examples, width
    seconds: float  # of the run whose budget is looked at


SIZES = {
    "full": Size(
        large=Shape(24, 2048, 8192, 16, 32_000),  # 1.7 billion parameters
        small=Shape(6, 1024, 2816, 16, 32_000),
        batch=(8, 512),
        exact=(4, 16, 20, 300),
        measured={"8 x 16": (8, 16, 16, 128), "24 x 64": (24, 64, 16, 256)},
        cka=((32, 64, 4096), (32, 256, 4096), (80, 512, 8192)),
        seconds=30.0,
    ),
    "small": Size(
        large=Shape(3, 32, 64, 2, 128),
        small=Shape(2, 16, 32, 2, 128),
        batch=(2, 16),
        exact=(2, 4, 3, 20),
        measured={"3 x 6": (3, 6, 3, 12)},
        cka=((2, 8, 16),),
        seconds=1.0,
    ),
}


@dataclass(frozen=True)
class Setting:
    """Where and at which size to measure."""

    device: torch.device
    size: Size

    @property
    def on_card(self) -> bool:
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.on_card:
            torch.cuda.synchronize()

    def seconds(self, function: Callable[[], Any], rounds: int = 1) -> float:
        """Median time of a call, the first of ``rounds + 1`` left out."""
        times = []
        for _ in range(rounds + 1):
            self.wait()
            begin = time.perf_counter()
            function()
            self.wait()
            times.append(time.perf_counter() - begin)
        return float(torch.tensor(times[1:], dtype=torch.float64).median())

    def peak(self, function: Callable[[], Any]) -> float:
        """Most memory of the card in GiB while the function runs, what it held before included; NaN on a CPU."""
        if not self.on_card:
            function()
            return float("nan")
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**30

    def model(self, shape: Shape, *, dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> nn.Module:
        """A random Llama; the same one at every call."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=1024,
            attention_dropout=dropout,
            use_cache=False,
        )
        torch.manual_seed(0)
        with self.device:
            return LlamaForCausalLM(config).to(dtype)

    def probes(self, prompts: Prompts, vocabulary: int) -> ProbeSet:
        """Random tokens."""
        tasks, examples, shortest, longest = prompts
        generator = torch.Generator().manual_seed(0)
        made = []
        for task in range(tasks):
            names = tuple(f"{task}/{row}" for row in range(examples))
            lengths = torch.randint(shortest, longest + 1, (examples,), generator=generator).tolist()
            ids = tuple(tuple(torch.randint(3, vocabulary, (n,), generator=generator).tolist()) for n in lengths)
            made.append(Probe(f"task{task}", f"cluster{task % 4}", names, names, ids))
        return ProbeSet(made, vocab_size=vocabulary)

    def rows(self, shape: Shape, count: int, length: int) -> Tensor:
        """Random training rows, on the CPU."""
        generator = torch.Generator().manual_seed(1)
        return torch.randint(3, shape.vocabulary, (count, length), generator=generator)


def make_module(model: nn.Module, lr: float) -> Any:
    """A LightningModule around a causal language model; keeps its losses."""
    import pytorch_lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.losses = model, []

        def training_step(self, batch: Tensor, index: int) -> Tensor:
            loss = self.model(input_ids=batch, labels=batch).loss
            self.losses.append(loss.detach())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr)

    return Module()


def fit(setting: Setting, module: Any, rows: Tensor, batch: int, **options: Any) -> Any:
    """Train under Lightning with nothing but what is asked for; the trainer."""
    import pytorch_lightning as pl

    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    with quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if setting.on_card else "cpu", devices=1, max_epochs=-1, **{**silent, **options}
        )
        trainer.fit(module, DataLoader(rows, batch_size=batch, shuffle=True))
    return trainer


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advice and tables are no part of the result."""
    log = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
