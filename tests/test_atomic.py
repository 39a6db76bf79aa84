"""Files and folders that appear whole: as readable as any new file, and nothing hidden left beside them."""

import os

import pytest
import torch
from safetensors.torch import save_file

from lightning_layerscope.atomic import replace_file, replace_folder


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


def write_private(path):
    # safetensors replaces the file by one that only its owner can read.
    save_file({"x": torch.ones(2)}, path)
    assert mode(path) == 0o600


def test_a_file_is_as_readable_as_any_new_one(tmp_path, umask):
    with replace_file(tmp_path / "deep" / "file") as passing:
        write_private(passing)
    assert mode(tmp_path / "deep" / "file") == 0o666 & ~umask
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_folder_is_readable_with_all_that_is_in_it(tmp_path, umask):
    with replace_folder(tmp_path / "folder", marker="tensors") as passing:
        write_private(passing / "tensors")
        (passing / "inner").mkdir(mode=0o700)
        write_private(passing / "inner" / "tensors")
    assert [mode(tmp_path / "folder" / name) for name in ("tensors", "inner/tensors")] == [0o666 & ~umask] * 2
    assert [mode(tmp_path / name) for name in ("folder", "folder/inner")] == [0o777 & ~umask] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_a_link_points_to_keeps_its_permissions(tmp_path):
    (tmp_path / "private").touch(mode=0o600)
    with replace_folder(tmp_path / "folder", marker="link") as passing:
        (passing / "link").symlink_to(tmp_path / "private")
    assert mode(tmp_path / "private") == 0o600


def fail_inside(replacement, name=""):
    with replacement as passing:
        (passing / name).write_text("half")
        raise OSError("full")


def test_a_failure_leaves_what_was_there_and_nothing_hidden(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "marker").touch()
    with pytest.raises(OSError, match="full"):
        fail_inside(replace_file(tmp_path / "file"))
    with pytest.raises(OSError, match="full"):
        fail_inside(replace_folder(tmp_path / "folder", overwrite=True, marker="marker"), "half")
    assert (tmp_path / "file").read_text() == "old"
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["file", "folder", "folder/marker"]
