"""The paper's figures 2 to 7, drawn from any study (Zhao, Ziser and Cohen, EMNLP 2024, arXiv 2410.20008).

Every function takes plain arrays and returns a matplotlib figure; nothing is read or logged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_layerscope.functional.cluster_intervals import defined_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLE_COLOURS = {"base": "#6c757d", "multitask": "#c2410c", "tuned": "#c2410c"}
ROLE_NAMES = {"base": "base model", "multitask": "multi-task model", "tuned": "tuned model"}
Array = np.ndarray[Any, np.dtype[np.float64]]


def boxes_per_layer(values: Mapping[str, Array], layers: Sequence[int], *, title: str, ylabel: str) -> Figure:
    """Figures 2 and 7: per layer, the distribution of a measure over tasks, one box per role.

    Args:
        values: Role to values of shape (tasks, layers); NaN cells are left out of their box.
        layers: Layer numbers, for the axis.
        title: What is shown, with the number of tasks.
        ylabel: The measure.
    """
    figure, axes = _figure(width=max(6.5, 0.34 * len(layers) + 2.5), height=4.2)
    step = 0.76 / len(values)
    for position, (role, matrix) in enumerate(values.items()):
        offset = (position - (len(values) - 1) / 2) * step
        boxes = axes.boxplot(
            [column[np.isfinite(column)] for column in np.asarray(matrix).T],
            positions=np.asarray(layers) + offset,
            widths=step * 0.86,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black", "linewidth": 1.2},
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": ROLE_COLOURS.get(role, "#0f766e")},
        )
        for box in boxes["boxes"]:
            box.set(facecolor=ROLE_COLOURS.get(role, "#0f766e"), alpha=0.75, linewidth=0.6)
        axes.plot(
            [], [], color=ROLE_COLOURS.get(role, "#0f766e"), linewidth=6, alpha=0.75, label=ROLE_NAMES.get(role, role)
        )
    _label(axes, layers, title, ylabel)
    figure.legend(loc="outside lower center", ncols=len(values), frameon=False)
    return figure


def curves_per_cluster(
    values: Mapping[str, Array], layers: Sequence[int], clusters: Sequence[str], *, ylabel: str
) -> Figure:
    """Figure 3: the mean over a cluster's tasks per layer, one panel per cluster, one line per role.

    Args:
        values: Role to values of shape (tasks, layers).
        layers: Layer numbers.
        clusters: The cluster of each task, in the order of the rows.
        ylabel: The measure.
    """
    names = sorted(set(clusters))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, grid = _figure(width=max(3.1 * columns, 4.2), height=2.5 * rows + 0.6, rows=rows, columns=columns)
    flat = list(np.asarray(grid).ravel())
    for axes, name in zip(flat, names, strict=False):
        member = np.asarray([cluster == name for cluster in clusters])
        for role, matrix in values.items():
            curve = defined_mean(np.asarray(matrix)[member])
            axes.plot(
                layers, curve, color=ROLE_COLOURS.get(role, "#0f766e"), linewidth=1.8, label=ROLE_NAMES.get(role, role)
            )
        axes.set_title(f"{name} ({int(member.sum())})", fontsize=9)
        axes.set_ylim(min(-0.05, _lowest(values)), 1.03)
        axes.grid(alpha=0.25)
    for axes in flat[len(names) :]:
        axes.set_axis_off()
    for axes in np.asarray(grid).reshape(rows, columns)[:, 0]:
        axes.set_ylabel(ylabel, fontsize=8)
    handles, labels = flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def task_maps(points: Mapping[int, Array], clusters: Sequence[str], *, method: str) -> Figure:
    """Figure 4: prompts of all tasks in a plane, one panel per layer, coloured by cluster.

    Args:
        points: Layer to coordinates of shape (prompts, 2).
        clusters: The cluster of each prompt.
        method: How the plane was found, for the title.
    """
    figure, grid = _figure(width=3.4 * len(points), height=4.3, columns=len(points))
    names = sorted(set(clusters))
    from matplotlib import colormaps

    colours = colormaps["tab20"](np.linspace(0, 1, 20))
    markers = "os^Dv"
    for axes, (layer, xy) in zip(np.atleast_1d(np.asarray(grid)).ravel(), points.items(), strict=True):
        for index, name in enumerate(names):
            member = np.asarray([cluster == name for cluster in clusters])
            axes.scatter(
                *np.asarray(xy)[member].T,
                s=9,
                color=colours[index % 20],
                marker=markers[index // 20 % 5],
                label=name,
                alpha=0.8,
                linewidths=0,
            )
        axes.set_title(f"layer {layer}")
        axes.set_xticks([])
        axes.set_yticks([])
    handles, labels = axes.get_legend_handles_labels()
    figure.suptitle(f"Prompts by cluster ({method})", fontsize=11)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False, fontsize=7, markerscale=2
    )
    return figure


def components_per_layer(values: Mapping[str, Array], layers: Sequence[int], *, limit: float) -> Figure:
    """Figure 5: principal components for 99 % of the variance, mean over tasks.

    Args:
        values: Role to counts of shape (tasks, layers).
        layers: Layer numbers.
        limit: The largest value that can occur: the smaller of width and examples - 1, mean over tasks.
    """
    figure, axes = _figure(width=6.5, height=3.6)
    for role, matrix in values.items():
        axes.plot(
            layers,
            defined_mean(matrix),
            color=ROLE_COLOURS.get(role, "#0f766e"),
            marker="o",
            markersize=3,
            label=ROLE_NAMES.get(role, role),
        )
    axes.axhline(limit, color="0.6", linewidth=0.8, linestyle=":")
    axes.text(layers[0], limit, f" at most {limit:.0f}", fontsize=7, va="bottom", color="0.4")
    _label(axes, layers, "Principal components for 99 % of the variance, mean over tasks", "components")
    axes.legend(frameon=False)
    return figure


def correlations_per_layer(
    correlations: Mapping[str, Mapping[str, Array]], pvalues: Mapping[str, Mapping[str, Array]], layers: Sequence[int]
) -> Figure:
    """Figure 6: Pearson correlation over tasks of the measure with each covariate; filled where p < .05.

    Args:
        correlations: Covariate to role to values of shape (layers,).
        pvalues: The same with p-values, adjusted for their number.
        layers: Layer numbers.
    """
    figure, grid = _figure(width=4.2 * len(correlations), height=3.6, columns=len(correlations))
    for axes, (covariate, by_role) in zip(np.atleast_1d(np.asarray(grid)).ravel(), correlations.items(), strict=True):
        for role, values in by_role.items():
            colour = ROLE_COLOURS.get(role, "#0f766e")
            axes.plot(layers, values, color=colour, linewidth=1.4, label=ROLE_NAMES.get(role, role))
            significant = np.asarray(pvalues[covariate][role]) < 0.05
            axes.scatter(np.asarray(layers)[significant], np.asarray(values)[significant], color=colour, s=20, zorder=3)
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_ylim(-1, 1)
        _label(axes, layers, covariate, "correlation over tasks")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        [*labels],
        loc="outside lower center",
        ncols=len(labels),
        frameon=False,
        title="points: p < .05, adjusted for the number of tests",
        title_fontsize=7,
    )
    return figure


def _figure(*, width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def _label(axes: Axes, layers: Sequence[int], title: str, ylabel: str) -> None:
    step = max(1, len(layers) // 16)
    axes.set_xticks(list(layers)[::step])
    axes.set_xlim(min(layers) - 0.7, max(layers) + 0.7)
    axes.set_xlabel("layer")
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", alpha=0.25)


def _lowest(values: Mapping[str, Array]) -> float:
    finite = [matrix[np.isfinite(matrix)] for matrix in map(np.asarray, values.values())]
    return float(min((part.min() for part in finite if part.size), default=0.0)) - 0.03
