"""A matplotlib figure as a small inline SVG: text stays text, colours are the page's, ids never clash, nothing tells the time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"

INK, MUTED, RULE, BAND, BAD = "#000001", "#000002", "#000003", "#000004", "#000005"
SERIES = tuple(f"#0000a{i}" for i in range(6))
"""Stand-ins: a page in light or dark puts its own colour in their place (see ``VARIABLES``)."""

VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", BAND: "--band", BAD: "--bad"} | {
    color: f"--s{i}" for i, color in enumerate(SERIES)
}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 8.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.color": INK,
    "axes.unicode_minus": True,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The style that figures are made in. That matplotlib's font lacks a letter is no matter: the browser draws the text."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*Glyph .* missing from", category=UserWarning)
        yield


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """``name`` starts every id in the figure, so no other figure of the page may have it; ``title`` is for screen readers."""
    buffer = io.BytesIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_figure(buffer, format="svg", facecolor="none", metadata=no_metadata)
    root = ElementTree.fromstring(buffer.getvalue())
    _drop_clutter(root)
    _own_ids(root, name)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in ("d", "x", "y", "transform", "width", "height", "points"):
                element.set(key, _round(value))
        if element.tag == f"{SVG}text":
            _plain_text(element)
        if "style" in element.attrib:
            element.set("style", _page_colors(element.attrib["style"]))
    root.set("role", "img")
    root.set("aria-label", title)
    root.set("width", f"{figure.get_figwidth() * 96:.0f}")
    root.set("height", f"{figure.get_figheight() * 96:.0f}")
    return Markup(_markup(root))


def _drop_clutter(root: ElementTree.Element) -> None:
    """Metadata, and the style element that would reach the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{SVG}metadata" or (child.tag == f"{SVG}defs" and child.find(f"{SVG}style") is not None):
                parent.remove(child)


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Number the ids that are referred to, drop the others. matplotlib calls the first axes of every figure ``axes_1``."""
    fresh: dict[str, str] = {}
    for element in root.iter():
        if XLINK_HREF in element.attrib:
            target = element.attrib.pop(XLINK_HREF)[1:]
            element.set("href", "#" + fresh.setdefault(target, f"{name}.{len(fresh)}"))
        for key, value in element.attrib.items():
            found = re.fullmatch(r"url\(#(.+)\)", value)
            if found:
                element.set(key, f"url(#{fresh.setdefault(found[1], f'{name}.{len(fresh)}')})")
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old in fresh:
            element.set("id", fresh[old])


def _plain_text(element: ElementTree.Element) -> None:
    """The page's style sheet sets the font; only the size, the anchor and the colour are the figure's."""
    style = element.attrib.get("style", "")
    keep = [part.strip() for part in style.split(";") if part.strip().startswith(("text-anchor", "fill"))]
    size = re.search(r"(\d+(?:\.\d+)?)px", style)
    if size:
        keep.append(f"font-size: {size[1]}px")
    element.set("style", "; ".join(keep))


def _page_colors(style: str) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda match: f"var({VARIABLES[match[0]]})" if match[0] in VARIABLES else match[0], style)


def _round(numbers: str) -> str:
    """A tenth of a point is finer than a screen."""
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), numbers)


def _markup(root: ElementTree.Element) -> str:
    """As HTML wants it: no namespace prefixes, no white space between elements."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        if element.tag != "text":
            element.text = (element.text or "").strip() or None
        element.tail = (element.tail or "").strip() or None
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
