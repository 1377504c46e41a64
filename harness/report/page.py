"""Everything the template prints, computed beforehand: the template only arranges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from harness.bisect.section import bisect_section
from harness.outcome import Outcome
from harness.report.bugs import BugRow, bug_rows, diagnose_run
from harness.report.evidence import Section, section
from harness.report.headline import Headline, headline
from harness.report.history import history_section
from harness.report.matrix import Matrix, build_matrix
from harness.report.modes import Modes, build_modes
from harness.report.parity_table import Baseline, OpRow, ParityRow, baselines, op_rows, parity_rows
from harness.report.pictures import case_pictures, run_pictures
from harness.report.specimens import Specimens, read_specimens
from harness.report.sweeps import Sweeps, build_sweeps
from harness.report.text import Anchors, clean, duration, number
from harness.report.words import KIND_MEANINGS
from harness.report.yardsticks import MEASURES, YARDSTICKS, Tolerance, read_parity, read_tolerances
from harness.run import Run

FAILURE_TEXT, OTHER_TEXT = 24_000, 3_000
"""Characters that one piece of output may have, in a failure's section and in another's."""

MOST_PICTURES = 80
"""Cases whose pictures a page holds; each is some 20 kB."""

PAGE_TEXT = 4_000_000
"""About how many characters of output a page may hold; with many outcomes each gets less."""


@dataclass(frozen=True)
class CaseRow:
    anchor: str
    id: str
    title: str
    kind: str
    n_points: str
    device: str
    tags: str
    expect: str
    sha256: str


@dataclass(frozen=True)
class Pictures:
    """A case's own, folded away until somebody looks."""

    anchor: str
    case: str
    case_href: str
    failed: bool
    html: Markup


@dataclass(frozen=True)
class Attribution:
    """Cases whose data come from the same source under the same terms."""

    source: str
    licence: str
    attribution: str
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    run_id: str
    started: str
    finished: str
    took: str
    command: str
    headline: Headline
    bugs: tuple[BugRow, ...]
    unreadable: tuple[str, ...]
    bisect: Markup
    history: Markup
    matrix: Matrix
    modes: Modes | None
    sweeps: Sweeps | None
    kinds: tuple[tuple[str, str, str], ...]
    outcomes: tuple[Section, ...]
    several_tools: bool
    tolerances: tuple[tuple[str, str, str, str], ...]
    measures: tuple[tuple[str, str], ...]
    yardsticks: tuple[str, ...]
    parity: tuple[ParityRow, ...]
    ops: tuple[OpRow, ...]
    baselines: tuple[Baseline, ...]
    run_pictures: Markup
    pictures: tuple[Pictures, ...]
    pictures_left_out: int
    specimens: Specimens | None
    environment: tuple[tuple[str, str], ...]
    cases: tuple[CaseRow, ...]
    attributions: tuple[Attribution, ...]

    @property
    def failures(self) -> tuple[Section, ...]:
        return tuple(it for it in self.outcomes if it.failed)

    @property
    def others(self) -> tuple[Section, ...]:
        return tuple(it for it in self.outcomes if not it.failed)


def build_page(run: Run, *, pictures: bool = True) -> Page:
    """``pictures`` of each case may be left out: they are most of the time and of the page. Raises ``ResultError`` when a number of
    the run is none.
    """
    diagnoses = diagnose_run(run)
    run, anchors = diagnoses.run, Anchors()
    specimens, sweeps = read_specimens(run.folder), build_sweeps(run.folder)
    asides = [it.aside for it in (specimens, sweeps) if it is not None and it.aside]
    bad = (specimens is not None and specimens.missed > 0) or (sweeps is not None and bool(sweeps.grids))
    tolerances = read_tolerances(run.plan)
    parities = [read_parity(outcome) for outcome in run.outcomes]
    case_anchors = {case: anchors.new("case", case) for case in _case_ids(run)}
    case_hrefs = {case: "#" + anchor for case, anchor in case_anchors.items()}
    outcome_anchors = {i: anchors.new("outcome", *_names(outcome)) for i, outcome in enumerate(run.outcomes)}
    hrefs = {i: "#" + anchor for i, anchor in outcome_anchors.items()}
    entries = [
        (outcome, parity, hrefs[i]) for i, (outcome, parity) in enumerate(zip(run.outcomes, parities, strict=True)) if parity
    ]
    failed = sum(outcome.expected is False for outcome in run.outcomes)
    share = PAGE_TEXT // 8 // max(1, failed), PAGE_TEXT // 8 // max(1, len(run.outcomes) - failed)
    limits = {True: max(800, min(FAILURE_TEXT, share[0])), False: max(400, min(OTHER_TEXT, share[1]))}
    sections = [
        section(
            outcome, parities[i], run.cases.get(outcome.case, {}), tolerances,
            outcome_anchors[i], case_hrefs[outcome.case], limits[outcome.expected is False],
        )
        for i, outcome in enumerate(run.outcomes)
    ]  # fmt: skip
    drawn = _pictures(run, anchors, case_hrefs) if pictures else ()
    return Page(
        run_id=clean(run.id),
        started=clean(run.started),
        finished=clean(run.finished or ""),
        took=_took(run),
        command=clean(run.command),
        headline=headline(run, " ".join(asides), missed=bad),
        bugs=bug_rows(diagnoses.bugs, {outcome.key: hrefs[i] for i, outcome in enumerate(run.outcomes)}, case_hrefs),
        unreadable=diagnoses.problems,
        bisect=Markup(bisect_section(run.folder)),
        history=Markup(history_section(run.folder)),
        matrix=build_matrix(run, hrefs, case_hrefs),
        modes=build_modes(run, hrefs),
        sweeps=sweeps,
        kinds=_kinds(run),
        outcomes=tuple(sections),
        several_tools=len({outcome.how for outcome in run.outcomes}) > 1,
        tolerances=tuple(_tolerance_row(name, tolerance) for name, tolerance in tolerances.items()),
        measures=tuple(MEASURES.values()),
        yardsticks=tuple(YARDSTICKS[name] for name in ("oracle", "optimum")),
        parity=parity_rows([entry for entry in entries if entry[0].judged], tolerances),
        ops=op_rows(entries),
        baselines=baselines(entries, tolerances),
        run_pictures=run_pictures(run, case_hrefs),
        pictures=drawn,
        pictures_left_out=len(case_anchors) - len(drawn) if pictures else 0,
        specimens=specimens,
        environment=tuple((clean(name), clean(value)) for name, value in _flat(run.environment)),
        cases=tuple(_case_row(case, anchor, run.cases.get(case, {})) for case, anchor in case_anchors.items()),
        attributions=_attributions(run),
    )


