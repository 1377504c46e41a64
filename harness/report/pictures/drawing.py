"""SVG written by hand: a tenth of what a plotting library writes, styled by the page, everything escaped, nothing with an id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from harness.report.pictures.scales import Scale
from harness.report.text import clean, number, shorten

SERIES_COLOURS = 6
MARKS = ("m-3 0a3 3 0 1 0 6 0 3 3 0 1 0-6 0z", "m0-3.8l3.7 6.4h-7.4z", "m-2.9-2.9h5.8v5.8h-5.8z", "m0-4l4 4-4 4-4-4z",
         "m0 3.8l3.7-6.4h-7.4z", "m-1.2-3.8h2.4v2.6h2.6v2.4h-2.6v2.6h-2.4v-2.6h-2.6v-2.4h2.6z")  # fmt: skip
"""Disc, triangle, square, diamond, turned triangle, plus: a path each, drawn from its middle."""

CROSS = "m-3-3l6 6m0-6l-6 6"


@dataclass(frozen=True)
class Series:
    """How a solver is drawn in every picture. ``order`` is its place among the solvers of the run."""

    name: str
    order: int

    @property
    def label(self) -> str:
        """Its name without the folders of a file, on one short line."""
        return shorten(self.name.replace("\\", "/").rsplit("/", 1)[-1] or self.name, 30)

    @property
    def style(self) -> str:
        """The CSS class of its colour."""
        return f"pic-s{self.order % SERIES_COLOURS}"

    @property
    def mark(self) -> str:
        return MARKS[self.order % len(MARKS)]


@dataclass(frozen=True)
class Box:
    """A panel's place in its figure, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def x_of(self, at: np.ndarray) -> np.ndarray:
        return np.asarray(self.x + np.clip(at, 0, 1) * self.width)

    def y_of(self, at: np.ndarray) -> np.ndarray:
        """Up is more."""
        return np.asarray(self.y + (1 - np.clip(at, 0, 1)) * self.height)


def tag(_name: str, *children: object, **attributes: object) -> Markup:
    """An element. ``class_`` is class, an underscore a hyphen, numbers have one decimal, all but Markup is escaped."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"' for key, value in attributes.items())
    return Markup(f"<{_name}{words}>{''.join(escape(child) for child in children)}</{_name}>")


def _text(value: object) -> str:
    return short(value) if isinstance(value, float) else clean(str(value))


def short(value: float) -> str:
    """A tenth of a pixel is finer than a screen."""
    return "0" if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0").replace("-0.", "-.")


def svg(width: float, height: float, title: str, description: str, *children: object) -> Markup:
    """``title`` is what a screen reader says first; ``description`` the numbers in words."""
    words = tag("title", clean(title)), tag("desc", clean(description))
    return tag("svg", *words, *children, class_="pic", viewBox=f"0 0 {short(width)} {short(height)}", width=width, height=height,
               role="img", aria_label=title)  # fmt: skip


def text(x: float, y: float, words: str, **attributes: object) -> Markup:
    return tag("text", words, x=x, y=y, **attributes)


def line(points: Iterable[tuple[float, float]], **attributes: object) -> Markup:
    """Through the points; one that is not finite breaks it."""
    d, pen = "", "M"
    for x, y in points:
        if np.isfinite(x) and np.isfinite(y):
            d += f"{pen}{short(x)} {short(y)}"
            pen = "L"
        else:
            pen = "M"
    return tag("path", d=d, **attributes) if d else Markup()


def marks(points: Iterable[tuple[float, float]], mark: str, **attributes: object) -> Markup:
    """The same mark at every point, in one path."""
    d = "".join(f"M{short(x)} {short(y)}{mark}" for x, y in points)
    return tag("path", d=d, **attributes) if d else Markup()


def x_axis(box: Box, scale: Scale, label: str, *, grid: bool = False, ticks: Sequence[float] | None = None) -> Markup:
    """Ticks, numbers and a name below a panel."""
    values = np.array(scale.ticks() if ticks is None else ticks, dtype=float)
    at, bottom = box.x_of(scale.at(values)), box.y + box.height
    rules = "".join(f"M{short(x)} {short(box.y if grid else bottom)}V{short(bottom + 3.5)}" for x in at)
    numbers = [text(x, bottom + 15, number(value)) for x, value in zip(at, values, strict=True)]
    name = text(box.x + box.width / 2, bottom + 30, label, class_="pic-name") if label else Markup()
    frame = f"M{short(box.x)} {short(bottom)}h{short(box.width)}"
    return tag("g", tag("path", d=frame + rules, class_="pic-rule"), *numbers, name, text_anchor="middle")


def y_axis(box: Box, scale: Scale, label: str) -> Markup:
    """Ticks, numbers and faint rules to the left of a panel, its name above."""
    values = np.array(scale.ticks(), dtype=float)
    at = box.y_of(scale.at(values))
    rules = "".join(f"M{short(box.x)} {short(y)}h{short(box.width)}" for y in at)
    numbers = [text(box.x - 6, y + 4, number(value)) for y, value in zip(at, values, strict=True)]
    name = text(box.x, box.y - 9, label, class_="pic-name") if label else Markup()
    return tag("path", d=rules, class_="pic-rule") + tag("g", *numbers, text_anchor="end") + name
