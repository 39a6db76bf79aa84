"""The curve over layers: all tasks with their band, every cluster, and where the transition lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_layerscope.charts import style
from lightning_layerscope.charts.words import (
    Floats,
    axis_limits,
    chosen_steps,
    clean,
    context,
    measure_name,
    spread,
    step_name,
    ticks,
)

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions import Transition

_AGES: tuple[dict[str, Any], ...] = (
    {"color": style.COLOURS[4], "linestyle": (0, (1.2, 1.2)), "linewidth": 1.6},
    {"color": style.COLOURS[0], "linestyle": (0, (5, 1.6)), "linewidth": 1.6},
    {"color": style.INK, "linestyle": "solid", "linewidth": 2.2},
)
"""First, previous, current: later is darker and more solid."""

LEFT, WIDTH, LEGEND = 0.72, 7.6, 1.35
SMALL, GAP = 1.75, 0.22


@style.styled
def layer_curve(
    profile: LayerProfile,
    *,
    steps: Sequence[int] | None = None,
    transition: Transition | None = None,
    measure: str | None = None,
    names: Sequence[str] | None = None,
    confidence: float = 0.9,
) -> Figure:
    """The mean over all tasks per layer with its band, above one small panel per measurement with a line per cluster.

    Without clusters (or with one, whose mean is that of all tasks) there are no small panels.

    Args:
        profile: where the values are.
        steps: one to three measurements, oldest first; the first, the previous and the current one by default.
        transition: of the last of these steps: its parts are named and its intervals drawn, or it is said that there is
            none.
        measure: which measure; the headline by default.
        names: what the measurements are called; ``first``, ``previous``, ``current`` by default.
        confidence: of the band, an interval over tasks.

    Raises:
        ValueError: for no step or more than three, or names that do not fit.
        KeyError: if the profile has no such measure or step.
    """
    name = measure or profile.measure
    rows = profile.frame[profile.frame["measure"] == name]
    if rows.empty:
        raise KeyError(f"no measure {name!r} in this profile; it has {profile.measures}")
    when = list(steps) if steps is not None else chosen_steps([int(step) for step in np.sort(rows["step"].unique())])
    if not 1 <= len(when) <= len(_AGES):
        raise ValueError(f"expected one to three steps, got {len(when)}; pass those to show, oldest first")
    titles = list(names) if names is not None else ["current"] if len(when) == 1 else ["first", "previous", "current"]
    if names is None and len(when) == 2:
        titles = ["first", "current"]
    if len(titles) != len(when):
        raise ValueError(f"expected one name per step, got {len(titles)} for {len(when)}; pass `names` like `steps`")
    ages = _AGES[len(_AGES) - len(when) :]
    means = [profile.mean_curve(name, step, confidence=confidence) for step in when]
    groups = [profile.cluster_curves(name, step) for step in when]
    # Bands of few tasks may be far wider than the values can be: the axis shows where values are possible.
    seen = [np.asarray(mean["value"], dtype=np.float64) for mean in means]
    least, most = (
        min(0.0, *(_extreme(values, -1) for values in seen)),
        max(1.0, *(_extreme(values, 1) for values in seen)),
    )
    seen += [np.asarray(mean[side].clip(least, most), dtype=np.float64) for mean in means for side in ("low", "high")]
    span = axis_limits(name, np.concatenate([*seen, *(curve for curves in groups for curve in curves.values())]))

    below = _plan_panels(list(groups[-1])) if len(groups[-1]) > 1 else None
    bottom = 0.5 if below is None else below.bottom + SMALL + 0.72
    figure = style.canvas(LEFT + WIDTH + LEGEND, bottom + 2.84 + 0.78)
    main = style.place(figure, LEFT, bottom, WIDTH, 2.84)
    _frame(main, profile.layers, span, most=int(WIDTH / 0.24))
    for mean, step, title, age in zip(means, when, titles, ages, strict=True):
        main.fill_between(mean["layer"], mean["low"], mean["high"], color=age["color"], alpha=0.14, linewidth=0)
        label = "\n".join(filter(None, (title, step_name(profile, step))))
        dots: dict[str, Any] = {"marker": "o", "markersize": 3} if len(profile.layers) <= 12 else {}
        main.plot(mean["layer"], mean["value"], label=label, **age, **dots)
    main.set_ylabel(_axis_name(name, span))
    main.set_xlabel("layer", labelpad=1)
    if transition is not None:
        _draw_transition(main, transition)
    main.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), labelspacing=1.1, handlelength=2.2)
    if below is not None:
        wide = (WIDTH + LEGEND - 0.15 - GAP * (len(when) - 1)) / len(when)
        for position, (mean, curves, step, title) in enumerate(zip(means, groups, when, titles, strict=True)):
            axes = style.place(figure, LEFT + position * (wide + GAP), below.bottom, wide, SMALL)
            _frame(axes, profile.layers, span, most=int(wide / 0.3))
            at_step = f" ({step_name(profile, step)})" if step_name(profile, step) else ""
            axes.set_title(f"clusters, {title}{at_step}", fontsize=8, loc="left", pad=3, color=style.INK)
            axes.set_xlabel("layer", labelpad=1)
            # Below the clusters, so that none of them is hidden by the mean that it equals.
            axes.plot(mean["layer"], mean["value"], color=style.INK, linewidth=1.8, alpha=0.85, label="all tasks")
            _draw_clusters(axes, profile.layers, curves)
            if position:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(measure_name(name))
        _name_clusters(figure, below.columns)
    band = f"band: {confidence:.0%} interval over tasks"
    style.headline(figure, 0.14, f"{measure_name(name)} over layers", f"{context(profile, name, when[-1])} · {band}")
    return figure


def _extreme(values: Floats, sign: int) -> float:
    defined = values[np.isfinite(values)]
    return sign * float((sign * defined).max()) if defined.size else 0.5


def _frame(axes: Axes, layers: Sequence[int], span: tuple[float, float], *, most: int) -> None:
    shown = ticks(len(layers), max(2, most))
    axes.set_xticks([layers[position] for position in shown])
    axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    axes.set_ylim(*span)
    axes.grid(axis="y")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _axis_name(measure: str, span: tuple[float, float]) -> str:
    low, high = span
    note = f"   (axis from {low:g})" if 0 < low < 1 <= high else ""
    return f"{measure_name(measure)}, mean over tasks{note}"


@dataclass(frozen=True)
class _Panels:
    """Room for the clusters' panels: their lower edge in inches, and the columns of the legend below."""

    bottom: float
    columns: int


