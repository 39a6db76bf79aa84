"""Other packages that compute linear CKA, called in the way that suits each case best, where they can be imported.

Every contender offers up to three functions: ``cell(x, y)`` one value, ``live(states, reference)`` one value per layer
against a reference, ``matrix(states)`` all pairs of layers. ``prepare(reference)``, for those that can keep one, is not
timed.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_layerscope.functional import centered_gram, cka_from_grams, cka_layer_matrix, linear_cka, prepare_gram


def same(reference: Tensor) -> Tensor:
    return reference


@dataclass(frozen=True)
class Contender:
    name: str
    estimator: str
    cell: Callable[[Tensor, Tensor], Any]
    live: Callable[[Tensor, Any], Any]
    matrix: Callable[[Tensor], Any]
    prepare: Callable[[Tensor], Any] = same
    pairwise: bool = False  # the time of a layer matrix is per pair of layers


def from_pairs(name: str, estimator: str, pair: Callable[[Tensor, Tensor], float]) -> Contender:
    """A package that compares one pair of states at a time."""

    def live(states: Tensor, reference: Tensor) -> Tensor:
        return torch.tensor([float(pair(x, y)) for x, y in zip(states, reference, strict=True)])

    def matrix(states: Tensor) -> Tensor:
        rows = [[float(pair(x, y)) for y in states] for x in states]
        return torch.tensor(rows)

    return Contender(name, estimator, pair, live, matrix, pairwise=True)


def ours(estimator: str) -> Contender:
    def matrix(states: Tensor) -> Tensor:
        grams = centered_gram(states)
        return cka_layer_matrix(grams, grams, estimator)

    return Contender(
        f"lightning-layerscope ({estimator})",
        estimator,
        lambda x, y: linear_cka(x, y, estimator),
        lambda states, reference: cka_from_grams(centered_gram(states), reference, estimator),
        matrix,
        lambda reference: prepare_gram(centered_gram(reference)),
    )


def paper() -> Contender:
    """The formula of the paper's scripts, run as they do: numpy, float64, feature space, one pair at a time."""

    def pair(x: Tensor, y: Tensor) -> float:
        a, b = (side.numpy().astype(np.float64) for side in (x, y))
        a, b = a - a.mean(0), b - b.mean(0)
        cross = np.linalg.norm(b.T @ a) ** 2
        return float(cross / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))

    return from_pairs("paper's formula", "biased", pair)


def textbook(kept: bool = False) -> Contender:
    """What most packages do in one form or another: centred float32 states, whole products, ``torch.linalg.norm``.

    With ``kept`` it holds on to the reference's Gram matrices, which no package offers: the best one writes by hand.
    """
    name = "textbook torch, float32"

    def gram(x: Tensor) -> Tensor:
        x = x - x.mean(0)
        return x @ x.T

    def ratio(k: Tensor, other: Tensor) -> Tensor:
        return (k * other).sum() / (torch.linalg.norm(k) * torch.linalg.norm(other))

    def cell(x: Tensor, y: Tensor) -> Tensor:
        x, y = x - x.mean(0), y - y.mean(0)
        if x.shape[0] < x.shape[1]:
            return ratio(x @ x.T, y @ y.T)
        return torch.linalg.norm(x.T @ y) ** 2 / (torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y))

    def matrix(states: Tensor) -> Tensor:
        grams = [gram(x) for x in states]
        return torch.tensor([[float(ratio(k, other)) for other in grams] for k in grams])

    def both_sides(states: Tensor, reference: Tensor) -> Tensor:
        return torch.stack([ratio(gram(x), gram(y)) for x, y in zip(states, reference, strict=True)])

    def one_side(states: Tensor, reference: list[Tensor]) -> Tensor:
        return torch.stack([ratio(gram(x), other) for x, other in zip(states, reference, strict=True)])

    if kept:
        return Contender(f"{name}, reference kept", "biased", cell, one_side, matrix, lambda r: [gram(x) for x in r])
    return Contender(name, "biased", cell, both_sides, matrix)


def pytorch_cka() -> Contender:
    from cka import cka_from_features

    def live(states: Tensor, reference: Tensor) -> Tensor:  # all at once would compute all pairs of layers
        return torch.stack([cka_from_features(x, y)[0, 0] for x, y in zip(states, reference, strict=True)])

    return Contender(
        "pytorch-cka",
        "debiased",
        lambda x, y: cka_from_features(x, y)[0, 0],
        live,
        lambda states: cka_from_features(states, states),
    )


def torch_cka() -> Contender:
    from torch_cka import CKA

    host = SimpleNamespace(device="cpu")

    def gram(x: Tensor) -> Tensor:
        return (x @ x.T).fill_diagonal_(0.0)

    def ratio(k: Tensor, other: Tensor) -> float:
        cross, own_x, own_y = (CKA._HSIC(host, a, b) for a, b in ((k, other), (k, k), (other, other)))
        return float(cross / np.sqrt(own_x * own_y))

    def matrix(states: Tensor) -> Tensor:  # as its compare() does: everything of the second side again for every pair
        return torch.tensor([[ratio(k, gram(y)) for y in states] for k in map(gram, states)])

    return Contender(
        "torch_cka",
        "debiased",
        lambda x, y: ratio(gram(x), gram(y)),
        lambda states, reference: torch.tensor(
            [ratio(gram(x), gram(y)) for x, y in zip(states, reference, strict=True)]
        ),
        matrix,
        pairwise=True,
    )


def cka_pytorch() -> Contender:
    from cka_pytorch.hsic import hsic1

    def ratio(k: Tensor, other: Tensor) -> Tensor:
        return hsic1(k, other) / (hsic1(k, k) * hsic1(other, other)).sqrt()

    def matrix(states: Tensor) -> Tensor:
        grams = states @ states.mT
        return torch.cat([ratio(grams, grams.roll(-i, 0)) for i in range(len(grams))])  # by diagonals

    def aligned(states: Tensor) -> Tensor:
        layers = len(states)
        diagonals = matrix(states).reshape(layers, layers)
        rows = torch.arange(layers)
        return torch.stack([diagonals[(rows - i) % layers, i] for i in range(layers)])

    return Contender(
        "cka-pytorch",
        "debiased",
        lambda x, y: ratio((x @ x.T)[None], (y @ y.T)[None]),
        lambda states, reference: ratio(states @ states.mT, reference @ reference.mT),
        aligned,
        pairwise=True,
    )


def ckatorch() -> Contender:
    from ckatorch import cka_base

    return from_pairs("ckatorch", "debiased", lambda x, y: float(cka_base(x, y, unbiased=True)))


def repsim() -> Contender:
    import repsim as package

    def values(*sides: Tensor) -> Any:
        return package.cka([side.double().numpy() for side in sides], "linear", "gretton")

    return Contender(
        "repsim",
        "biased",
        lambda x, y: values(x, y)[0, 1],
        lambda states, reference: [values(x, y)[0, 1] for x, y in zip(states, reference, strict=True)],
        lambda states: values(*states),
        pairwise=True,
    )


#: Distribution name -> adapter.
PEERS = {
    "pytorch-cka": pytorch_cka,
    "torch_cka": torch_cka,
    "cka-pytorch": cka_pytorch,
    "ckatorch": ckatorch,
    "repsim": repsim,
}


def available() -> tuple[list[Contender], list[str]]:
    """Adapters of the packages that are there, and a line on each that is not."""
    found, missing = [], []
    for name, make in PEERS.items():
        try:
            found.append(make())
        except ImportError as error:
            missing.append(f"{name} skipped: {error}")
    return found, missing


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
