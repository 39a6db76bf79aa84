"""One command that checks the package on a card: exactness, no trace, cost, budget, memory, similarity.

    python benchmarks/gpu.py --out TABLE.md [--device cuda] [--size full] [--sections states ...]

Needs torch, transformers, Lightning and peft, and neither an installation nor any weights: it runs from a checkout, on
random models. The file is written anew after every row, so that a run that is cut off leaves what it found; a section
that fails leaves its error as a row, and the others run. ``--size small`` takes seconds on a CPU.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import warnings
from pathlib import Path

# Before torch makes its first handle: cuBLAS is deterministic only with a workspace of its own.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from card import budget, cost, exactness, no_trace, similarity  # noqa: E402
from card.setting import SIZES, Setting  # noqa: E402

SECTIONS = {
    "similarity": ("CKA, the reference's Gram matrices kept", similarity),
    "states": ("Hidden states against float32, prompt by prompt", exactness),
    "trace": (f"A run of {no_trace.STEPS} steps with and without the monitor, deterministic kernels", no_trace),
    "cost": ("One measurement in training steps", cost),
    "budget": ("A measurement due at every step, under the default budget of 2 %", budget),
}


class Table:
    """The Markdown, on disk after every row."""

    def __init__(self, path: Path, head: str) -> None:
        self.path, self.lines, self.begin = path, [head], time.perf_counter()

    def add(self, *lines: str) -> None:
        for line in lines:
            print(f"[{time.perf_counter() - self.begin:5.0f} s] {line}", flush=True)
        self.lines += lines
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")


def write_section(table: Table, name: str, setting: Setting) -> bool:
    """Whether it went through."""
    title, section = SECTIONS[name]
    begin = time.perf_counter()
    table.add("", f"**{title}**", "", "| " + " | ".join(section.HEAD) + " |", "|---" * len(section.HEAD) + "|")
    try:
        for row in section.rows(setting):
            table.add("| " + " | ".join(row) + " |")
    except Exception as error:  # contained: the other sections are worth having
        text = " ".join(str(error).split()).replace("|", "/")
        table.add(f"| FAILED: {type(error).__name__}: {text[:500]} |" + " |" * (len(section.HEAD) - 1))
        return False
    finally:
        gc.collect()
        if setting.on_card:
            torch.cuda.empty_cache()
    table.add("", f"{time.perf_counter() - begin:.0f} s.")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.md"), help="the table's file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=SIZES, help="default: full on a card, small on a CPU")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    device = torch.device(options.device)
    setting = Setting(device, SIZES[options.size or ("full" if device.type == "cuda" else "small")])
    torch.backends.cuda.matmul.allow_tf32 = False
    warnings.simplefilter("ignore")  # other libraries' advice would hide the progress
    name = torch.cuda.get_device_name() if setting.on_card else "CPU"
    import pytorch_lightning
    import transformers

    table = Table(
        options.out,
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, Lightning "
        f"{pytorch_lightning.__version__}, {torch.get_num_threads()} CPU threads.",
    )
    passed = [write_section(table, name, setting) for name in options.sections]
    table.add("", f"{sum(passed)} of {len(passed)} sections went through.")
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
