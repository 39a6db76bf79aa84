"""Each export is loaded by the library it is for, and what would train is counted."""

import random
import re

import pytest
import yaml

from lightning_layerscope.advice import Selection, equal_ranks, find_targets, parameters
from lightning_layerscope.advice.exports import (
    finetuning_schedule,
    lora_config,
    lora_options,
    unfrozen_parameters,
)

LAYERS = Selection("mine", (2, 3, 5), scores=(0.0, 0.1, 0.9, 0.0, 0.5))


@pytest.fixture
def targets(family):
    model, kinds, stack = family
    return find_targets(model, kinds, stack)


def apply_unfrozen_parameters(patterns, names):
    """The parameters that Axolotl leaves trainable, as it documents: dots are dots, patterns match from the start."""
    compiled = [re.compile(re.sub(r"\.(?!\+)", r"\\.", pattern)) for pattern in patterns]
    return [name for name in names if any(pattern.match(name) for pattern in compiled)]


def test_axolotls_rule_reads_dots_as_dots():
    names = ["a.0.w", "a.10.w", "b.a.0.w", "ax0.w"]
    assert apply_unfrozen_parameters(["^a.(0|1)."], names) == ["a.0.w"]


def adapted(model, config):
    """Adapted module -> rank, in the real library; and its trainable parameters."""
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(model, config)
    ranks = {
        name.removeprefix("base_model.model."): (module.r["default"], module.scaling["default"])
        for name, module in wrapped.named_modules()
        if hasattr(module, "lora_A") and module.lora_A
    }
    return ranks, sum(p.numel() for p in wrapped.parameters() if p.requires_grad)


def test_whole_layers_at_one_rank(family, targets):
    model, _, _ = family
    budget = targets.budget(3, rank=4)
    ranks = equal_ranks(targets, LAYERS, budget)
    found, trainable = adapted(model, lora_config(targets, ranks))
    assert {name: rank for name, (rank, _) in found.items()} == ranks
    assert set(ranks.values()) == {4}
    assert trainable == budget


def test_unequal_ranks_keep_one_scale(family, targets):
    model, _, _ = family
    size = targets.budget(1, 1)
    ranks = equal_ranks(targets, LAYERS, 11 * size)
    found, trainable = adapted(model, lora_config(targets, ranks, scaling=2.0))
    assert {name: rank for name, (rank, _) in found.items()} == ranks
    assert sorted(set(ranks.values())) == [3, 4]
    assert {scale for _, scale in found.values()} == {2.0}
    assert trainable == parameters(targets, ranks) == 11 * size


def test_layers_with_the_highest_scores_get_what_is_left_over(family, targets):
    ranks = equal_ranks(targets, LAYERS, 10 * targets.budget(1, 1))
    raised = {module.layer for module in targets.modules if ranks.get(module.name) == 4}
    assert raised == {3}


def test_single_matrices_are_named_in_full(family, targets):
    model, _, _ = family
    names = tuple(sorted(random.Random(0).sample([module.name for module in targets.modules], 3)))
    layers = tuple(sorted({module.layer for module in targets.modules if module.name in names}))
    ranks = dict.fromkeys(names, 3)
    found, _ = adapted(model, lora_config(targets, ranks))
    assert {name: rank for name, (rank, _) in found.items()} == ranks
    assert unfrozen_parameters(targets, Selection("x", layers, modules=names)) == [f"^{n}.weight$" for n in names]


def test_layers_11_and_1_are_not_mixed_up():
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=12, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    targets = find_targets(model)
    selection = Selection("two", (2, 12), scores=tuple(float(layer == 12) for layer in range(1, 13)))
    ranks = equal_ranks(targets, selection, 3 * targets.budget(1, 1))
    assert {name.split(".")[2]: rank for name, rank in ranks.items()} == {"1": 1, "11": 2}
    trained = apply_unfrozen_parameters(
        unfrozen_parameters(targets, selection), [n for n, _ in model.named_parameters()]
    )
    assert {name.split(".")[2] for name in trained} == {"1", "11"}
    found, _ = adapted(model, lora_config(targets, ranks))
    assert {name: rank for name, (rank, _) in found.items()} == ranks


