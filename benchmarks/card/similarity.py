"""Linear CKA on the card: time against bare ``torch.mm``, error against float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from card.setting import Setting
from lightning_layerscope.functional import centered_gram, cka_from_grams, prepare_gram

HEAD = ("layers x examples x width", "estimator", "ms", "ms of the products by torch.mm", "ratio", "error")


def states(shape: tuple[int, int, int], seed: int, device: torch.device) -> Tensor:
    """A falling spectrum and two dimensions that are much larger and far from zero, as in residual streams."""
    layers, examples, width = shape
    base = torch.randn(examples, width, generator=torch.Generator().manual_seed(99)).to(device)
    own = torch.randn(examples, width, generator=torch.Generator().manual_seed(seed)).to(device)
    mixed = torch.linspace(0.2, 2.0, layers, device=device)[:, None, None] * own + base
    x = mixed * torch.arange(1, width + 1, device=device).pow(-0.25)
    for dimension in (width // 3, width // 2):
        x[..., dimension] = 100 * (x[..., dimension] + 100)
    return x


def rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    """As in a live measurement: the reference's Gram matrices are there."""
    for shape in setting.size.cka:
        x, y = (states(shape, seed, setting.device) for seed in (1, 2))
        out = torch.empty(shape[1], shape[1], device=setting.device)

        def bare(x: Tensor = x, out: Tensor = out) -> None:
            for layer in x:
                torch.mm(layer, layer.T, out=out)

        for estimator in ("debiased", "biased"):
            way = live(estimator, y)
            exact = live(estimator, y.double())(x.double())
            error = float((way(x).double() - exact).abs().max())
            products, own = setting.seconds(bare, 10), setting.seconds(lambda way=way, x=x: way(x), 10)
            name = " x ".join(map(str, shape))
            yield name, estimator, f"{own * 1e3:.2f}", f"{products * 1e3:.2f}", f"{own / products:.2f}", f"{error:.0e}"


def live(estimator: str, y: Tensor) -> Callable[[Tensor], Tensor]:
    """Compare states with a reference that is prepared once."""
    reference = prepare_gram(centered_gram(y))
    return lambda states: cka_from_grams(centered_gram(states), reference, estimator)
