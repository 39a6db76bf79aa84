"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# Decided before any library reads them: no test talks to a network or to a user's account.
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

# Files whose tests train, draw many pictures or start processes: `make test-fast` leaves them out.
SLOW = (
    "advice/test_check.py",
    "advice/test_trial.py",
    "callbacks/",
    "charts/",
    "drawing/",
    "extraction/test_architectures.py",
    "monitor/",
    "sinks/",
    "study/",
    "test_cli.py",
    "test_demo.py",
    "test_examples.py",
    "test_gemma_example.py",
    "test_gpu_benchmark.py",
    "test_packaging.py",
    "training/",
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of whole files as slow, in one place."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and str(item.path.relative_to(here)).startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def patience_with_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is waited for on a machine however busy; what becomes of a slow one has tests that say so."""
    from lightning_layerscope.drawing import process

    monkeypatch.setattr(process, "SECONDS_AT_END", 300.0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real tasks that the developers measure on; absent on a user's machine."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the developers' data in {SHARED_DATA}")
    return SHARED_DATA
