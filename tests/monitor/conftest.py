"""A tiny model that trains in a blink, its probes, and a way to fit it in either namespace."""

import os
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")
VOCABULARY, STEPS = 64, 6
HERE = Path(__file__).parent


def make_probes(tasks=8, examples=12, longest=9, vocabulary=VOCABULARY, answers=0, seed=0):
    from lightning_layerscope.probes import Probe, ProbeSet

    generator, ends = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 100)
    probes = []
    for task in range(tasks):
        lengths = [3 + (task + row) % (longest - 2) for row in range(examples)]
        ids = tuple(tuple(torch.randint(3, vocabulary, (n,), generator=generator).tolist()) for n in lengths)
        names = tuple(f"t{task}/{row}" for row in range(examples))
        texts = tuple(f"prompt {name}" for name in names)
        said = torch.randint(3, vocabulary, (examples, answers), generator=ends).tolist() if answers else []
        probes.append(Probe(f"t{task}", f"c{task % 3}", names, texts, ids, answers=tuple(map(tuple, said))))
    return ProbeSet(probes, tokenizer_name="tiny", vocab_size=vocabulary)


def make_llama(layers=4, **config):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    settings = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "attention_dropout": 0.2}
    settings |= {"vocab_size": VOCABULARY, "num_hidden_layers": layers, "max_position_embeddings": 64}
    model = LlamaForCausalLM(LlamaConfig(**{**settings, **config}))
    model.train()
    return model


def make_rows(count=48, length=10):
    return torch.randint(3, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))


def make_module(pl, model=None, *, manual=False, lr=1e-2):
    """A LightningModule of a namespace around a causal language model; keeps its losses."""

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = make_llama() if model is None else model
            self.lr, self.losses = lr, []
            self.automatic_optimization = not manual

        def forward(self, batch):
            return self.model(input_ids=batch, labels=batch).loss

        def on_train_batch_start(self, batch, index):
            sums = [None if p.grad is None else p.grad.double().sum().item() for p in self.parameters()]
            self.held = [*getattr(self, "held", []), sums]

        def training_step(self, batch, index):
            loss = self(batch)
            self.losses.append(loss.item())
            if manual:
                for optimizer in self.optimizers():
                    optimizer.zero_grad()
                self.manual_backward(loss)
                for optimizer in self.optimizers():
                    optimizer.step()
                return None
            return loss

        def validation_step(self, batch, index, dataloader_idx=0):
            self.log("val_loss", self(batch), add_dataloader_idx=dataloader_idx > 0)

        def configure_optimizers(self):
            parameters = [p for p in self.parameters() if p.requires_grad]
            if manual:
                return [torch.optim.SGD(parameters[::2], self.lr), torch.optim.Adam(parameters[1::2], self.lr)]
            return torch.optim.AdamW(parameters, self.lr)

    return Module()


def seed(value=0):
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002
    torch.manual_seed(value)


def fingerprint(module):
    """What a run leaves behind: losses, gradients, parameters, buffers, the state of every random number generator."""
    draws = torch.get_rng_state().clone(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    return SimpleNamespace(
        losses=list(module.losses),
        held=list(getattr(module, "held", ())),
        tensors={name: tensor.detach().clone() for name, tensor in module.state_dict(keep_vars=True).items()}
        | {f"buffer {name}": buffer.clone() for name, buffer in module.named_buffers()},
        modes={name: part.training for name, part in module.named_modules()},
        gradients={name: p.requires_grad for name, p in module.named_parameters()},
        draws=draws,
    )


def differences(first, second):
    """What differs between two fingerprints, in words; bitwise."""
    found = [] if first.losses == second.losses and len(first.losses) > 1 else ["losses"]
    found += [] if first.held == second.held else ["gradients"]
    found += [name for name in first.tensors.keys() | second.tensors.keys() if not _same(first, second, name)]
    found += ["modes"] if first.modes != second.modes else []
    found += ["requires_grad"] if first.gradients != second.gradients else []
    same = torch.equal(first.draws[0], second.draws[0]) and first.draws[1] == second.draws[1]
    return found + ([] if same and (first.draws[2] == second.draws[2]).all() else ["random number generators"])


def _same(first, second, name):
    if name not in first.tensors or name not in second.tensors:
        return False
    return torch.equal(first.tensors[name], second.tensors[name])


QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="session")
def tiny():
    """The functions of this file, for tests that build their own runs."""
    return SimpleNamespace(
        probes=make_probes,
        llama=make_llama,
        rows=make_rows,
        module=make_module,
        seed=seed,
        fingerprint=fingerprint,
        differences=differences,
        quiet=QUIET,
        steps=STEPS,
        vocabulary=VOCABULARY,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Only tests marked with ``draws`` start the process that draws, their fixtures of any scope included."""
    from tests.monitor.nothing_drawn import NothingDrawn

    with pytest.MonkeyPatch.context() as patch:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("draws") is None:
            patch.setattr("lightning_layerscope.monitor.drawings.DrawingProcess", NothingDrawn)
        return (yield)
