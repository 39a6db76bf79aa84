"""The demo's result in words and one small table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from lightning_layerscope.functional.cluster_intervals import defined_mean
from lightning_layerscope.profiles.curves import mean_curve
from lightning_layerscope.sinks.reading import read_results
from lightning_layerscope.text_tables import number, table
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.demo.options import DemoResult

_WIDTH = 100


def read_demo(result: DemoResult) -> str:
    """What moved, in which layers, whether that is a transition, what the tasks gained, and where to look."""
    paragraphs = [*read_results(result.record), gains(result)]
    parts = [textwrap.fill(paragraph, _WIDTH, break_on_hyphens=False) for paragraph in paragraphs]
    return "\n\n".join([*parts, cluster_table(result), places(result)])


def gains(result: DemoResult) -> str:
    """Held-out loss and exact answers, before and after, with the interval of the change over tasks."""
    before, after = list(result.before.values()), list(result.after.values())
    losses = np.array([new.loss - old.loss for old, new in zip(before, after, strict=True)])
    profile = result.record.measurements[-1].profile
    change = mean_curve(losses[:, None], [0], 0.9, [profile.clusters[task] for task in result.before]).iloc[0]
    old, new = (float(np.mean([score.loss for score in scores])) for scores in (before, after))
    exact = [float(np.mean([score.exact for score in scores])) for scores in (before, after)]
    interval = (
        "" if np.isnan(change["low"]) else f" (90 % interval over tasks {change['low']:+.2f} to {change['high']:+.2f})"
    )
    return (
        f"On held-out rows the loss per answer token went from {old:.2f} to {new:.2f} nats, {change['value']:+.2f}"
        f"{interval}; answers right to the letter from {exact[0]:.0%} to {exact[1]:.0%}."
    )


def cluster_table(result: DemoResult) -> str:
    """Per cluster: similarity to the start in the first, middle and last layer, loss and exact answers."""
    profile = result.record.measurements[-1].profile
    matrix, layers = profile.matrix(), profile.layers
    shown = sorted({0, len(layers) // 2, len(layers) - 1})
    rows = []
    for cluster in dict.fromkeys(profile.clusters.values()):
        tasks = [task for task in profile.tasks if profile.clusters[task] == cluster]
        part = matrix[[profile.tasks.index(task) for task in tasks]]
        means = [float(mean) for mean in defined_mean(part[:, shown])]
        scores = [(result.before[task], result.after[task]) for task in tasks]
        loss = [float(np.mean([pair[side].loss for pair in scores])) for side in (0, 1)]
        exact = [float(np.mean([pair[side].exact for pair in scores])) for side in (0, 1)]
        rows.append(
            [
                cluster[:32],
                str(len(tasks)),
                *(number(value, 2) for value in means),
                f"{loss[0]:.2f} > {loss[1]:.2f}",
                f"{exact[0]:.0%} > {exact[1]:.0%}",
            ]
        )
    return table(["cluster", "tasks", *(f"layer {layers[position]}" for position in shown), "loss", "exact"], rows)


def places(result: DemoResult) -> str:
    """Where the results are."""
    if result.wandb_folder is not None:
        wandb = f"wandb sync {result.wandb_folder}   (or run the demo with WANDB_MODE=online)"
    else:
        wandb = result.wandb_url or "not logged (WANDB_MODE=disabled)"
    rows = [
        ("report", str(result.report)),
        ("W&B", wandb),
        ("results", f"{result.folder}   ({count(len(result.record), 'measurement')}, {result.seconds:.0f} s in all)"),
    ]
    return "\n".join(f"{name:<8}{value}" for name, value in rows)
