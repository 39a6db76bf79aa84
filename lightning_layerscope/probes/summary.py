"""What a probe set holds, for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lightning_layerscope.probes.digests import token_choice_name
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.probes.base import BaseProbeSet

_SHOWN_TOKENS = 5


def summarise(probes: BaseProbeSet) -> str:
    """A table: one line per task, totals, and what every prompt has in common."""
    rows = [("task", "cluster", "prompts", "tokens", "cut")]
    for task, probe in probes.items():
        counts = f"{len(probe)} of {probe.available}"
        rows.append((task, probe.cluster, counts, f"{probe.num_tokens:,}", str(probe.truncated or "-")))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    cut = sum(probe.truncated for probe in probes.values())
    repeated = sum(probe.repeated for probe in probes.values())
    lines += [
        "",
        f"{count(len(probes), 'task')} in {count(len(set(probes.clusters.values())), 'cluster')}: "
        f"{count(probes.num_examples, 'prompt')} of the split {probes.split!r} (seed {probes.seed}), "
        f"{count(probes.num_tokens, 'token')}",
        f"{count(cut, 'prompt was', 'prompts were')} cut to {probes.max_length} tokens"
        if cut
        else f"no prompt has over {probes.max_length} tokens",
        f"{count(repeated, 'prompt is a copy', 'prompts are copies')} of another one of their task"
        if repeated
        else "no prompt occurs twice in its task",
        last_tokens(probes),
        f"tokenizer {probes.tokenizer_name} ({probes.vocab_size:,} tokens), token choice "
        f"{token_choice_name(probes.token_choice)}, template {probes.template}",
        f"examples {probes.examples_digest[:16]}, tokens {probes.tokens_digest[:16]}",
        *(f"note: {note}" for note in probes.notes),
    ]
    return "\n".join(line.rstrip() for line in lines)


def last_tokens(probes: BaseProbeSet) -> str:
    r"""The tokens that the prompts end in, in words: ``every prompt ends in the token '\n'``."""
    counts = Counter(piece for probe in probes.values() for piece in probe.last_tokens)
    if counts.total() < probes.num_examples:
        return "the last tokens of the prompts are not known"
    if len(counts) == 1:
        return f"every prompt ends in the token {next(iter(counts))!r}"
    shown = ", ".join(f"{piece!r} ({number:,})" for piece, number in counts.most_common(_SHOWN_TOKENS))
    hidden = len(counts) - _SHOWN_TOKENS
    more = f" and {count(hidden, 'other')}" if hidden > 0 else ""
    return f"the prompts end in the tokens {shown}{more}"
