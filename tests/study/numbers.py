"""All numbers of a study, for comparisons to the bit."""

from pathlib import Path

import pandas as pd

from lightning_layerscope.profiles import LayerProfile


def assert_same_numbers(one: Path, two: Path) -> None:
    """The results of two studies are equal to the bit: every cell of every profile, every loss, every cut."""
    for role in ("base", "multitask", "drift"):
        a, b = (LayerProfile.from_parquet(folder / "profiles" / f"{role}.parquet") for folder in (one, two))
        pd.testing.assert_frame_equal(a.frame, b.frame, check_exact=True)
    for name in ("tasks.csv", "correlations.csv", "transitions.json", "table.md"):
        assert (one / name).read_text() == (two / name).read_text()
