"""``layerscope report``: the HTML page of a run or a profile, or of several side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_layerscope.commands.options import add_command, positive
from lightning_layerscope.commands.stored import check_new_file, load_record, run_folder

_EXAMPLES = """\
  layerscope report runs/one/layerscope
  layerscope report runs/full/layerscope runs/lora/layerscope --out comparison.html
  layerscope report before.parquet after.parquet --names before after --out comparison.html
  layerscope report runs/new/layerscope runs/old/layerscope --out live.html --watch
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "report", run, "write one self-contained HTML page of a run, or of several side by side", _EXAMPLES
    )
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="results of a run, or a profile (.parquet); of several the first is subtracted from the others",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: report.html in FOLDER, or beside the profile; of several, comparison.html here",
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the runs; default: what their paths differ in")
    parser.add_argument("--title", default="", help="over the page")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE; a run's own report.html always is")
    parser.add_argument(
        "--watch", action="store_true", help="write the page anew with every measurement, until interrupted"
    )
    parser.add_argument(
        "--every", type=positive, default=10, metavar="SECONDS", help="how often to look, with --watch (default: 10)"
    )


def run(options: argparse.Namespace) -> None:
    """Load and render, once or with every measurement."""
    sources = [run_folder(source) for source in options.sources]
    names = _names(sources, options.names)
    page = _page(sources, options.out, options.overwrite)
    if options.watch:
        from lightning_layerscope.commands.watching import watch

        watch(dict(zip(names, sources, strict=True)), page, title=options.title, seconds=options.every)
        return
    from lightning_layerscope.sinks.report import write_comparison

    records = {name: load_record(source) for name, source in zip(names, sources, strict=True)}
    print(f"report: {write_comparison(records, page, title=options.title)}")


def _page(sources: Sequence[Path], out: Path | None, overwrite: bool) -> Path:
    """Where the page goes; nothing but a run's own report is replaced unasked."""
    first = sources[0]
    if len(sources) == 1 and first.is_dir() and out is None:
        return first / "report.html"
    page = out or (Path("comparison.html") if len(sources) > 1 else first.with_suffix(".html"))
    check_new_file(page, overwrite)
    return page


def _names(sources: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    """One name per run; a single one needs none."""
    if names is not None:
        if len(names) != len(sources) or len(set(names)) != len(names):
            raise ValueError(
                f"expected {len(sources)} different names, one for each run, got --names {' '.join(names)}"
            )
        return list(names)
    return [""] if len(sources) == 1 else differing_parts(sources)


def differing_parts(paths: Sequence[Path]) -> list[str]:
    """What tells the paths apart: their parts without those that all begin and end with.

    Examples:
        >>> differing_parts([Path("runs/one/layerscope"), Path("runs/two/layerscope")])
        ['one', 'two']
        >>> differing_parts([Path("a.parquet"), Path("a.parquet")])
        ['a (1)', 'a (2)']
    """
    parts = [list(path.absolute().with_suffix("").parts) for path in paths]
    for end in (0, -1):
        while all(len(each) > 1 for each in parts) and len({each[end] for each in parts}) == 1:
            for each in parts:
                del each[end]
    names = ["/".join(each) for each in parts]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
