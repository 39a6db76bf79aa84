"""Gradients of any size as few numbers that keep their cosines."""

from __future__ import annotations

import torch
from torch import Tensor

#: Lines of one pattern of signs and turns. Few lines would let equal lines of a gradient meet too often.
_LINES = 128


@torch.no_grad()
def sketch_gradient(gradient: Tensor, numbers: int = 4096, seed: int = 0) -> Tensor:
    r"""Project a gradient of any size onto few numbers that keep its cosines.

    .. math:: s_k = \sum_{i : h(i) = k} \sigma(i)\, g_i

    with a random place ``h(i)`` and sign ``sigma(i)`` for each entry: inner products are kept in expectation, with
    standard deviation of at most about ``sqrt(2 / numbers)`` of the norms' product. The gradient is read in lines of
    ``numbers`` entries, each turned by a random offset and added up, which is fast, the same to the bit in every call
    on one device, and lets no two entries of a line meet. Source: Charikar, Chen and Farach-Colton 2002; Weinberger et
    al. 2009, "Feature hashing for large scale multitask learning" (arXiv 0902.2206), lemma 2.

    Args:
        gradient: Any shape; its entries keep their order from call to call.
        numbers: Length of the result.
        seed: Seed of places and signs. The same seed and size give the same projection; the global generators are left
            alone.

    Returns:
        ``(numbers,)`` float32 on the gradient's device. Peak memory beside the input: about 5 kB per number.

    Raises:
        ValueError: For ``numbers`` below 1.

    Example:
        >>> sketch_gradient(torch.ones(10_000), numbers=8).shape
        torch.Size([8])
    """
    if numbers < 1:
        raise ValueError(f"sketch_gradient: expected `numbers` of 1 or more, got {numbers}.")
    flat, generator = gradient.detach().reshape(-1), torch.Generator().manual_seed(seed)
    device = flat.device
    # One pattern serves every block of lines, each with a turn and signs of its own: drawing costs more than adding.
    signs = _signs((_LINES, numbers), generator).to(device)
    turns = torch.randint(numbers, (_LINES,), generator=generator)
    places = torch.arange(2 * numbers).remainder(numbers).unfold(0, numbers, 1)[turns].to(device)
    sketch = torch.zeros(numbers, dtype=torch.float32, device=device)
    for block in torch.split(flat, _LINES * numbers):
        turn, flips = int(torch.randint(numbers, (), generator=generator)), _signs((_LINES, 1), generator)
        lines = torch.nn.functional.pad(block.float(), (0, -len(block) % numbers)).view(-1, numbers)
        signed = lines * signs[: len(lines)] * flips[: len(lines)].to(device)
        sketch += signed.gather(1, places[: len(lines)]).sum(dim=0).roll(turn)
    return sketch


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 1 - 2 * torch.randint(2, shape, generator=generator, dtype=torch.float32)
