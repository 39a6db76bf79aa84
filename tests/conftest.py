"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# Decided before any library reads them: no test talks to a network or to a user's account.
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real tasks that the developers measure on; absent on a user's machine."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the developers' data in {SHARED_DATA}")
    return SHARED_DATA
