"""With a fixed seed a run is bitwise the same with and without the monitor; and the comparison can fail."""

import dataclasses

import lightning.pytorch as pl
import pytest
import torch
import transformers
from lightning.pytorch.callbacks import LearningRateFinder, StochasticWeightAveraging
from lightning.pytorch.loggers import WandbLogger
from torch.ao.quantization import default_fused_act_fake_quant, default_fused_per_channel_wt_fake_quant
from torch.utils.data import DataLoader

from lightning_layerscope.callbacks import LayerSimilarityMonitor, Schedule, Signals


def lora(tiny, *, freeze_a=False, **config):
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    model = peft.get_peft_model(tiny.llama(**config), settings)
    if freeze_a:
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.requires_grad_(False)
    return model


def in_eval(model, part=None):
    (model if part is None else part(model)).eval()
    return model


def checkpointing(model):
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def fake_quantised(model, kind, target):
    """Quantisation-aware training: observers that learn in evaluation mode too, by a kernel that raises no version."""
    for layer in model.model.layers:
        linear = layer.self_attn.q_proj
        linear.fake = kind()

        def forward(x, linear=linear):
            if target == "weight":
                return torch.nn.functional.linear(x, linear.fake(linear.weight), linear.bias)
            return torch.nn.functional.linear(linear.fake(x), linear.weight, linear.bias)

        linear.forward = forward
    return model


def own_noise(model):
    """Noise from a generator of the layer's own, drawn in evaluation mode too, beside a tensor and a list it keeps."""
    layer = model.model.layers[1]
    layer.noise = {"generator": torch.Generator().manual_seed(3), "state": [torch.zeros(1), [1.0]]}

    def hook(module, arguments, output):
        module.noise["state"][0].data.add_(0.01)
        module.noise["state"][1][0] *= 1.01
        noise = torch.randn(output.shape, generator=module.noise["generator"])
        return output + module.training * 0.01 * (noise * module.noise["state"][1][0] + module.noise["state"][0])

    layer.register_forward_hook(hook)
    return model


