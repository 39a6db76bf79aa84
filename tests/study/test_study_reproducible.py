"""The numbers of a small study stay what they were when they were first written down."""

import pandas as pd
import pytest

from lightning_layerscope.study.study import Study

# Task to encoded, gained, mean CKA of drift, losses of base, multi-task model and control.
KNOWN = {
    "larger_number": (0.844169724, -0.451251169, 0.332327300, 5.9810353, 5.9320840, 5.9578561),
    "parity": (0.723744059, -0.097699822, 0.379510712, 5.9037606, 5.8730982, 5.8819414),
    "last_word": (0.465899799, 0.461006318, 0.396022470, 5.9763902, 5.9269091, 5.9467691),
    "to_lumi": (0.405772212, 0.311994608, 0.371226682, 5.9765198, 5.9583057, 5.9624795),
}
COLUMNS = ["encoded", "gained", "drift_mean_cka", "loss_base", "loss_tuned", "loss_control"]


def test_the_numbers_of_a_small_study(finished: Study) -> None:
    rows = pd.read_csv(finished.results / "tasks.csv").set_index("task")
    for task, numbers in KNOWN.items():
        assert rows.loc[task, COLUMNS].tolist() == pytest.approx(numbers, abs=1e-6), task
