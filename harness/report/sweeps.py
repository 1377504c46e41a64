"""The layout sweeps of a run: for each what it came to, and for those that found a fault a grid of layouts and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.relayout import LAYOUTS
from harness.report.text import clean, count
from harness.sweep.files import has_fault, read_sweeps

MAX_GRIDS = 24


@dataclass(frozen=True)
class SweepCell:
    mark: str
    words: str
    style: str
    repeat: str


@dataclass(frozen=True)
class SweepRow:
    layout: str
    all: SweepCell | None
    tensors: tuple[SweepCell | None, ...]


@dataclass(frozen=True)
class SweepGrid:
    """``base`` is the healthy layout of the other tensors where one alone is moved; ``more`` are (layout, cell, is a test)."""

    title: str
    rule: str
    base: str
    tensors: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    more: tuple[tuple[str, SweepCell, bool], ...]


@dataclass(frozen=True)
class Sweeps:
    """``rest`` is (rule, sweeps it is true of) for those without a fault."""

    grids: tuple[SweepGrid, ...]
    left_out: int
    rest: tuple[tuple[str, tuple[str, ...]], ...]
    aside: str


def build_sweeps(folder: Path) -> Sweeps | None:
    """None for a run without a sweep. Raises ``ResultError`` when one cannot be read."""
    sweeps = read_sweeps(folder)
    if not sweeps:
        return None
    faulty = [sweep for sweep in sweeps if has_fault(sweep)]
    rest: dict[str, list[str]] = {}
    for sweep in sweeps:
        if not has_fault(sweep):
            rest.setdefault(clean(sweep["rule"]), []).append(_title(sweep))
    aside = f"{count(len(faulty), 'layout sweep')} of {len(sweeps)} found a fault." if faulty else ""
    return Sweeps(
        tuple(_grid(sweep) for sweep in faulty[:MAX_GRIDS]), max(0, len(faulty) - MAX_GRIDS),
        tuple((rule, tuple(titles)) for rule, titles in rest.items()), aside,
    )  # fmt: skip


def _title(sweep: dict[str, Any]) -> str:
    how = "" if sweep["tool"] == "none" else f" \u00d7 {sweep['tool']}"
    return clean(f"{sweep['case']} \u00d7 {sweep['solver']}{how}")


def _grid(sweep: dict[str, Any]) -> SweepGrid:
    entries = {str(entry["layout"]): entry for entry in sweep["layouts"]}
    tensors = list(dict.fromkeys(name for entry in sweep["layouts"] for name in entry["tensors"]))
    base = next((layout.split(",")[0] for layout in entries if "," in layout), "")
    rows, shown = [], set()
    for variant in LAYOUTS:
        alone = [f"{base},{name}={variant}" for name in tensors]
        shown |= {variant, *alone}
        rows.append(SweepRow(variant, _at(entries, variant), tuple(_at(entries, layout) for layout in alone)))
    more = tuple(
        (clean(layout.removeprefix(f"{base},")), _cell(entry), layout in sweep["tests"])
        for layout, entry in entries.items()
        if layout not in shown
    )
    return SweepGrid(_title(sweep), clean(sweep["rule"]), clean(base), _names(tensors), tuple(rows), more)


def _names(tensors: Sequence[str]) -> tuple[str, ...]:
    return tuple(clean(name) for name in tensors)


def _at(entries: dict[str, dict[str, Any]], layout: str) -> SweepCell | None:
    return _cell(entries[layout]) if layout in entries else None


def _cell(entry: dict[str, Any]) -> SweepCell:
    mark = {True: "\u2717", False: "\u2713", None: "\u2013"}[entry["faulted"]]
    wrong = entry["faulted"] and entry["outcome"] in ("OK", "SOLVER_STATUS")
    style = "k-wrong" if wrong else "k-" + clean(entry["outcome"]).lower().replace("_", "-")
    return SweepCell(mark, clean(entry["signature"]), style, clean(entry["repeat"]))
