"""Casts of frozen weights that are kept change no bit, follow the weights, and are let go of."""

import gc
import weakref

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from torch.nn.functional import linear

from lightning_layerscope.training import InstructionDataModule, InstructionModule, add_lora
from lightning_layerscope.training.frozen_casts import FrozenCasts


def bfloat16():
    return torch.autocast("cpu", torch.bfloat16)


def casts_of(weights, monkeypatch):
    """Names of the weights that are cast from now on."""
    names, found, to = {id(weight): name for name, weight in weights}, [], torch.Tensor.to

    def spy(tensor, *args, **kwargs):
        if id(tensor) in names:
            found.append(names[id(tensor)])
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", spy)
    return found


def test_values_and_gradients_are_those_of_autocast_and_a_weight_is_cast_once(monkeypatch):
    torch.manual_seed(0)
    frozen, trained = torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    bias, inputs = torch.randn(5), torch.randn(3, 4, requires_grad=True)

    def outcome():
        with bfloat16():
            value = linear(inputs, frozen, bias) + linear(inputs, weight=trained) * linear(inputs, trained)
        return value, *torch.autograd.grad(value.sum(), (inputs, trained))

    expected = outcome()
    cast = casts_of([("frozen", frozen), ("trained", trained)], monkeypatch)
    with FrozenCasts():
        first, second = outcome(), outcome()
    assert cast == ["frozen"]
    for found in (first, second):
        assert [each.dtype for each in found] == [each.dtype for each in expected]
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_weight_that_changed_is_cast_again():
    weight, inputs, casts = torch.ones(2, 2), torch.ones(1, 2), FrozenCasts()
    with bfloat16(), casts:
        assert linear(inputs, weight).tolist() == [[2, 2]]
        weight.mul_(3)
        assert linear(inputs, weight).tolist() == [[6, 6]]


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(2, 2, dtype=torch.float64),
        torch.ones(2, 2, dtype=torch.bfloat16),
        torch.ones(2, 2, requires_grad=True),
        torch.inference_mode()(torch.ones)(2, 2),
    ],
    ids=["float64", "bfloat16", "trained", "inference"],
)
def test_other_weights_are_left_to_torch(weight):
    casts = FrozenCasts()
    with torch.no_grad(), bfloat16(), casts:
        inputs = torch.ones(1, 2, dtype=weight.dtype)
        assert linear(inputs, weight).tolist() == [[2, 2]]
    assert not casts._casts


def test_without_autocast_and_in_another_type_of_it():
    casts, weight, inputs = FrozenCasts(), torch.full((1, 1), 1 + 2**-9), torch.ones(1, 1)
    with casts:
        assert linear(inputs, weight).item() == 1 + 2**-9
        with bfloat16():
            assert linear(inputs, weight).item() == 1
        with torch.autocast("cpu", torch.float16):
            assert linear(inputs, weight).item() == 1 + 2**-9


@pytest.mark.parametrize(("precision", "kept"), [("bf16-mixed", True), ("32-true", False)])
def test_a_training_is_the_same_to_the_bit_and_keeps_nothing(model, tokenizer, tasks, tmp_path, precision, kept):
    made, state = [], {name: value.clone() for name, value in model.state_dict().items()}

    class Watched(InstructionModule):
        def on_fit_start(self):
            super().on_fit_start()
            made.append(weakref.ref(self._frozen_casts))

        def on_train_end(self):
            assert bool(self._frozen_casts._casts) == kept

    class Plain(InstructionModule):
        def on_fit_start(self):
            pass

    def trained(kind):
        seed_everything(0, verbose=False)
        model.load_state_dict(state)
        module = kind(add_lora(model), tokenizer, learning_rate=1e-2)
        data = InstructionDataModule(tasks, tokenizer, batch_size=4, max_length=128)
        trainer = Trainer(
            accelerator="cpu",
            precision=precision,
            max_steps=5,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, datamodule=data)
        values = {name: p.detach().clone() for name, p in module.model.named_parameters() if p.requires_grad}
        module.model.unload()
        return values

    ours, plain = trained(Watched), trained(Plain)
    assert ours
    assert all(torch.equal(value, plain[name]) for name, value in ours.items())
    gc.collect()
    assert [each() for each in made] == [None]


def test_compiled_models_keep_their_code(model):
    module = InstructionModule(model)
    module.on_fit_start()
    assert module._frozen_casts is not None
    module.model.compile()
    module.on_fit_end()
    module.on_fit_start()
    assert module._frozen_casts is None
