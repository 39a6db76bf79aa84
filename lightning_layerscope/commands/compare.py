"""``layerscope compare``: hidden states against a reference."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_layerscope.commands.curves import curve_table
from lightning_layerscope.commands.options import add_command
from lightning_layerscope.commands.stored import check_new_file, load_states
from lightning_layerscope.wording import count

_EXAMPLES = """\
  layerscope compare tuned.states base.bank
  layerscope compare tuned.states base.bank --out profile.parquet --measure svcca
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "compare", run, "compare hidden states with a reference, layer by layer", _EXAMPLES)
    parser.add_argument("states", type=Path, metavar="STATES", help="folder of hidden states (or a reference)")
    parser.add_argument("reference", type=Path, metavar="REFERENCE", help="folder of a reference (or hidden states)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the profile here, as parquet")
    parser.add_argument("--measure", default="cka", help="cka (default), rbf_cka, svcca, rsa, mutual_knn, ...")
    parser.add_argument("--estimator", default="debiased", choices=["debiased", "biased"], help="biased is the paper's")
    parser.add_argument("--confidence", type=float, default=0.9, help="of the intervals (default 0.9)")
    parser.add_argument("--step", type=int, help="training step of STATES, where they are of a run")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run(options: argparse.Namespace) -> None:
    """Compare, print, store."""
    from lightning_layerscope.comparison import compare
    from lightning_layerscope.options import Comparison
    from lightning_layerscope.profiles import LayerProfile
    from lightning_layerscope.transitions import find_transitions

    comparison = Comparison(estimator=options.estimator)
    if options.out is not None:
        check_new_file(options.out, options.overwrite)
    profile = compare(
        load_states(options.states),
        load_states(options.reference),
        measure=options.measure,
        estimator=comparison.estimator,
        confidence=options.confidence,
        step=options.step or 0,
    )
    if not profile.meta.reference:
        profile = LayerProfile(profile.frame, replace(profile.meta, reference=options.reference.name))
    curve = profile.mean_curve(confidence=options.confidence)
    print(
        f"{profile.measure} ({profile.meta.estimator}) with {profile.meta.reference}, mean over "
        f"{count(len(profile.tasks), 'task')} with its {options.confidence:.0%} interval over tasks, and per cluster"
    )
    print(curve_table(curve, profile.cluster_curves()))
    print(find_transitions(profile, confidence=options.confidence).describe())
    for note in (*profile.meta.warnings, *profile.meta.notes):
        # Two checkpoints have no step between them.
        print(f"note: {note if options.step is not None else note.removeprefix('step 0: ')}")
    if options.out is not None:
        print(f"profile: {profile.to_parquet(options.out)}")
