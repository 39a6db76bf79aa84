"""The package's index: light to import, complete, and true."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_layerscope

HEAVY = (
    "lightning",
    "pytorch_lightning",
    "wandb",
    "transformers",
    "torchmetrics",
    "matplotlib",
    "altair",
    "vl_convert",
    "pandas",
    "peft",
    "datasets",
)


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_loads_none_of_the_heavy_libraries():
    assert loaded_by("import lightning_layerscope") == set()


def test_the_command_line_explains_itself_without_them():
    statement = "from lightning_layerscope.cli import build_parser\nbuild_parser().format_help()"
    assert loaded_by(statement) == set()


def test_the_test_above_can_fail():
    assert {"torchmetrics", "transformers"} <= loaded_by(
        "import lightning_layerscope\nlightning_layerscope.metrics.LinearCKA"
    )


@pytest.mark.parametrize("name", lightning_layerscope.__all__)
def test_every_public_name_is_there(name):
    found = getattr(lightning_layerscope, name)
    assert getattr(found, "__doc__", None)
    assert name in dir(lightning_layerscope)


def test_the_index_says_the_same_three_times():
    tree = ast.parse(Path(lightning_layerscope.__file__).read_text(encoding="utf-8"))
    (typed,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    imported = {alias.asname or alias.name for node in typed.body for alias in node.names}
    lazy = {*lightning_layerscope._HOMES, *lightning_layerscope._SUBPACKAGES}
    assert lightning_layerscope.__all__ == sorted(
        lightning_layerscope.__all__, key=lambda name: (name[0].islower(), name)
    )
    assert imported == lazy == set(lightning_layerscope.__all__)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'LayerProfil'"):
        lightning_layerscope.LayerProfil  # noqa: B018
