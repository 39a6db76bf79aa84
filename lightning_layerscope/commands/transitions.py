"""``layerscope transitions``: shared, transition and refinement layers of a profile."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lightning_layerscope.commands.options import add_command, positive
from lightning_layerscope.commands.stored import load_profile

_EXAMPLES = """\
  layerscope transitions profile.parquet
  layerscope transitions runs/one/layerscope --step 200
  layerscope transitions profile.parquet --json
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "transitions", run, "cut the layers into shared, transition and refinement", _EXAMPLES
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE", help="profile, or folder of a run")
    parser.add_argument("--measure", help="default: the headline")
    parser.add_argument("--step", type=int, help="default: the last")
    parser.add_argument("--signal", metavar="TEXT", help="what is cut, in words; read from the profile by default")
    parser.add_argument("--resamples", type=positive, default=500, help="bootstrap samples over tasks (default 500)")
    parser.add_argument("--confidence", type=float, default=0.9, help="of the intervals (default 0.9)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON for other programs")


def run(options: argparse.Namespace) -> None:
    """Find and print."""
    from lightning_layerscope.transitions import find_transitions

    transition = find_transitions(
        load_profile(options.profile),
        measure=options.measure,
        step=options.step,
        signal=options.signal,
        resamples=options.resamples,
        confidence=options.confidence,
        seed=options.seed,
    )
    print(json.dumps(transition.to_dict(), indent=1) if options.json else transition.describe())
