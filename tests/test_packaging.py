"""What is installed, and what is published: a wheel and a source distribution, built and looked into."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from lightning_layerscope.cli import main
from lightning_layerscope.recipes import read_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lightning_layerscope"
NO_PART = {"__pycache__", "build", "dist"}


def tracked(folder):
    """Every file below, but what Python and builds leave behind, relative to the root."""
    files = (path for path in folder.rglob("*") if path.is_file() and not NO_PART & set(path.parts))
    return {str(path.relative_to(ROOT)) for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel, source distribution and the output of a build from a copy of the repository."""
    if not (ROOT / "setup.cfg").is_file():
        pytest.skip("needs the repository")
    source, out = tmp_path_factory.mktemp("build") / "source", tmp_path_factory.mktemp("dist")
    away = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "wandb", "lightning_logs")
    shutil.copytree(ROOT, source, ignore=away)
    code = f"from setuptools import build_meta as b; b.build_wheel({str(out)!r}); b.build_sdist({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return zipfile.ZipFile(wheel), tarfile.open(sdist), done.stdout + done.stderr


@pytest.fixture(scope="module")
def metadata(built):
    (name,) = [name for name in built[0].namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(built[0].read(name))


def test_the_wheel_holds_the_whole_package_and_nothing_else(built):
    names = {name for name in built[0].namelist() if ".dist-info/" not in name}
    assert names == tracked(PACKAGE)
    assets = "lightning_layerscope/sinks/report/assets"
    expected = {f"{assets}/report.html", f"{assets}/page.css", f"{assets}/start.js", "lightning_layerscope/py.typed"}
    assert expected <= names


def test_the_build_complains_of_nothing_that_is_left_undeclared(built):
    assert "absent from" not in built[2]
    assert "Deprecat" not in built[2]


def test_the_source_distribution_holds_what_a_developer_needs(built):
    names = {name.split("/", 1)[1] for name in built[1].getnames() if "/" in name}
    folders = ("lightning_layerscope", "tests", "docs", "examples", "callbacks", "benchmarks")
    wanted = {name for folder in folders for name in tracked(ROOT / folder)}
    files = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "constraints.txt"}
    assert not (wanted | files | {"pyproject.toml", "setup.cfg", "setup.py"}) - names
    assert not {name for name in names if NO_PART & set(name.split("/"))}


def test_links_and_pictures_of_the_page_on_an_index_work_from_there(metadata):
    home = metadata["Home-page"] or dict(entry.split(", ", 1) for entry in metadata.get_all("Project-URL"))["Homepage"]
    targets = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://")
        if target.startswith(home):
            kind, branch, path = target.removeprefix(f"{home}/").split("/", 2)
            assert (kind, branch) == ("raw" if path.endswith(".png") else "blob", "main")
            assert (ROOT / path.partition("#")[0]).is_file()
    assert f"{home}/raw/main/docs/images/heatmap.png" in targets
    assert any(entry.startswith("Changelog, ") for entry in metadata.get_all("Project-URL"))


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_versions_that_an_attacker_published_are_excluded(metadata, name):
    (wanted,) = [
        entry.split(";")[0] for entry in metadata.get_all("Requires-Dist") if re.match(rf"{name}[^\w-]", entry)
    ]
    assert "!=2.6.2" in wanted
    assert "!=2.6.3" in wanted


def test_the_recipes_are_the_files_of_the_repository(capsys):
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "callbacks").glob("*.yaml")}
    assert sorted(files) == recipe_names()
    for name, text in files.items():
        assert main(["recipe", name]) == 0
        assert capsys.readouterr().out == text == read_recipe(name)
    assert main(["recipe"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(files)


def test_an_unknown_recipe_is_told_with_those_there_are(capsys):
    assert main(["recipe", "monitr"]) == 2
    assert "there is no recipe 'monitr'; there are adapters, monitor" in capsys.readouterr().err
