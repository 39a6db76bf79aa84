"""What torchmetrics promises of a metric, asked of every class."""

import copy
import pickle

import pytest
import torch
from torchmetrics import Metric, SumMetric

from lightning_layerscope import metrics
from tests.metrics import metric_cases as cases

N = cases.EXAMPLES
EVERYONE = torch.arange(N)
ALL = pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES.keys())
ROWS = pytest.mark.parametrize(
    "case",
    [case for name, case in cases.CASES.items() if not name.startswith("Streaming")],
    ids=[name for name in cases.CASES if not name.startswith("Streaming")],
)


@pytest.fixture
def same(tolerances):
    def check(found, expected):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerances.METRIC, check_dtype=False)

    return check


def updated(case, *parts, ids=True):
    metric = case.make()
    for part in parts:
        metric.update(**case.rows(part, ids))
    return metric


def test_every_class_has_a_case():
    assert {name.split()[0] for name in cases.CASES} | set(cases.BY_BATCH) == set(metrics.__all__)


@ALL
@pytest.mark.parametrize("batch", [N, 17, 4])
def test_agrees_with_its_function_however_the_examples_are_cut(case, batch, same):
    same(updated(case, *EVERYONE.split(batch)).compute(), case.value())


@ALL
def test_agrees_without_ids_too(case, same):
    same(updated(case, *EVERYONE.split(20), ids=False).compute(), case.value())


@ROWS
def test_a_repeated_example_counts_once(case, same):
    again = torch.tensor([0, 1, 1, 40])
    same(updated(case, EVERYONE[:30], again, EVERYONE[30:]).compute(), case.value())


@pytest.mark.parametrize("name", [name for name in cases.CASES if name != "ComponentsForVariance"])
def test_without_ids_it_counts_twice(name):
    """Or the test above could not fail (the whole number of components need not move)."""
    again = torch.tensor([0, 1, 1, 40, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    case = cases.CASES[name]
    found = updated(case, EVERYONE, again, ids=False).compute()
    assert float((found - case.value()).abs().max()) > 1e-3


@ALL
def test_values_may_come_twice_and_go_on(case, same):
    metric = updated(case, EVERYONE[:35])
    early = metric.compute()
    assert metric.compute() is early
    metric.update(**case.rows(EVERYONE[35:]))
    same(metric.compute(), case.value())


@ALL
def test_forward_gives_the_value_of_the_batch_and_accumulates(case, same):
    metric = case.make()
    # Every task has four examples in either part.
    first, rest = EVERYONE[:22], EVERYONE[22:]
    same(metric(**case.rows(first)), updated(case, first).compute())
    same(metric(**case.rows(rest)), updated(case, rest).compute())
    same(metric.compute(), case.value())


@ALL
def test_a_small_last_batch_does_not_stop_forward(case, same):
    metric = case.make()
    metric(**case.rows(EVERYONE[:-1]))
    last = case.rows(EVERYONE[-1:])
    with pytest.warns(UserWarning, match=r"needs at least .* The value of this batch alone is NaN"):
        value = metric(**last)
    assert torch.isnan(value).all()
    assert value.shape == case.value().shape
    same(metric.compute(), case.value())


@ALL
def test_too_few_examples_say_so(case):
    metric = updated(case, EVERYONE[:1])
    with pytest.raises(ValueError, match=rf"{type(metric).__name__} needs at least .*, got .*Update it with more"):
        metric.compute()


@ALL
def test_reset_forgets(case, same):
    metric = updated(case, EVERYONE)
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update`` method"), pytest.raises(ValueError, match=r"examples"):
        metric.compute()
    for part in EVERYONE.split(20):
        metric.update(**case.rows(part))
    same(metric.compute(), case.value())


@ALL
def test_merge_state(case, same):
    metric = updated(case, EVERYONE[:20])
    metric.merge_state(updated(case, EVERYONE[20:33]))
    metric.merge_state(updated(case, EVERYONE[33:]).metric_state)
    same(metric.compute(), case.value())


@ALL
def test_merging_after_a_computed_value_updates_it(case, same):
    metric = updated(case, EVERYONE[:40])
    metric.compute()
    metric.merge_state(updated(case, EVERYONE[40:]))
    same(metric.compute(), case.value())


@ALL
def test_merging_into_an_empty_metric(case, same):
    metric = case.make()
    metric.merge_state(updated(case, EVERYONE))
    same(metric.compute(), case.value())


@ALL
def test_merging_another_class_is_refused(case):
    with pytest.raises(ValueError, match="to merge, got SumMetric"):
        case.make().merge_state(SumMetric())


@ALL
def test_pickle_and_copy_carry_the_examples(case, same):
    metric = updated(case, EVERYONE[:20])
    for twin in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone()):
        twin.update(**case.rows(EVERYONE[20:]))
        same(twin.compute(), case.value())


@ALL
def test_states_can_be_saved_with_the_module(case, same):
    metric = updated(case, EVERYONE)
    metric.persistent(True)
    twin = case.make()
    twin.persistent(True)
    twin.load_state_dict(metric.state_dict())
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        same(twin.compute(), case.value())


@ALL
@pytest.mark.parametrize("cast", ["to", "bfloat16", "half", "float", "double"])
def test_moving_the_module_to_another_dtype_rounds_nothing(case, cast, same):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)
            self.metric = case.make()

    module = Module()
    module.metric.update(**case.rows(EVERYONE[:20]))
    module = module.to(torch.bfloat16) if cast == "to" else getattr(module, cast)()
    module.metric.update(**case.rows(EVERYONE[20:]))
    same(module.metric.compute(), case.value())
    module.metric.reset()
    module.metric.update(**case.rows(EVERYONE))
    same(module.metric.compute(), case.value())