def mixture_with_adapters(tiny):
    """LoRA on the experts of a mixture: a parametrisation for the time of each forward pass."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"vocab_size": tiny.llama().config.vocab_size, "num_key_value_heads": 1, "num_local_experts": 4}
    model = transformers.MixtralForCausalLM(transformers.MixtralConfig(**shape))
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"])
    return peft.get_peft_model(model, settings)


def compiled_in_place(model):
    for layer in model.model.layers:
        layer.compile(backend="eager")
    return model


WEIGHTS, ACTIVATIONS = default_fused_per_channel_wt_fake_quant, default_fused_act_fake_quant
DYNAMIC = {
    "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    "max_position_embeddings": 16,
}
BASE = {"reference": "base"}
EVERY_SIGNAL = {each.name: True for each in dataclasses.fields(Signals) if each.type == "bool"}
# name: model, trainer options, options of the monitor, other options (of the module, the loaders, the probes)
CONDITIONS = {
    "fp32": (None, {}, {}, {}),
    "bf16 mixed": (None, {"precision": "bf16-mixed"}, {}, {}),
    "bf16 true": (None, {"precision": "bf16-true"}, {}, {}),
    "bf16 true, gradients projected": (
        lambda tiny: tiny.llama(intermediate_size=200),
        {"precision": "bf16-true"},
        {},
        {},
    ),
    "accumulation": (None, {"accumulate_grad_batches": 3, "max_steps": 4}, {}, {}),
    "lora": (lora, {}, {}, {}),
    "lora, adapters switched": (lora, {}, BASE, {}),
    "frozen lora-A, switched": (lambda tiny: lora(tiny, freeze_a=True), {}, BASE, {}),
    "lora, bf16 mixed": (lora, {"precision": "bf16-mixed"}, BASE, {}),
    "starts in eval": (lambda tiny: in_eval(tiny.llama()), {}, {}, {}),
    "partly in eval": (lambda tiny: in_eval(tiny.llama(), lambda m: m.model.layers[1]), {}, {}, {}),
    "gradient checkpointing": (lambda tiny: checkpointing(tiny.llama()), {}, {}, {}),
    "compile wrapper": (lambda tiny: torch.compile(tiny.llama(), backend="eager"), {}, {}, {}),
    "compiled in place": (lambda tiny: compiled_in_place(tiny.llama()), {}, {}, {}),
    "fake quantised weights": (lambda tiny: fake_quantised(tiny.llama(), WEIGHTS, "weight"), {}, {}, {}),
    "fake quantised activations": (lambda tiny: fake_quantised(tiny.llama(), ACTIVATIONS, "input"), {}, {}, {}),
    "own generator and state": (lambda tiny: own_noise(tiny.llama()), {}, {}, {}),
    "adapters of experts": (mixture_with_adapters, {}, {}, {}),
    "adapters of experts, switched": (mixture_with_adapters, {}, BASE, {}),
    "dynamic rope, long probes": (lambda tiny: tiny.llama(**DYNAMIC), {}, {}, {"longest": 30}),
    "manual, two optimisers": (None, {"max_steps": 12}, {"every_n_steps": 3}, {"manual": True}),
    "persistent workers": (None, {}, {}, {"workers": 1}),
    "clipping, deterministic": (None, {"gradient_clip_val": 0.1, "deterministic": True}, {}, {}),
    "validation": (
        None,
        {"val_check_interval": 0.25, "num_sanity_val_steps": 2},
        {"schedule": Schedule(on_validation_end=True)},
        {},
    ),
    "overfit batches": (None, {"overfit_batches": 2}, {}, {}),
    "max time": (None, {"max_time": {"minutes": 5}}, {}, {}),
    "weights and biases": (None, {"logger": "wandb"}, {}, {}),
    "fast dev run": (None, {"fast_dev_run": 3, "max_steps": -1}, {}, {}),
    "learning rate finder": (
        None,
        {"callbacks": [lambda: LearningRateFinder(num_training_steps=8, mode="linear")]},
        {},
        {},
    ),
    "weight averaging": (
        None,
        {
            "callbacks": [lambda: StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)],
            "max_epochs": 3,
            "max_steps": -1,
        },
        {},
        {},
    ),
}


def fit(tiny, tmp_path, condition, extra=()):
    make, trainer, _, options = condition
    tiny.seed()
    module = tiny.module(pl, None if make is None else make(tiny), manual=options.get("manual", False))
    others = [create() for create in trainer.get("callbacks", [])]
    settings = {"max_steps": tiny.steps, "num_sanity_val_steps": 0, "accelerator": "cpu", **tiny.quiet, **trainer}
    if settings["logger"] == "wandb":
        wandb = pytest.importorskip("wandb")
        settings["logger"] = WandbLogger(save_dir=tmp_path, offline=True)
    settings |= {"callbacks": [*others, *extra], "default_root_dir": str(tmp_path), "log_every_n_steps": 1}
    workers = options.get("workers", 0)
    rows = tiny.rows()
    # Workers start afresh: a fork of a test process that has threads (other loggers, the test runner) may not end well.
    fresh = {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
    train = DataLoader(rows, batch_size=4, shuffle=True, num_workers=workers, **fresh)
    validation = [DataLoader(rows[:8], batch_size=4)] if "val_check_interval" in trainer else []
    pl.Trainer(**settings).fit(module, train, *validation)
    if isinstance(settings["logger"], WandbLogger):
        wandb.finish()
    return tiny.fingerprint(module)


@pytest.mark.parametrize("name", CONDITIONS)
def test_training_is_bitwise_the_same(tiny, tmp_path, name):
    condition = CONDITIONS[name]
    plain = fit(tiny, tmp_path, condition)
    options = {"every_n_steps": 2, "max_overhead": None, "report": False, "verbose": False, **condition[2]}
    probes = tiny.probes(tasks=3, examples=6, longest=condition[3].get("longest", 9), answers=3)
    signals = Signals(**EVERY_SIGNAL, update_from=None if "adapters" in name or "lora" in name else "copy")
    options |= {"signals": signals, "retention": tiny.probes(tasks=2, examples=6, answers=2, seed=3)}
    monitor = LayerSimilarityMonitor(probes, output_dir=str(tmp_path / "out"), **options)
    watched = fit(tiny, tmp_path, condition, [monitor])
    assert tiny.differences(plain, watched) == []
    assert len(monitor.monitor.record) >= 2, "the monitor measured nothing, so the comparison says nothing"
    assert not monitor.monitor.failures.counts
    last = monitor.monitor.record.measurements[-1]
    curves = {*signals.names, "retention_drift"} - {"answer_loss", "kl"}
    # Adapters on stacked parameters are no two factors: there the update is left out, and said.
    curves -= {"update", "drift_per_update"} if "experts" in name else set()
    assert curves <= set(last.curves)
    assert {"answers/loss", "answers/kl", "retention/loss", "retention/kl"} <= set(last.behaviour.scores)


class Saboteur(pl.Callback):
    """Does one thing after the second batch that a careless monitor would do."""

    def __init__(self, act):
        self.act = act

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            with torch.no_grad():
                self.act(pl_module.model)


def ids(length=9):
    return torch.arange(3, 3 + length).expand(2, -1)


def switch_adapters(model):
    with model.disable_adapter():
        model(input_ids=ids())


def eval_and_train(model):
    model.eval()
    model(input_ids=ids())
    model.train()


def observe(model):
    """As a forward pass over other weights would: the ranges that were learned are other ones."""
    for layer in model.model.layers:
        layer.self_attn.q_proj.fake(3.0 * layer.self_attn.q_proj.weight)


# What the guard prevents -> the condition under which it must show.
SABOTAGE = {
    "dropout draws from the generator": ("fp32", lambda model: model(input_ids=ids())),
    "a loader draws its seed": ("fp32", lambda model: next(iter(DataLoader(ids())))),
    "eval, then train, of a model in eval": ("starts in eval", eval_and_train),
    "eval, then train, of a model partly in eval": ("partly in eval", eval_and_train),
    "rope is stretched": ("dynamic rope, long probes", lambda model: model.eval()(input_ids=ids(30)) and model.train()),
    "adapters leave requires_grad behind": ("frozen lora-A, switched", switch_adapters),
    "a parameter moves by one bit": ("fp32", lambda model: model.lm_head.weight.view(-1)[:1].mul_(1 + 2**-20)),
    "observers learn": ("fake quantised activations", lambda model: model.eval()(input_ids=ids()) and model.train()),
    "scales are learned": ("fake quantised weights", lambda model: observe(model)),
    "an own generator draws": (
        "own generator and state",
        lambda model: model.eval()(input_ids=ids()) and model.train(),
    ),
    "a parameter moves through .data": ("fp32", lambda model: model.lm_head.weight.data.view(-1)[:1].mul_(1 + 2**-20)),
    "a gradient is added to": ("accumulation", lambda model: model.lm_head.weight.grad.add_(1e-3)),
    "a buffer changes": ("fp32", lambda model: model.model.rotary_emb.inv_freq.mul_(1.0001)),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_the_comparison_can_fail(tiny, tmp_path, name):
    condition, act = SABOTAGE[name]
    plain = fit(tiny, tmp_path, CONDITIONS[condition])
    harmed = fit(tiny, tmp_path, CONDITIONS[condition], [Saboteur(act)])
    assert tiny.differences(plain, harmed)
