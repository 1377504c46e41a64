"""Everything the template prints, computed beforehand: the template only arranges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from harness.bisect.section import bisect_section
from harness.diagnosis.ofrun import Diagnosed
from harness.report.bugs import BugRow, bug_rows, diagnose_run
from harness.report.cases import CaseView, Pictures, case_ids, case_views, draw_pictures
from harness.report.environment import environment_rows
from harness.report.evidence import Place, Section, section
from harness.report.headline import Headline, headline
from harness.report.history import history_section
from harness.report.matrix import Matrix, build_matrix
from harness.report.modes import Modes, build_modes
from harness.report.opening import opening
from harness.report.parity_table import Baseline, OpRow, ParityRow, SolverRow, baselines, op_rows, parity_rows, solver_rows
from harness.report.pictures import run_pictures
from harness.report.pictures.material import solver_series
from harness.report.sources import Attribution, attributions
from harness.report.specimens import Specimens, read_specimens
from harness.report.sweeps import Sweeps, build_sweeps
from harness.report.text import Anchors, clean, count, duration, number, shorten
from harness.report.words import key_entry, solver_labels
from harness.report.yardsticks import MEASURES, YARDSTICKS, Parity, Tolerance, read_parity, read_tolerances
from harness.run import Run

FAILURE_TEXT, OTHER_TEXT = 24_000, 3_000
"""Characters that one piece of output may have, in a failure's section and in another's."""

PAGE_TEXT = 4_000_000
"""About how many characters of output a page may hold; with many outcomes each gets less."""


@dataclass(frozen=True)
class Failures:
    """The failures that one bug explains; ``bug`` is None for those without a diagnosis."""

    bug: BugRow | None
    outcomes: tuple[Section, ...]


@dataclass(frozen=True)
class Page:
    run_id: str
    started: str
    finished: str
    took: str
    command: str
    opening: str
    labels: Mapping[str, str]
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
    failures: tuple[Failures, ...]
    several_tools: bool
    tolerances: tuple[tuple[str, str, str, str], ...]
    measures: tuple[tuple[str, str], ...]
    yardsticks: tuple[str, ...]
    poses: tuple[SolverRow, ...]
    parity: tuple[ParityRow, ...]
    ops: tuple[OpRow, ...]
    baselines: tuple[Baseline, ...]
    run_pictures: Markup
    cases: tuple[CaseView, ...]
    pictures_left_out: int
    specimens: Specimens | None
    environment: tuple[tuple[str, str], ...]
    attributions: tuple[Attribution, ...]

    @property
    def failed(self) -> int:
        return sum(it.failed for it in self.outcomes)

    @property
    def pictures(self) -> tuple[Pictures, ...]:
        return tuple(it.pictures for it in self.cases if it.pictures)


def build_page(run: Run, *, pictures: bool = True, left_out: tuple[str, ...] = ()) -> Page:
    """``pictures`` of each case may be left out: they are most of the time and of the page. ``left_out`` are outcomes that could
    not be read, a line each. Raises ``ResultError`` when a number of the run is none.
    """
    found, problems = diagnose_run(run)
    run, anchors = found.run, Anchors()
    specimens, sweeps = read_specimens(run.folder), build_sweeps(run.folder, anchors)
    head = _headline(found, specimens, left_out)
    tolerances = read_tolerances(run.plan)
    parities = [read_parity(outcome) for outcome in run.outcomes]
    case_anchors = {case: anchors.new("case", case) for case in case_ids(run)}
    case_hrefs = {case: "#" + anchor for case, anchor in case_anchors.items()}
    outcome_anchors = [
        anchors.new("outcome", *((it.case, it.solver) if it.how == "none" else it.key)) for it in run.outcomes
    ]  # fmt: skip
    hrefs = {i: "#" + anchor for i, anchor in enumerate(outcome_anchors)}
    shown_at = {outcome.key: hrefs[i] for i, outcome in enumerate(run.outcomes)}
    shown_at |= {outcome.key: sweeps.href(outcome) for outcome in found.swept} if sweeps is not None else {}
    shown_at |= {recording.key: case_hrefs[recording.case] for recording in found.recordings}
    entries = [(run.outcomes[i], parity, hrefs[i]) for i, parity in enumerate(parities) if parity]
    labels = solver_labels(outcome.solver for outcome in run.outcomes)
    bugs = bug_rows(found, shown_at, labels)
    drawn = draw_pictures(run, anchors, case_hrefs) if pictures else {}
    places = _places(run, outcome_anchors, case_hrefs, drawn, bugs)
    sections = _sections(run, parities, tolerances, places)
    return Page(
        run_id=clean(run.id),
        started=clean(run.started),
        finished=clean(run.finished or ""),
        took=_took(run),
        command=clean(run.command),
        opening=opening(head, bugs, run.outcomes, specimens, labels),
        labels={clean(name): label for name, label in labels.items()},
        headline=head,
        bugs=bugs,
        unreadable=problems,
        bisect=Markup(bisect_section(run.folder)),
        history=Markup(history_section(run.folder, solver_series(run))),
        matrix=build_matrix(run, hrefs, case_hrefs),
        modes=build_modes(run, hrefs),
        sweeps=sweeps,
        kinds=tuple(dict.fromkeys(key_entry(it) for it in run.outcomes)),
        outcomes=sections,
        failures=_failures(sections, bugs),
        several_tools=len({outcome.how for outcome in run.outcomes}) > 1,
        tolerances=tuple(_tolerance_row(name, tolerance) for name, tolerance in tolerances.items()),
        measures=tuple(MEASURES.values()),
        yardsticks=tuple(YARDSTICKS[name] for name in ("oracle", "optimum")),
        poses=solver_rows(entries, tolerances),
        parity=parity_rows(entries, tolerances),
        ops=op_rows(entries),
        baselines=baselines(entries),
        run_pictures=run_pictures(run, case_hrefs),
        cases=case_views(run, case_anchors, drawn, sections),
        pictures_left_out=len(case_anchors) - len(drawn) if pictures else 0,
        specimens=specimens,
        environment=environment_rows(run.environment),
        attributions=attributions(run.cases),
    )


def _headline(found: Diagnosed, specimens: Specimens | None, left_out: tuple[str, ...]) -> Headline:
    asides = [specimens.aside] if specimens is not None and specimens.aside else []
    if left_out:
        asides.append(f"{count(len(left_out), 'outcome')} left out, because damaged: {shorten('; '.join(left_out), 400)}.")
    missed = specimens is not None and specimens.missed > 0
    return headline(found, " ".join(asides), missed=missed, doubtful=bool(left_out))


def _places(
    run: Run, anchors: Sequence[str], case_hrefs: Mapping[str, str], pictures: Mapping[str, Pictures], bugs: Sequence[BugRow]
) -> list[Place]:
    """The first failure of each bug is open; the others are folded."""
    shown: dict[int, list[tuple[int, str]]] = {}
    opened: dict[int, int] = {}
    for bug in bugs:
        for i in bug.members:
            shown.setdefault(i, []).append((bug.number, "#" + bug.anchor))
            if run.outcomes[i].expected is False:
                opened.setdefault(shown[i][0][0], i)
    places = []
    for i, outcome in enumerate(run.outcomes):
        mine = pictures.get(outcome.case)
        its = tuple(shown.get(i, ()))
        places.append(
            Place(
                anchor=anchors[i],
                case_href=case_hrefs[outcome.case],
                pictures_href="#" + mine.anchor if mine else "",
                bugs=its,
                opened=outcome.expected is False and (not its or opened[its[0][0]] == i),
            )
        )
    return places


def _sections(
    run: Run, parities: Sequence[Parity | None], tolerances: Mapping[str, Tolerance], places: Sequence[Place]
) -> tuple[Section, ...]:
    failed = sum(outcome.expected is False for outcome in run.outcomes)
    share = PAGE_TEXT // 8 // max(1, failed), PAGE_TEXT // 8 // max(1, len(run.outcomes) - failed)
    limits = {True: max(800, min(FAILURE_TEXT, share[0])), False: max(400, min(OTHER_TEXT, share[1]))}
    return tuple(
        section(outcome, parity, run.cases.get(outcome.case, {}), tolerances, place, limits[outcome.expected is False])
        for outcome, parity, place in zip(run.outcomes, parities, places, strict=True)
    )


def _failures(sections: Sequence[Section], bugs: Sequence[BugRow]) -> tuple[Failures, ...]:
    """In the order of the bugs, each outcome below the gravest that it shows."""
    mine: dict[int, list[Section]] = {}
    for it in sections:
        if it.failed:
            mine.setdefault(it.place.bugs[0][0] if it.place.bugs else 0, []).append(it)
    groups = [Failures(bug, tuple(mine[bug.number])) for bug in bugs if bug.number in mine]
    return (*groups, *([Failures(None, tuple(mine[0]))] if 0 in mine else []))


def _took(run: Run) -> str:
    try:
        took = datetime.fromisoformat(run.finished or "") - datetime.fromisoformat(run.started)
    except (ValueError, TypeError):  # unfinished, or a clock with a zone beside one without
        return ""
    return duration(took.total_seconds())


def _tolerance_row(name: str, tolerance: Tolerance) -> tuple[str, str, str, str]:
    title, unit = MEASURES.get(name, (name, ""))
    return clean(title), number(tolerance.limit), clean(unit), tolerance.reason
