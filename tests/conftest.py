"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# Decided before any library reads them: no test talks to a network or to a user's account.
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
# Two processes share the cores; tensors are small, and threads of each would wait for one another most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files and tests that train, draw, sample much or start processes: `make test-fast` leaves them out.
SLOW = (
    "advice/test_advice_benchmark.py::test_trials",
    "advice/test_advise.py",
    "advice/test_check",
    "advice/test_trial.py",
    "charts/",
    "compat/test_torch.py::test_sharded_parameters_are_told",
    "extraction/test_architectures.py",
    "extraction/test_checksum.py",
    "functional/test_cluster_intervals.py",
    "functional/test_gram.py::test_products_ignore_reduced_precision",
    "functional/test_uncertainty.py",
    "measurements/",
    "monitor/",
    "probes/test_probe_set.py::test_toy_and_real_tasks",
    "sinks/",
    "study/",
    "test_cli.py",
    "test_demo.py",
    "test_examples.py",
    "test_gemma_example.py",
    "test_gpu_benchmark.py",
    "test_house.py",
    "test_import.py::test_the_test_above_can_fail",
    "test_packaging.py",
    "test_profiles.py::test_the_interval_over_tasks_covers",
    "test_transitions",
    "training/",
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow, in one place."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and f"{item.path.relative_to(here).as_posix()}::{item.name}".startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real tasks that the developers measure on; absent on a user's machine."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the developers' data in {SHARED_DATA}")
    return SHARED_DATA
