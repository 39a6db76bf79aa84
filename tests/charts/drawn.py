"""What Vega has drawn of a chart: its words with their boxes, its cells, its lines."""

import math

import vl_convert

from lightning_layerscope import charts
from lightning_layerscope.charts.render import VERSION


def scene(chart):
    return vl_convert.vegalite_to_scenegraph(charts.spec(chart), vl_version=VERSION)


def marks(graph, kind, name=""):
    """Every item of this kind of mark (and of this name, where given) with the place of its group."""
    found = []

    def walk(mark, x, y):
        for item in mark.get("items", []):
            if mark["marktype"] == kind and mark.get("name", "").endswith(name):
                found.append((item, x, y))
            for inner in item.get("items", []):
                walk(inner, x + (item.get("x") or 0), y + (item.get("y") or 0))

    walk(graph["scenegraph"], *graph["origin"])
    return found


def words(chart):
    return [line for text, _ in texts(chart) for line in text]


def texts(chart):
    """Every text, as a list of lines, with its box (left, top, right, bottom) in pixels of the picture."""
    found = []
    for item, x, y in marks(scene(chart), "text"):
        lines = item["text"] if isinstance(item["text"], list) else [item["text"]]
        if item.get("opacity") == 0 or not any(str(line).strip() for line in lines):
            continue
        found.append(([str(line) for line in lines], _box(item, lines, x, y)))
    return found


def _width(letter):
    """Roughly, in a sans-serif font of size 1."""
    if letter in "iljI.,:;'|()[]tfr -/·":
        return 0.29
    return 0.68 if letter.isupper() else 0.54


def _box(item, lines, x, y):
    size = item["fontSize"]
    wide = max(sum(_width(letter) for letter in str(line)) for line in lines) * size
    wide, high = min(wide, item.get("limit") or math.inf), size * 1.1 * len(lines)
    left = {"right": -wide, "center": -wide / 2}.get(item.get("align"), 0)
    top = {"top": 0, "line-top": 0, "middle": -high / 2, "bottom": -high}.get(item.get("baseline"), -0.8 * high)
    corners = [(left, top), (left + wide, top + high)]
    turn = math.radians(item.get("angle") or 0)
    turned = [
        (
            px * math.cos(turn) - py * math.sin(turn),
            px * math.sin(turn) + py * math.cos(turn),
        )
        for px, py in corners
    ]
    xs, ys = zip(*turned, strict=True)
    here = x + (item.get("x") or 0) + (item.get("dx") or 0), y + (item.get("y") or 0) + (item.get("dy") or 0)
    return here[0] + min(xs), here[1] + min(ys), here[0] + max(xs), here[1] + max(ys)
