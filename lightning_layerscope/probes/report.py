"""What a probe set holds, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_layerscope.probes.digests import token_choice_name

if TYPE_CHECKING:
    from lightning_layerscope.probes.base import BaseProbeSet


def summary(probes: BaseProbeSet) -> str:
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
        f"{len(probes)} tasks in {len(set(probes.clusters.values()))} clusters: {probes.num_examples:,} prompts of the "
        f"split {probes.split!r} (seed {probes.seed}), {probes.num_tokens:,} tokens",
        f"{cut} prompts were cut to {probes.max_length} tokens"
        if cut
        else f"no prompt has over {probes.max_length} tokens",
        f"{repeated} prompts are copies of another one of their task"
        if repeated
        else "no prompt occurs twice in its task",
        f"tokenizer {probes.tokenizer_name} ({probes.vocab_size:,} tokens), token choice "
        f"{token_choice_name(probes.token_choice)}, template {probes.template}",
        f"examples {probes.examples_digest[:16]}, tokens {probes.tokens_digest[:16]}",
    ]
    return "\n".join(line.rstrip() for line in lines)
