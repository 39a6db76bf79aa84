"""The templates, styles and scripts of the HTML pages, those of a study included."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

_ASSETS = Path(__file__).with_name("assets")

SCRIPTS = (
    "numbers", "statistics", "runs", "state", "sight", "tip", "brush", "pictures", "views", "squares", "signals",
    "answers", "sections", "figures", "controls", "chooser", "ribbon", "cursor", "sorting", "tables", "start",
)  # fmt: skip
"""The page's own scripts, in the order in which they need each other."""


def page_template(name: str) -> Template:
    """A page's template: what is put in is escaped, and what it names must be given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


@cache
def drawing_script() -> str:
    """The script that draws charts; made once, for that takes seconds."""
    from lightning_layerscope import charts

    return in_page(charts.javascript())


@cache
def own_script() -> str:
    """The page's own scripts as one."""
    return in_page("\n".join((_ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS))


def in_page(script: str) -> str:
    """A script that neither ends its element early nor opens a comment; both can stand in its texts alone."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def json_in_page(content: Any) -> str:
    """JSON that nothing in it can leave: no ``<`` of it is seen by a reader of HTML."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts and no others, and ask for nothing.

    ``unsafe-eval``, because Vega makes functions of the charts' expressions; none of them holds a name or a value.
    """
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src 'unsafe-eval' {allowed}"
