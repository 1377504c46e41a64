"""Residuals in image space before and after, beside the weights and the masks: one column per quantity, one row per pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from harness.report.pictures import colormap
from harness.report.pictures.columns import Look, Ranges, colour_numbers
from harness.report.pictures.drawing import tag
from harness.report.pictures.raster import png_uri
from harness.report.pictures.residuals import QUANTITIES, STATE_WORDS, Quantity, Residuals, State
from harness.report.pictures.scales import Linear, Scale
from harness.report.text import count, number

MOST_CELLS = 1 << 14
WEIGHT_STEPS = 14
BAD = (214, 0, 108)
"""The colour of what is no number: in neither colour map."""

STATE_COLOURS = np.array([(86, 132, 190), (150, 156, 163), (203, 160, 70), BAD], dtype=np.uint8)
"""Counts, outside the image, confidence 0, not a number. Masked is transparent: the page's hatching shows."""

_STATES = (State.COUNTS, State.UNSEEN, State.UNWEIGHTED, State.UNDEFINED)


@dataclass(frozen=True)
class Cell:
    """A picture, or the words that stand in its place."""

    uri: str
    words: str


@dataclass(frozen=True)
class Column:
    title: str
    unit: str
    what: str
    bar: Markup
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatMaps:
    """``rows`` are the (name, note, whether there is a pose); every column has a cell for each."""

    rows: tuple[tuple[str, str, bool], ...]
    columns: tuple[Column, ...]
    size: tuple[int, int]
    note: str


def heat_maps(kind: str, grid: tuple[int, int], looked: Sequence[Look], scales: Ranges) -> HeatMaps:
    """``grid`` is (height, width). At more than ``MOST_CELLS`` pixels a cell is the median of a square of them."""
    step = int(np.ceil(np.sqrt(grid[0] * grid[1] / MOST_CELLS)))
    first, second = QUANTITIES[kind]
    every: list[tuple[Quantity, Scale, np.ndarray]] = [
        (first, scales.size, colormap.sequential()),
        (second, scales.signed, colormap.diverging()),
        (Quantity("Huber weight", "", "1 for an inlier, less for what is held to be an outlier", signed=False), Linear(0, 1),
         colormap.sequential()[np.linspace(0, colormap.STEPS - 1, WEIGHT_STEPS).astype(int)]),
    ]  # fmt: skip
    columns = [_column(i, quantity, scale, palette, grid, step, looked) for i, (quantity, scale, palette) in enumerate(every)]
    columns.append(_states(grid, step, looked))
    cells = f"Each cell is the median of {step}\u00d7{step} points. " if step > 1 else ""
    note = f"{cells}Values beyond the ends of a scale have the colour of its end; hatched: masked or out of sight"
    return HeatMaps(
        tuple((look.name, look.note, look.found is not None) for look in looked),
        tuple(columns),
        (-(-grid[0] // step), -(-grid[1] // step)),
        note,
    )


def _column(
    i: int, quantity: Quantity, scale: Scale, palette: np.ndarray, grid: tuple[int, int], step: int, looked: Sequence[Look]
) -> Column:
    cells = []
    for look in looked:
        if look.found is None:
            cells.append(Cell("", look.note))
            continue
        values = (*look.found.sizes, look.found.weight)[i]
        numbers = colour_numbers(scale, _blocks(values, grid, step), len(palette))
        broken = _blocks((look.found.state == State.UNDEFINED).astype(float), grid, step, most=True) > 0
        numbers[broken] = len(palette) + 1
        cells.append(Cell(png_uri(numbers, np.vstack([palette, [BAD]]).astype(np.uint8)), _words(quantity, look, values)))
    return Column(quantity.title, quantity.unit, quantity.what, colour_bar(quantity, scale), tuple(cells))


def _words(quantity: Quantity, look: Look, values: np.ndarray) -> str:
    """The picture for who does not see it."""
    finite = np.abs(values[np.isfinite(values)])
    if not len(finite):
        return f"{quantity.title} at the {look.name.lower()}: no point has one."
    low, middle, high = np.percentile(finite, [5, 50, 95])
    name = f"size of the {quantity.title.lower()}" if quantity.signed else quantity.title.lower()
    spread = f"median {number(middle)} {quantity.unit}, 90 % between {number(low)} and {number(high)}"
    return f"{look.name}: {name} of {count(len(finite), 'point')}: {spread}"


def _states(grid: tuple[int, int], step: int, looked: Sequence[Look]) -> Column:
    cells = []
    for look in looked:
        if look.found is None:
            cells.append(Cell("", look.note))
            continue
        state = look.found.state
        numbers = np.zeros((-(-grid[0] // step), -(-grid[1] // step)), dtype=np.uint8)
        for i, kind in enumerate(_STATES):
            numbers[_blocks((state == kind).astype(float), grid, step, most=True) > 0] = i + 1
        uri = png_uri(numbers, STATE_COLOURS)
        same = any(uri == cell.uri for cell in cells)
        cells.append(Cell("", "the same points") if same else Cell(uri, f"{look.name}: {state_words(look.found)}"))
    return Column("Points used", "", "by masks, confidence and sight", _key(looked), tuple(cells))


def state_words(found: Residuals) -> str:
    """How many points are in each state, of those states that occur."""
    return ", ".join(f"{found.count(state)} {words}" for state, words in STATE_WORDS.items() if found.count(state)) or "no points"


def _blocks(values: np.ndarray, grid: tuple[int, int], step: int, *, most: bool = False) -> np.ndarray:
    """(N,) as an image, reduced to the median (or the most) of squares; NaN where a square has no number."""
    image = values.reshape(grid)
    if step == 1:
        return image
    height, width = (-(-side // step) for side in grid)
    padded = np.full((height * step, width * step), np.nan)
    padded[: grid[0], : grid[1]] = image
    squares = np.sort(padded.reshape(height, step, width, step).swapaxes(1, 2).reshape(height, width, -1), axis=2)  # NaN last
    there = np.isfinite(squares).sum(axis=2)
    at = np.maximum(there - 1, 0) if most else np.maximum(there - 1, 0) // 2
    return np.asarray(np.take_along_axis(squares, at[..., None], axis=2)[..., 0])


def colour_bar(quantity: Quantity, scale: Scale) -> Markup:
    """The colours, which the style sheet has, with their numbers."""
    ticks = scale.ticks()
    places = 100 * np.clip(scale.at(np.array(ticks)), 0, 1)
    sign = "+" if quantity.signed else ""
    numbers = [
        tag("span", (sign if tick > 0 else "") + number(tick).replace("-", "\u2212"),
            style=f"left:{place:.0f}%;transform:translateX({-min(max(place * 1.25 - 12.5, 0), 100):.0f}%)")
        for place, tick in zip(places, ticks, strict=True)
    ]  # fmt: skip
    return tag("div", *numbers, class_=f"pic-bar {'pic-diverging' if quantity.signed else 'pic-sequential'}")


def _key(looked: Sequence[Look]) -> Markup:
    """The states that occur, each with its colour; masked is the hatching."""
    found = [look.found for look in looked if look.found is not None]
    parts = []
    for state, words in STATE_WORDS.items():
        if any(it.count(state) for it in found):
            colour = "" if state is State.MASKED else "background:#" + bytes(STATE_COLOURS[_STATES.index(state)]).hex()
            parts.append(tag("span", tag("i", class_="pic-swatch", style=colour), " ", words))
    return tag("span", *parts, class_="pic-states")
