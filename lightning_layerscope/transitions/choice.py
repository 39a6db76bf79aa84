"""Which shape a curve has: split-half cross-validation over tasks."""

from __future__ import annotations

import numpy as np

from lightning_layerscope.transitions.shapes import Floats, Shape


def split_half_errors(values: Floats, candidates: tuple[Shape, ...], *, splits: int, seed: int) -> Floats:
    """Squared error with which each shape, fitted to one half of the tasks, predicts the mean curve of the other half.

    Noise that neighbouring layers share looks like structure to criteria that count layers (BIC); it does not repeat in
    other tasks, so it does not survive here.

    Args:
        values: ``(tasks, layers)``, complete.
        candidates: the shapes, each with its own candidates.
        splits: how many random halvings; each is used in both directions.
        seed: of the halvings.

    Returns:
        ``(shapes, 2 * splits)`` summed squared errors; columns belong together across shapes.
    """
    tasks = len(values)
    half = tasks // 2
    order = np.argsort(np.random.default_rng(seed).random((splits, tasks)), axis=1)
    member = np.zeros((splits, tasks))
    np.put_along_axis(member, order[:, :half], 1.0, axis=1)
    one, two = member @ values / half, (1 - member) @ values / (tasks - half)
    fitted = np.concatenate([one, two])
    unseen = np.concatenate([two, one])
    # Every shape holds the constant, so a difference in level between the halves costs all of them the same.
    fitted = fitted - fitted.mean(axis=1, keepdims=True)
    unseen = unseen - unseen.mean(axis=1, keepdims=True)
    errors = [np.square(unseen - shape.predict(shape.best(fitted), fitted)).sum(axis=1) for shape in candidates]
    return np.stack(errors)


def no_change_error(values: Floats, *, splits: int, seed: int) -> float:
    """Mean error of :func:`split_half_errors` for a flat curve, on the same halvings."""
    flat = Shape("flat", np.zeros((1, 1, values.shape[1])), np.full(1, -1), np.full(1, -1))
    return float(split_half_errors(values, (flat,), splits=splits, seed=seed).mean())


def choose(errors: Floats) -> int:
    """Index of the shape with the least mean error; on a tie the simpler (earlier) one."""
    mean = errors.mean(axis=1)
    return int(np.argmax(mean <= mean.min() * (1 + 1e-9) + 1e-24))