def test_axolotls_patterns_thaw_these_layers_and_nothing_else(family, targets):
    model, _, _ = family
    names = [name for name, _ in model.named_parameters()]
    expected = [name for name in names for layer in LAYERS.layers if name.startswith(f"{targets.stack}.{layer - 1}.")]
    found = apply_unfrozen_parameters(unfrozen_parameters(targets, LAYERS), names)
    assert found == expected
    sizes = dict(model.named_parameters())
    per_layer = sum(p.numel() for name, p in sizes.items() if name.startswith(f"{targets.stack}.1."))
    assert sum(sizes[name].numel() for name in found) == pytest.approx(3 * per_layer, rel=0.01)


def test_finetuning_scheduler_trains_what_its_schedule_names(family, targets, tmp_path):
    scheduler = pytest.importorskip("finetuning_scheduler", reason="finetuning-scheduler is not installed")
    import lightning
    import torch

    class Module(lightning.LightningModule):
        def __init__(self, model):
            super().__init__()
            self.model = model
            self.trained = set()

        def training_step(self, batch, batch_idx):
            trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
            self.trained = set(trained)
            return sum(p.sum() for p in trained.values())

        def configure_optimizers(self):
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

    module = Module(family[0])
    written = tmp_path / "schedule.yaml"
    written.write_text(yaml.safe_dump(finetuning_schedule(targets, [LAYERS])), encoding="utf-8")
    trainer = lightning.Trainer(
        max_epochs=1,
        limit_train_batches=1,
        accelerator="cpu",
        callbacks=[scheduler.FinetuningScheduler(ft_schedule=str(written))],
        default_root_dir=str(tmp_path),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module.validation_step = lambda batch, batch_idx: module.log("val_loss", 0.0)
    data = torch.utils.data.DataLoader(torch.ones(2, 2))
    trainer.fit(module, data, data)
    prefixes = tuple(f"model.{targets.stack}.{layer - 1}." for layer in LAYERS.layers)
    assert module.trained == {name for name, _ in module.named_parameters() if name.startswith(prefixes)}


def test_later_phases_of_a_schedule_thaw_the_rest(family, targets):
    phases = finetuning_schedule(targets, [LAYERS, Selection("then", (1, 2))], prefix="")
    names = [name for name, _ in family[0].named_parameters()]
    thawed = [
        {name[len(targets.stack) + 1 :].split(".")[0] for name in names if re.match(phases[phase]["params"][0], name)}
        for phase in (0, 1)
    ]
    assert thawed == [{"1", "2", "4"}, {"0"}]


def test_a_plan_without_layers_is_refused(family, targets):
    with pytest.raises(ValueError, match="at least one, got none"):
        lora_options(targets, {})
    with pytest.raises(ValueError, match="elsewhere"):
        lora_options(targets, {"elsewhere": 2})
    with pytest.raises(ValueError, match="thaws nothing new"):
        finetuning_schedule(targets, [LAYERS, LAYERS])
    with pytest.raises(ValueError, match="one selection per phase"):
        finetuning_schedule(targets, [])


def test_a_budget_that_no_ranks_meet_is_refused(targets):
    every = Selection("all", (1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="within 1 %"):
        equal_ranks(targets, every, targets.budget(2, rank=1))


def test_budgets_are_met_within_one_per_cent_by_every_number_of_layers():
    """Gemma 3 270M's shapes: 36 rank-layers on any number of its 18 layers."""
    from lightning_layerscope.advice import TargetModule, Targets

    sizes = {"q_proj": 640 + 1024, "v_proj": 640 + 256}
    modules = tuple(
        TargetModule(f"model.layers.{place}.self_attn.{kind}", place + 1, size)
        for place in range(18)
        for kind, size in sizes.items()
    )
    targets = Targets("model.layers", 18, modules)
    budget = targets.budget(6, rank=6)
    assert budget == 92_160
    for count in range(1, 19):
        ranks = equal_ranks(targets, Selection("some", tuple(range(1, count + 1))), budget)
        assert abs(parameters(targets, ranks) - budget) <= 0.01 * budget