def _plan_panels(clusters: Sequence[str]) -> _Panels:
    column = style.text_width([clean(cluster, 44) for cluster in clusters], 7.5) + 0.62
    lines = len(clusters) + 1  # all tasks
    columns = max(1, min(lines, int((WIDTH + LEGEND) / column)))
    return _Panels(bottom=0.62 + 0.17 * -(-lines // columns), columns=columns)


def _draw_clusters(axes: Axes, layers: Sequence[int], curves: Mapping[str, Floats]) -> None:
    for line, (cluster, curve) in enumerate(curves.items()):
        axes.plot(layers, curve, linewidth=1.2, label=clean(cluster, 44), **style.line_style(line))


def _name_clusters(figure: Figure, columns: int) -> None:
    """The legend of the last panel's lines, below all panels."""
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    anchor = (LEFT / figure.get_size_inches()[0], 0.06 / figure.get_size_inches()[1])
    legend = figure.legend(
        handles, labels, loc="lower left", bbox_to_anchor=anchor, ncols=columns, handlelength=2.4, borderaxespad=0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_transition(axes: Axes, transition: Transition) -> None:
    """Tint the transition, name the parts, and draw each boundary's interval; or say that there is none."""
    above = axes.get_xaxis_transform()
    if not transition.found or transition.start is None or transition.end is None:
        text = f"no {transition.kind} found: {clean(transition.reason, 90)}"
        axes.text(
            0.0, 1.03, text, transform=axes.transAxes, fontsize=8, style="italic", color=style.MUTED, parse_math=False
        )
        return
    axes.axvspan(transition.start - 0.5, transition.end + 0.5, color=style.BAND, alpha=0.17, linewidth=0, zorder=0)
    parts = (
        ("shared", transition.shared),
        (transition.kind, transition.transition),
        ("refinement", transition.refinement),
    )
    named = [(word, layers) for word, layers in parts if layers]
    labels = [f"{word} {layers[0]}" + (f"-{layers[-1]}" if len(layers) > 1 else "") for word, layers in named]
    left, right = axes.get_xlim()
    inches = axes.bbox.width / style.DPI / (right - left)
    widths = [(style.text_width([label], 8, bold=True) + 0.12) / inches for label in labels]
    places = spread([(layers[0] + layers[-1]) / 2 for _, layers in named], widths, left, right)
    for (word, _), label, centre in zip(named, labels, places, strict=True):
        axes.text(
            centre,
            1.035,
            label,
            transform=above,
            ha="center",
            va="bottom",
            fontsize=8,
            fontweight="bold" if word == transition.kind else "normal",
            color=style.INK,
        )
    bounds = ((transition.start_interval, -0.5, 0.035), (transition.end_interval, 0.5, 0.075))
    for interval, shift, height in bounds:
        if interval is None:
            continue
        ends = [interval[0] + shift, interval[1] + shift]
        axes.plot(ends, [height, height], transform=above, color=style.BAND, linewidth=1.4, marker="|", markersize=6)
    for edge in (transition.start - 0.5, transition.end + 0.5):
        axes.axvline(edge, color=style.BAND, linewidth=0.9, zorder=1)
    words = f"|—| {transition.confidence:.0%} interval of each boundary"
    axes.text(0.995, 0.02, words, transform=axes.transAxes, ha="right", va="bottom", fontsize=7, color=style.MUTED)
