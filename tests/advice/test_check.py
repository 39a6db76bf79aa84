import copy

import numpy as np
import pytest
import torch

from lightning_layerscope.advice.check import check_rows
from lightning_layerscope.training.encoding import EncodedExample
from lightning_layerscope.training.evaluation import row_losses

from .conftest import build

DECODERS = ["llama", "gemma", "gpt2", "neox"]


def some_rows(count=6):
    generator = torch.Generator().manual_seed(0)
    rows = []
    for place in range(2 * count):
        ids = torch.randint(3, 40, (4 + place % 5,), generator=generator).tolist()
        rows.append(EncodedExample("even" if place % 2 else "odd", str(place), tuple(ids), (5, 2)))
    return rows


def tuned_copy(family):
    """A base model and one whose layers were all changed."""
    base = build(family)[0].eval()
    tuned = copy.deepcopy(base)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in tuned.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return base, tuned


def direct(base, tuned, rows, back):
    """Losses with the weights of some layers really copied back."""
    from lightning_layerscope.extraction import find_layers

    mixed = copy.deepcopy(tuned)
    for layer in back:
        find_layers(mixed).modules[layer - 1].load_state_dict(find_layers(base).modules[layer - 1].state_dict())
    losses = row_losses(mixed, rows)
    return (losses.total.double() / losses.tokens).numpy()


@pytest.mark.parametrize("family", DECODERS)
def test_equals_copying_the_layers_weights_back(family):
    base, tuned = tuned_copy(family)
    rows = some_rows()
    check = check_rows(tuned, rows, base=base, max_tokens_per_batch=40)
    np.testing.assert_allclose(check.tuned, direct(base, tuned, rows, []), atol=1e-5)
    for layer in range(1, 6):
        for way, back in {
            "alone": [layer],
            "from_bottom": range(1, layer + 1),
            "from_top": range(layer, 6),
        }.items():
            np.testing.assert_allclose(check.restored[way][layer - 1], direct(base, tuned, rows, back), atol=1e-5)


def adapted(family, layers=(2, 4)):
    peft = pytest.importorskip("peft")
    from lightning_layerscope.advice import Selection, equal_ranks, find_targets
    from lightning_layerscope.advice.exports import lora_config

    model, kinds, stack = build(family)
    targets = find_targets(model, kinds, stack)
    ranks = equal_ranks(targets, Selection("some", layers), targets.budget(len(layers), 2))
    wrapped = peft.get_peft_model(model, lora_config(targets, ranks)).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
    return wrapped


@pytest.mark.parametrize("family", DECODERS)
def test_adapters_are_switched_off_layer_by_layer(family):
    model, rows = adapted(family), some_rows()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    check = check_rows(model, rows)
    alone = check.restored["alone"]
    for layer in (1, 3, 5):  # without adapters
        np.testing.assert_array_equal(alone[layer - 1], check.tuned)
    for layer in (2, 4):
        assert np.abs(alone[layer - 1] - check.tuned).max() > 1e-3
    with model.disable_adapter():
        plain = row_losses(model, rows)
    expected = (plain.total.double() / plain.tokens).numpy()
    np.testing.assert_allclose(check.restored["from_bottom"][-1], expected, atol=1e-5)
    np.testing.assert_allclose(check.restored["from_top"][0], expected, atol=1e-5)
    # No trace.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert wanted == [parameter.requires_grad for parameter in model.parameters()]
    assert not any("forward" in vars(module) for module in model.modules())
    np.testing.assert_array_equal(check_rows(model, rows, ways=["alone"]).tuned, check.tuned)


def test_what_lies_below_a_restored_layer_is_not_computed_again():
    """Passes through layers per batch: L for the tuned, L for the base model, (L + 1) L / 2 less those given."""
    base, tuned = tuned_copy("llama")
    calls = []
    for model in (base, tuned):
        for layer in model.model.layers:
            layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    check_rows(tuned, some_rows(), base=base, ways=["alone"], max_tokens_per_batch=10_000)
    assert len(calls) == 5 + 5 * 6 // 2


def test_the_one_layer_that_was_changed_is_found():
    """Planted: only layer 3's weights differ."""
    base = build("llama")[0].eval()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for parameter in tuned.model.layers[2].parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    check = check_rows(tuned, some_rows(), base=base)
    changes = [change.value for change in check.change("alone")]
    assert [abs(value) > 1e-4 for value in changes] == [False, False, True, False, False]
    assert [abs(c.value) > 1e-4 for c in check.change("from_bottom")] == [False, False, True, True, True]
    assert [abs(c.value) > 1e-4 for c in check.change("from_top")] == [True, True, True, False, False]


def test_intervals_are_paired_over_the_rows_of_a_task():
    from scipy import stats

    base, tuned = tuned_copy("llama")
    rows = some_rows()
    check = check_rows(tuned, rows, base=base, ways=["alone"])
    own = np.array([row.task == "odd" for row in rows])
    differences = (check.restored["alone"][0] - check.tuned)[own]
    expected = stats.t.interval(0.9, len(differences) - 1, differences.mean(), stats.sem(differences))
    found = check.change("alone", "odd")[0]
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-4)


def test_refuses_models_that_do_not_fit(small_llama):
    with pytest.raises(ValueError, match="no adapters in its layers"):
        check_rows(small_llama, some_rows())
    with pytest.raises(ValueError, match=r"expected ways of .*, got \['sideways'\]"):
        check_rows(small_llama, some_rows(), ways=["sideways"])


def test_merged_adapters_are_refused_instead_of_changed():
    model = adapted("llama")
    model.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        check_rows(model, some_rows())
