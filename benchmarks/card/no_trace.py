"""A run with the monitor is bitwise the run without it, with deterministic kernels; and the comparison can fail."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from card.setting import Setting, fit, make_module
from lightning_layerscope.callbacks import LayerSimilarityMonitor

HEAD = ("condition", "measurements, failures", "plain run, twice", "with the monitor", "one random number drawn beside")
STEPS, BATCH, LENGTH = 10, 4, 64
#: precision, adapters, gradient checkpointing
CONDITIONS = {
    "float32": ("32-true", False, False),
    "bf16-mixed": ("bf16-mixed", False, False),
    "16-mixed with loss scaler": ("16-mixed", False, False),
    "LoRA, bf16-mixed, adapters switched off for the reference": ("bf16-mixed", True, False),
    "gradient checkpointing, bf16-mixed": ("bf16-mixed", False, True),
}


def make(setting: Setting, lora: bool, checkpointing: bool) -> nn.Module:
    """With dropout, so that a random number too many shows."""
    model = setting.model(setting.size.small, dropout=0.1)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]))
    return model.train()


def run(setting: Setting, precision: str, lora: bool, checkpointing: bool, callbacks: list[Any]) -> dict[str, Any]:
    """All that a run leaves behind."""
    module = make_module(make(setting, lora, checkpointing), lr=1e-3)
    rows = setting.rows(setting.size.small, STEPS * BATCH, LENGTH)
    torch.manual_seed(1)
    trainer = fit(setting, module, rows, BATCH, precision=precision, max_steps=STEPS, callbacks=callbacks)
    kept: dict[str, Any] = {"losses": torch.stack(module.losses).cpu(), "generator": torch.get_rng_state()}
    kept |= {f"weight {name}": tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    for index, state in enumerate(trainer.optimizers[0].state.values()):
        kept |= {f"optimiser {index} {name}": torch.as_tensor(value).cpu() for name, value in state.items()}
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None:
        kept["loss scale"] = torch.tensor(list(scaler.state_dict().values()), dtype=torch.float64)
    if setting.on_card:
        kept["generator of the card"] = torch.cuda.get_rng_state()
    return kept


def difference(first: dict[str, Any], second: dict[str, Any]) -> str:
    """In words, bitwise."""
    found = [name for name in first.keys() | second.keys() if name not in first or name not in second]
    found += [name for name in first.keys() & second.keys() if not torch.equal(first[name], second[name])]
    return f"{len(found)} of {len(first)} differ: {sorted(found)[0]}" if found else f"all {len(first)} tensors equal"


def drawing(device: torch.device) -> Any:
    """A callback that leaves a trace: it draws one number from the device's generator after the second step."""
    import pytorch_lightning as pl

    class Drawing(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
            if trainer.global_step == 2:
                torch.rand(1, device=device)

    return Drawing()


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Kernels that give the same bits each time, or refuse."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    """One row a condition."""
    probes = setting.probes((4, 8, 4, 40), setting.size.small.vocabulary)
    for name, (precision, lora, checkpointing) in CONDITIONS.items():
        if precision == "16-mixed" and not setting.on_card:
            yield name, "needs a card", "", "", ""
            continue
        condition = (precision, lora, checkpointing)
        with tempfile.TemporaryDirectory() as folder, deterministic():
            monitor = LayerSimilarityMonitor(
                probes,
                reference="base" if lora else "initial",
                every_n_steps=2,
                max_overhead=None,
                output_dir=str(Path(folder) / "layerscope"),
                report=False,
                verbose=False,
            )
            plain = run(setting, *condition, [])
            again = difference(plain, run(setting, *condition, []))
            watched = difference(plain, run(setting, *condition, [monitor]))
            drawn = difference(plain, run(setting, *condition, [drawing(setting.device)]))
        failures = sum(monitor.monitor.failures.counts.values())
        yield name, f"{len(monitor.monitor.record)}, {failures}", again, watched, drawn
