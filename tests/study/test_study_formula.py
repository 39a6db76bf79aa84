"""The paper's own comparison: the study gives the reference formula's values on the same saved states."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_layerscope.extraction import HiddenStates
from lightning_layerscope.functional.jackknife import cka_estimate, cka_replicates
from lightning_layerscope.references import ReferenceBank
from lightning_layerscope.study.stages.improvement import improvement
from lightning_layerscope.study.stages.similarity import against, mean_over_layers

LAYERS, ROLES = 3, ("base", "multitask", "control")


def reference_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019, feature space, biased, float64: what the paper's scripts compute."""
    x, y = (a.astype(np.float64) - a.astype(np.float64).mean(axis=0) for a in (x, y))
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, HiddenStates]:
    """States of three models on tasks of different sizes, fewer and more examples than dimensions, with outliers."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    tasks = {"few": 40, "many": 300}
    shared = {task: torch.randn(LAYERS, n, 64, generator=generator) for task, n in tasks.items()}
    for role in ROLES:
        tensors = {task: shared[task] + torch.randn(LAYERS, n, 64, generator=generator) for task, n in tasks.items()}
        for states in tensors.values():
            states[..., 7] = 50 * states[..., 7] + 300
        ids = {task: tuple(map(str, range(n))) for task, n in tasks.items()}
        held = HiddenStates(tensors, (1, 2, 3), 3, dict.fromkeys(tasks, "c"), ids)
        held.save(tmp_path / role)
        found[role] = HiddenStates.load(tmp_path / role)
    return found


@pytest.mark.parametrize("kind", ["gram", "features"])
def test_every_task_layer_and_model_to_a_millionth(saved: dict[str, HiddenStates], kind: str, tmp_path: Path) -> None:
    banks = {}
    for role, states in saved.items():
        ReferenceBank.from_states(states, kind=kind, robust=False).save(tmp_path / f"{role}.bank", dtype="float32")  # type: ignore[arg-type]
        banks[role] = ReferenceBank.load(tmp_path / f"{role}.bank")
    for role in ("base", "multitask"):
        for task in saved[role]:
            control = banks["control"].select([task])
            found = against(task, banks[role].select([task]), [control], "biased").values
            for layer in range(LAYERS):
                expected = reference_cka(saved[role][task][layer].numpy(), saved["control"][task][layer].numpy())
                assert abs(float(found[layer]) - expected) < 1e-6


def test_replicates_are_the_values_without_each_example() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 12, 5, generator=generator, dtype=torch.float64)
    y = x + torch.randn(2, 12, 5, generator=generator, dtype=torch.float64)
    from lightning_layerscope.functional import centered_gram, linear_cka

    value, replicates = cka_replicates(centered_gram(x), centered_gram(y))
    keep = [[row for row in range(12) if row != left_out] for left_out in range(12)]
    expected = torch.stack([linear_cka(x[:, rows], y[:, rows]) for rows in keep], dim=-1)
    assert torch.allclose(replicates, expected, rtol=1e-9)
    one = mean_over_layers(value[:1], replicates[:1], 0.9)
    same = cka_estimate(centered_gram(x), centered_gram(y), confidence=0.9)
    assert one.value == pytest.approx(float(same.value[0]))
    assert (one.low, one.high) == pytest.approx((float(same.low[0]), float(same.high[0])))


def test_a_control_has_learned_when_its_losses_are_lower_row_by_row() -> None:
    base = np.asarray([1.0, 5.0, 2.0, 8.0, 3.0, 6.0])
    assert improvement(base, base - 0.5 + 0.01 * np.arange(6), 0.9).above_zero
    assert not improvement(base, base, 0.9).above_zero
    assert not improvement(base, base[::-1], 0.9).above_zero
    with pytest.raises(ValueError, match="expected the same rows for both models, at least 2, got 6 and 5"):
        improvement(base, base[:5], 0.9)
