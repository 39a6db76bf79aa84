"""How far a model's next-token distributions have moved, in nats, with bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Logits turned into float32 at a time: with 262,144 words, 16 rows and 16 MB.
BLOCK = 2**22


@torch.no_grad()
def next_token_kl(reference: Tensor, current: Tensor) -> Tensor:
    r"""Divergence of the current from the reference next-token distribution, row by row.

    .. math:: \mathrm{KL}(p_0 \,\|\, p) = \sum_w p_0(w) \big(\log p_0(w) - \log p(w)\big)

    Source: Shenfeld, Pari and Agrawal 2025, "RL's razor" (arXiv 2509.04259), section 3: the mean of this forward
    divergence over prompts of the *new* task went with forgetting of the old ones, weight norms did not.

    Args:
        reference: ``(rows, words)`` logits of the model before training, any floating dtype.
        current: Logits of the same rows now.

    Returns:
        ``(rows,)`` float64, in nats, 0 for equal distributions; infinite where the current model rules out a word that
        the reference does not.

    Raises:
        ValueError: Wrong or unequal shapes, a non-floating dtype, or logits that are NaN.

    Peak memory beside the input: 2^22 numbers, whatever the vocabulary and the number of rows.

    Example:
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[0.0, 1.0986123]])
        >>> next_token_kl(even, sure)
        tensor([0.1438], dtype=torch.float64)
    """
    _check(reference, "reference")
    _check(current, "current")
    if reference.shape != current.shape:
        raise ValueError(
            f"next_token_kl: expected logits of the same rows and words, got {tuple(reference.shape)} and "
            f"{tuple(current.shape)}."
        )
    parts = []
    for start, stop in _pieces(current):
        log_p0 = _log_softmax(reference[start:stop].to(current.device))
        parts.append(_divergence(log_p0, _log_softmax(current[start:stop])))
    return torch.cat(parts)


class TopWords(NamedTuple):
    """A next-token distribution reduced to its likeliest words and the rest together.

    Attributes:
        words: ``(rows, kept)`` int64, ids of the likeliest words.
        log_probabilities: ``(rows, kept + 1)`` float32; the last is that of all other words together.
    """

    words: Tensor
    log_probabilities: Tensor


@torch.no_grad()
def top_words(logits: Tensor, kept: int = 64) -> TopWords:
    """Reduce next-token distributions to a size that can be stored for a whole run.

    Args:
        logits: ``(rows, words)``.
        kept: How many of the likeliest words keep a probability of their own; 64 take 776 bytes a row.

    Raises:
        ValueError: A wrong shape or dtype, NaN, or ``kept`` outside 1 .. words - 1.

    Example:
        >>> top_words(torch.tensor([[0.0, 2.0, 0.0]]), kept=1).words
        tensor([[1]])
    """
    _check(logits, "logits")
    if not 1 <= kept < logits.shape[1]:
        raise ValueError(f"top_words: expected `kept` between 1 and {logits.shape[1] - 1}, got {kept}.")
    words, values = [], []
    for start, stop in _pieces(logits):
        log_p = _log_softmax(logits[start:stop])
        chosen = log_p.topk(kept, dim=1).indices
        words.append(chosen)
        values.append(_coarse(log_p, chosen).float())
    return TopWords(torch.cat(words), torch.cat(values))


@torch.no_grad()
def top_words_kl(reference: TopWords, current: Tensor) -> Tensor:
    r"""Divergence from a stored distribution: over its likeliest words and the rest as one.

    .. math:: \sum_{w \in T} p_0(w) \log\frac{p_0(w)}{p(w)} + p_0(\bar T) \log\frac{p_0(\bar T)}{p(\bar T)}

    Grouping outcomes can only lower a divergence (log sum inequality; Cover and Thomas 2006, theorem 2.7.1), so this is
    a lower bound of :func:`next_token_kl`, and equal to it where nothing changed among the other words.

    Args:
        reference: What :func:`top_words` stored, on any device.
        current: ``(rows, words)`` logits of the same rows now.

    Returns:
        ``(rows,)`` float64, in nats.

    Raises:
        ValueError: Unequal rows, words outside the vocabulary, a wrong shape or dtype, or NaN.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0, 0.5]])
        >>> bool(top_words_kl(top_words(logits, kept=2), logits).abs() < 1e-6)
        True
    """
    _check(current, "current")
    if len(reference.words) != len(current) or int(reference.words.max()) >= current.shape[1]:
        raise ValueError(
            f"top_words_kl: the stored distributions have {len(reference.words)} rows and word ids up to "
            f"{int(reference.words.max())}, the logits have shape {tuple(current.shape)}; expected the same rows and "
            "vocabulary."
        )
    parts = []
    for start, stop in _pieces(current):
        stored = reference.log_probabilities[start:stop].to(current.device).double()
        words = reference.words[start:stop].to(current.device)
        parts.append(_divergence(stored, _coarse(_log_softmax(current[start:stop]), words)))
    return torch.cat(parts)


def _check(logits: Tensor, name: str) -> None:
    if logits.ndim != 2 or not logits.is_floating_point() or 0 in logits.shape:
        raise ValueError(f"`{name}` must be floating logits (rows, words), got {logits.dtype} {tuple(logits.shape)}.")


def _pieces(logits: Tensor) -> list[tuple[int, int]]:
    rows = max(1, BLOCK // logits.shape[1])
    return [(start, min(start + rows, len(logits))) for start in range(0, len(logits), rows)]


def _log_softmax(logits: Tensor) -> Tensor:
    logs = torch.log_softmax(logits.detach().float(), dim=1)
    if bool(torch.isnan(logs).any()):
        rows = torch.isnan(logs).any(dim=1).nonzero().flatten().tolist()
        raise ValueError(f"logits hold NaN or +infinity in {len(rows)} rows of a piece, first in row {rows[0]} of it.")
    return logs


def _coarse(log_p: Tensor, words: Tensor) -> Tensor:
    """Log probabilities of the words, and of the rest, which is 1 minus their sum taken from the other words."""
    own = log_p.gather(1, words).double()
    rest = log_p.scatter(1, words, -torch.inf).double().logsumexp(dim=1, keepdim=True)
    return torch.cat([own, rest], dim=1)


def _divergence(log_p0: Tensor, log_p: Tensor) -> Tensor:
    p0 = log_p0.double().exp()
    terms = p0 * (log_p0.double() - log_p.double())
    # 0 log 0 is 0: a word that the reference rules out adds nothing.
    return torch.where(p0 > 0, terms, 0).sum(dim=1)
