"""``layerscope transitions``: shared, transition and refinement layers of a profile."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.commands.options import add_command, positive
from lightning_layerscope.commands.stored import load_profile
from lightning_layerscope.text_tables import table

if TYPE_CHECKING:
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.profiles.curves import Floats
    from lightning_layerscope.transitions import SignalTable

_EXAMPLES = """\
  layerscope transitions profile.parquet
  layerscope transitions runs/one/layerscope --step 200
  layerscope transitions tuned_controls.parquet --base base_controls.parquet
  layerscope transitions profile.parquet --json
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "transitions", run, "cut the layers into shared, transition and refinement", _EXAMPLES
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE", help="profile, or folder of a run")
    parser.add_argument(
        "--base",
        type=Path,
        metavar="PROFILE",
        help="the base model's, against the same reference: gives two more signals",
    )
    parser.add_argument("--measure", help="default: the headline")
    parser.add_argument("--step", type=int, help="default: the last")
    parser.add_argument("--signal", metavar="TEXT", help="what is cut, in words; read from the profile by default")
    parser.add_argument("--resamples", type=positive, default=500, help="bootstrap samples over tasks (default 500)")
    parser.add_argument("--confidence", type=float, default=0.9, help="of the intervals (default 0.9)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON for other programs")


def run(options: argparse.Namespace) -> None:
    """Find and print."""
    from lightning_layerscope.transitions import find_signals, find_transitions

    profile = load_profile(options.profile)
    transition = find_transitions(
        profile,
        measure=options.measure,
        step=options.step,
        signal=options.signal,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=options.seed,
    )
    base = None if options.base is None else _matrix_like(profile, load_profile(options.base), options)
    signals = find_signals(
        profile,
        base,
        measure=options.measure,
        step=options.step,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=options.seed,
    )
    if options.json:
        print(json.dumps({**transition.to_dict(), "signals": signals.to_dict()}, indent=1))
        return
    print(transition.describe())
    print(_table(signals))
    print(signals.describe())


def _matrix_like(tuned: LayerProfile, base: LayerProfile, options: argparse.Namespace) -> Floats:
    """The base model's values, of its own last step; rows and columns must be those of the tuned model's."""
    for what, mine, other in (("tasks", tuned.tasks, base.tasks), ("layers", tuned.layers, base.layers)):
        if mine != other:
            raise ValueError(f"expected a --base profile of the same {what}, got {other} for {mine}")
    return base.matrix(options.measure)


def _table(signals: SignalTable) -> str:
    """One line per signal: its start and end with their intervals, or why there is none."""

    def side(layer: int | None, interval: tuple[int, int] | None) -> str:
        return "-" if layer is None or interval is None else f"{layer} [{interval[0]}, {interval[1]}]"

    rows = [
        [cut.name, side(cut.start, cut.start_interval), side(cut.end, cut.end_interval), cut.reason]
        for cut in signals.cuts
    ]
    return table(["signal", "start", "end", "why not"], rows)
