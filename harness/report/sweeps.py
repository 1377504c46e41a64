"""The layout sweeps of a run: for each what it came to, and for those that found a fault a grid of layouts and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.outcome import Kind, Outcome, how
from harness.relayout import LAYOUTS, MEANINGS
from harness.report.text import Anchors, clean
from harness.report.words import MARKS, WRONG_POSE, how_words
from harness.sweep.files import has_fault, read_sweeps

MAX_GRIDS = 24
SECTION = "sweeps"
_MEANINGS = {True: "faults", False: "no fault", None: "not known"}

Key = tuple[str, str, str]


@dataclass(frozen=True)
class SweepCell:
    """``words`` are (how it ended, the ways of running that ended so); the ways are empty where all did."""

    mark: str
    meaning: str
    words: tuple[tuple[str, str], ...]
    style: str
    href: str


@dataclass(frozen=True)
class SweepRow:
    layout: str
    all: SweepCell | None
    tensors: tuple[SweepCell | None, ...]


@dataclass(frozen=True)
class Tried:
    """One layout: what came of it, and for each way of running (its name, verdict, the command that repeats it)."""

    anchor: str
    layout: str
    cell: SweepCell
    runs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class SweepGrid:
    """``base`` is the healthy layout of the other tensors where one alone is moved. ``alike`` is what every layout ended in, where
    that is one thing: then there are no rows.
    """

    anchor: str
    case: str
    solver: str
    ways: tuple[str, ...]
    rule: str
    base: str
    tensors: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    alike: str
    tried: tuple[Tried, ...]


@dataclass(frozen=True)
class Sweeps:
    """``rest`` is (rule, sweeps it is true of) for those without a fault; ``layouts`` are (name, meaning); ``hrefs`` maps (case,
    solver, tool) to a grid's link."""

    grids: tuple[SweepGrid, ...]
    left_out: int
    rest: tuple[tuple[str, tuple[str, ...]], ...]
    layouts: tuple[tuple[str, str], ...]
    hrefs: Mapping[Key, str]

    def href(self, outcome: Outcome) -> str:
        """Where an outcome in another layout is shown."""
        return self.hrefs.get((outcome.case, outcome.solver, how(outcome.tool, outcome.memory)), f"#{SECTION}")


def build_sweeps(folder: Path, anchors: Anchors) -> Sweeps | None:
    """None for a run without a sweep. Raises ``ResultError`` when one cannot be read."""
    sweeps = read_sweeps(folder)
    if not sweeps:
        return None
    faulty = [sweep for sweep in sweeps if has_fault(sweep)]
    rest: dict[str, list[str]] = {}
    for sweep in sweeps:
        if not has_fault(sweep):
            rest.setdefault(clean(sweep["rule"]), []).append(_title(sweep))
    families = _families(faulty)
    grids = tuple(_grid(family, anchors) for family in families[:MAX_GRIDS])
    hrefs = {_key(sweep): f"#{grid.anchor}" for family, grid in zip(families, grids, strict=False) for sweep in family}
    healthy = tuple((rule, tuple(titles)) for rule, titles in rest.items())
    return Sweeps(grids, sum(map(len, families[MAX_GRIDS:])), healthy, tuple(MEANINGS.items()), hrefs)


def _key(sweep: dict[str, Any]) -> Key:
    return sweep["case"], sweep["solver"], sweep["tool"]


def _families(sweeps: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Sweeps of one case and solver that came to the same rule are one grid, however they were run."""
    families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for sweep in sweeps:
        families.setdefault((sweep["case"], sweep["solver"], _rule(sweep)), []).append(sweep)
    return list(families.values())


def _title(sweep: dict[str, Any]) -> str:
    how = "" if sweep["tool"] == "none" else f" \u00d7 {how_words(sweep['tool'])}"
    return clean(f"{sweep['case']} \u00d7 {sweep['solver']}") + how


def _rule(sweep: dict[str, Any]) -> str:
    """The rule, its outcomes named as the rest of the report names them."""
    rule = clean(sweep["rule"])
    for entry in sweep["layouts"]:
        rule = rule.replace(clean(entry["signature"]), _ended(entry))
    return rule


def _ended(entry: dict[str, Any]) -> str:
    if entry["faulted"] and entry["outcome"] == Kind.OK.value:
        return WRONG_POSE
    return clean(entry["signature"]).removeprefix(f"{Kind.SOLVER_STATUS.value} ").removesuffix(" CONVERGED")


def _grid(family: Sequence[dict[str, Any]], anchors: Anchors) -> SweepGrid:
    """``family`` are sweeps of one case and solver, each run another way."""
    first = family[0]
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for sweep in family:
        for entry in sweep["layouts"]:
            entries.setdefault(str(entry["layout"]), {})[how_words(sweep["tool"])] = entry
    tensors = list(dict.fromkeys(name for sweep in family for entry in sweep["layouts"] for name in entry["tensors"]))
    base = next((layout.split(",")[0] for layout in entries if "," in layout), "")
    tried = {layout: _tried(layout, runs, base, anchors) for layout, runs in entries.items()}
    rows = []
    for variant in LAYOUTS:
        alone = [f"{base},{name}={variant}" for name in tensors]
        rows.append(SweepRow(variant, _cell(tried, variant), tuple(_cell(tried, layout) for layout in alone)))
    ends = {it.cell.words for it in tried.values()}
    alike = next(iter(ends))[0][0] if len(ends) == 1 and len(next(iter(ends))) == 1 else ""
    return SweepGrid(
        anchor=anchors.new("sweep", *_key(first)),
        case=clean(first["case"]),
        solver=clean(first["solver"]),
        ways=tuple(how_words(sweep["tool"]) for sweep in family),
        rule=_rule(first),
        base=clean(base),
        tensors=tuple(clean(name) for name in tensors),
        rows=() if alike else tuple(rows),
        alike=alike,
        tried=tuple(tried.values()),
    )


def _cell(tried: Mapping[str, Tried], layout: str) -> SweepCell | None:
    return tried[layout].cell if layout in tried else None


def _tried(layout: str, runs: Mapping[str, dict[str, Any]], base: str, anchors: Anchors) -> Tried:
    anchor = anchors.new("sweep", str(next(iter(runs.values()))["repeat"]), layout)
    ends: dict[str, list[str]] = {}
    for way, entry in runs.items():
        ends.setdefault(_ended(entry), []).append(way)
    words = tuple((end, "" if len(ends) == 1 else ", ".join(ways)) for end, ways in ends.items())
    worst = next((entry for entry in runs.values() if entry["faulted"]), next(iter(runs.values())))
    wrong = worst["faulted"] and worst["outcome"] in (Kind.OK.value, Kind.SOLVER_STATUS.value)
    style = "k-wrong" if wrong else "k-" + clean(worst["outcome"]).lower().replace("_", "-")
    faulted = worst["faulted"]
    mark = MARKS[None if faulted is None else not faulted]
    cell = SweepCell(mark, _MEANINGS[faulted], words, style, f"#{anchor}")
    told = tuple((way, clean(entry["verdict"]), clean(entry["repeat"])) for way, entry in runs.items())
    return Tried(anchor, clean(layout.removeprefix(f"{base},")), cell, told)
