"""Tables and verdicts of the trials that benchmarks/advice.py made, in Markdown.

python benchmarks/advice_table.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lightning_layerscope.advice.correlation import rank_correlation
from lightning_layerscope.advice.trial_file import read_lines
from lightning_layerscope.advice.verdict import judge
from lightning_layerscope.functional.interval import Interval

RESULTS = Path(__file__).resolve().parent / "advice_results"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    for path in sorted(folder.glob("*.jsonl")):
        if not path.name.endswith(".curves.jsonl"):
            print(f"### {path.stem}\n")
            print(selectors(path))
            curves = path.with_name(f"{path.stem}.curves.jsonl")
            if curves.is_file():
                print(correlations(curves))


def selectors(path: Path) -> str:
    verdict = judge(read_lines(path).values())
    lines = ["| selector | layers | seeds | loss | above the best | retention loss above base |", "|---" * 6 + "|"]
    for standing in verdict.standings:
        layers = "-".join(str(count) for count in sorted({standing.layers[0], standing.layers[-1]}))
        cells = [standing.selector, layers, standing.seeds, f"{standing.loss:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {words(standing.gap)} | {words(standing.forgotten)} |")
    return "\n".join([*lines, "", verdict.describe(), ""])


def words(gap: Interval | None) -> str:
    return "" if gap is None else f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"


def correlations(path: Path) -> str:
    """Does the drift curve predict the causal curve? Rank correlation over layers, bootstrap over tasks of seeds."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = ["| drift against the loss when ... | seeds | raw drift | drift per update |", "|---" * 4 + "|"]
    named = {
        "alone": "layer l alone is back",
        "from_bottom": "layers 1..l are back",
        "from_top": "layers l..L are back",
    }
    for way, title in named.items():
        those = [entry for entry in entries if way in entry["causal"]]
        tasks = list(those[0]["drift"])
        update = np.array([entry["update"] for entry in those])[:, None]
        drift = np.array([[entry["drift"][task] for task in tasks] for entry in those])
        causal = np.array([[entry["causal"][way][task] for task in tasks] for entry in those])
        # What one more layer back adds, where layers are put back together.
        steps = {"alone": causal, "from_bottom": gained(causal), "from_top": gained(causal[..., ::-1])[..., ::-1]}[way]
        lines.append(f"| {title} | {len(those)} | {interval(drift, steps)} | {interval(drift / update, steps)} |")
    return "\n".join([f"Rank correlation over {len(entries[0]['update'])} layers:", "", *lines, ""])


def gained(curve: Any) -> Any:
    return np.diff(curve, axis=-1, prepend=0.0)


def interval(drift: Any, causal: Any) -> str:
    """Each task of each seed is a unit."""
    found = rank_correlation(*(part.reshape(-1, part.shape[-1]) for part in (drift, causal)), draws=2000)
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


if __name__ == "__main__":
    main()