@ALL
def test_autocast_changes_nothing(case, same):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same(updated(case, *EVERYONE.split(20)).compute(), case.value())


@ALL
def test_inference_mode_and_gradients(case, same):
    """Lightning validates in inference mode; the value is read outside."""
    metric = case.make()
    with torch.inference_mode():
        metric.update(**case.rows(EVERYONE[:20]))
    rest = {name: v.requires_grad_() if v.is_floating_point() else v for name, v in case.rows(EVERYONE[20:]).items()}
    metric.update(**rest)
    found = metric.compute()
    assert not found.requires_grad
    same(found, case.value())


@ALL
def test_the_batch_may_be_overwritten_after_the_update(case, same):
    metric = case.make()
    batch = {name: value.clone() for name, value in case.rows(EVERYONE).items()}
    metric.update(**batch)
    for value in batch.values():
        value.zero_()
    same(metric.compute(), case.value())


@ALL
def test_an_empty_batch_changes_nothing(case, same):
    metric = updated(case, EVERYONE[:0], EVERYONE, EVERYONE[:0])
    same(metric.compute(), case.value())


@ALL
def test_plot(case):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    metric = updated(case, EVERYONE)
    value = metric.compute()
    if value.ndim > 2:
        with pytest.raises(ValueError, match="choose one layer's matrix"):
            metric.plot()
        value = value[0]
        figure, axes = metric.plot(value)
    else:
        figure, axes = metric.plot()
    assert figure is not None
    drawn = axes.images[0].get_array() if value.ndim == 2 else axes.lines[0].get_ydata()
    torch.testing.assert_close(torch.as_tensor(drawn).double().reshape(value.shape), value)
    _, given = pyplot.subplots()
    assert metric.plot(value, ax=given) == (None, given)
    if value.ndim < 2:
        _, axes = metric.plot([value, value])
        assert len(axes.lines) == value.numel()
    pyplot.close("all")


@ALL
def test_torchmetrics_attributes(case):
    metric = case.make()
    assert isinstance(metric, Metric)
    assert metric.is_differentiable is False
    assert metric.full_state_update is False