def _pictures(run: Run, anchors: Anchors, hrefs: Mapping[str, str]) -> tuple[Pictures, ...]:
    """Of the cases with a failure first, as many as a page can hold."""
    failed = {outcome.case for outcome in run.outcomes if outcome.expected is False}
    shown = sorted(_case_ids(run), key=lambda case: case not in failed)[:MOST_PICTURES]
    made = ((case, case_pictures(run, case)) for case in shown)
    return tuple(
        Pictures(anchors.new("pictures", case), clean(case), hrefs[case], case in failed, html) for case, html in made if html
    )


def _names(outcome: Outcome) -> tuple[str, ...]:
    return (outcome.case, outcome.solver) if outcome.how == "none" else outcome.key


def _case_ids(run: Run) -> list[str]:
    """Every case anything speaks of, in the order of the plan."""
    planned = [case for case, _, _ in run.plan.get("tasks", [])]
    return list(dict.fromkeys([*planned, *(outcome.case for outcome in run.outcomes), *run.cases]))


def _took(run: Run) -> str:
    try:
        took = datetime.fromisoformat(run.finished or "") - datetime.fromisoformat(run.started)
    except (ValueError, TypeError):  # unfinished, or a clock with a zone beside one without
        return ""
    return duration(took.total_seconds())


def _kinds(run: Run) -> tuple[tuple[str, str, str], ...]:
    """(CSS class, kind, meaning) of the kinds that occur: the key to the matrix."""
    present = {outcome.kind for outcome in run.outcomes}
    return tuple(
        ("k-" + kind.value.lower().replace("_", "-"), kind.value, meaning)
        for kind, meaning in KIND_MEANINGS.items()
        if kind in present
    )


def _tolerance_row(name: str, tolerance: Tolerance) -> tuple[str, str, str, str]:
    title, unit = MEASURES.get(name, (name, ""))
    return clean(title), number(tolerance.limit), clean(unit), tolerance.reason


def _case_row(case: str, anchor: str, summary: Mapping[str, Any]) -> CaseRow:
    words = {name: clean(str(summary.get(name) or "")) for name in ("title", "kind", "device", "expect", "sha256")}
    n_points = summary.get("n_points")
    return CaseRow(
        anchor=anchor,
        id=clean(case),
        n_points="\u2013" if n_points is None else str(n_points),
        tags=clean(" ".join(summary.get("tags") or ())),
        **words,
    )


def _attributions(run: Run) -> tuple[Attribution, ...]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for case, summary in run.cases.items():
        key = (str(summary.get("source") or ""), str(summary.get("licence") or ""), str(summary.get("attribution") or ""))
        if any(key):
            groups.setdefault(key, []).append(clean(case))
    return tuple(Attribution(clean(key[0]), clean(key[1]), clean(key[2]), tuple(cases)) for key, cases in groups.items())


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as (dotted name, text); a list is one text unless it holds mappings."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flat(item, name + ".")
        elif isinstance(item, list) and any(isinstance(entry, Mapping) for entry in item):
            yield from _flat({str(i): entry for i, entry in enumerate(item)}, name + ".")
        else:
            yield name.removesuffix("_bytes"), _plain(str(key), item)


def _plain(key: str, item: Any) -> str:
    if item is None:
        return "\u2013"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, list):
        return ", ".join(str(entry) for entry in item) or "none"
    if key.endswith("_bytes") and isinstance(item, int):
        return f"{item / 2**30:.1f} GiB"
    return str(item)
