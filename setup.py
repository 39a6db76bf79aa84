"""What setup.cfg cannot say: on an index, README's relative links start from the project's address."""

import configparser
import re
from pathlib import Path

from setuptools import setup

_HERE = Path(__file__).parent
_PICTURES = (".png", ".svg", ".gif", ".jpg")


def absolute_links(text: str, home: str) -> str:
    """The same Markdown with links and pictures that work anywhere; anchors and whole addresses stay."""

    def absolute(match: re.Match[str]) -> str:
        target = match["target"]
        kind = "raw" if target.endswith(_PICTURES) else "blob"
        return f"]({home}/{kind}/main/{target})"

    return re.sub(r"\]\((?P<target>(?![a-z]+:|#)[^)\s]+)\)", absolute, text)


_settings = configparser.ConfigParser()
_settings.read(_HERE / "setup.cfg", encoding="utf-8")
_home = _settings["metadata"]["url"]
setup(
    long_description=absolute_links((_HERE / "README.md").read_text(encoding="utf-8"), _home),
    project_urls={
        "Documentation": f"{_home}/tree/main/docs",
        "Changelog": f"{_home}/blob/main/CHANGELOG.md",
        "Issues": f"{_home}/issues",
    },
)
