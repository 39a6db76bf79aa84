"""LightningCLI recipes that attach the monitor, as ``layerscope recipe`` prints them: the files of ``callbacks/``."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """The names of the recipes, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> str:
    """The YAML of a recipe, comments included.

    Raises:
        ValueError: When there is no such recipe; the message lists them.
    """
    if name not in recipe_names():
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(recipe_names())}")
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
