"""Everything a run knows about one outcome, in the order a reader asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.jsonfile import dumps
from harness.outcome import Kind, Outcome
from harness.report.bugs import DiagnosisView, diagnosis_view
from harness.report.findings import FindingView, views
from harness.report.text import Clipped, clean, clip, duration, number, shorten
from harness.report.timeline import not_reached, timeline
from harness.report.words import MARK_MEANINGS, MARKS, label, style, what_happened
from harness.report.yardsticks import MEASURES, YARDSTICKS, Parity, Tolerance, exceeds

_LONGEST, _MOST_NOTES = 4000, 100


@dataclass(frozen=True)
class Stage:
    """``state`` is done, last (where it ended) or never (not reached)."""

    name: str
    at: str
    state: str


@dataclass(frozen=True)
class Block:
    """A titled piece of program output."""

    title: str
    text: Clipped


@dataclass(frozen=True)
class Section:
    anchor: str
    case: str
    case_href: str
    solver: str
    tool: str
    word: str
    detail: str
    mark: str
    judgement: str
    failed: bool
    style: str
    sentence: str
    expect: str
    because: str
    facts: tuple[tuple[str, str], ...]
    timeline: Markup
    stages: tuple[Stage, ...]
    parity_rows: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]
    findings: tuple[FindingView, ...]
    findings_left_out: int
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    repeat: str
    diagnosis: DiagnosisView | None
    tags: str


def section(outcome: Outcome, parity: Parity | None, case: Mapping[str, Any], tolerances: Mapping[str, Tolerance],
            anchor: str, case_href: str, limit: int) -> Section:  # fmt: skip
    """``limit`` is how many characters each piece of output may have."""
    word, detail = label(outcome)
    return Section(
        anchor=anchor,
        case=clean(outcome.case),
        case_href=case_href,
        solver=clean(outcome.solver),
        tool=clean(outcome.how),
        word=word,
        detail=detail,
        mark=MARKS[outcome.expected],
        judgement=MARK_MEANINGS[outcome.expected],
        failed=outcome.expected is False,
        style=style(outcome),
        sentence=what_happened(outcome),
        expect=clean(str(case.get("expect") or "")),
        because=clean(str(case.get("because") or "")),
        facts=tuple((name, _bounded(value)) for name, value in _facts(outcome, parity) if value),
        timeline=timeline(outcome),
        stages=_stages(outcome),
        parity_rows=_parity_rows(parity, tolerances),
        findings=(shown := views(outcome.findings)),
        findings_left_out=len(outcome.findings) - len(shown),
        blocks=tuple(Block(title, clip(text, limit)) for title, text in _output(outcome) if text.strip()),
        notes=tuple(_bounded(note) for note in outcome.notes[:_MOST_NOTES]),
        repeat=clean(outcome.repeat),
        diagnosis=diagnosis_view(outcome),
        tags=clean(" ".join(case.get("tags") or ())),
    )


def _bounded(text: str) -> str:
    """Clean, and cut where it is longer than anybody reads in a line."""
    return clean(text) if len(text) <= _LONGEST else clean(text[:_LONGEST]) + f"\u2026 ({len(text) - _LONGEST:,} characters more)"


def _facts(outcome: Outcome, parity: Parity | None) -> list[tuple[str, str]]:
    """(name, value); an empty value is left out."""
    facts = [("Solver status", outcome.status or "")]
    if outcome.exception:
        facts.append(("Exception", f"{outcome.exception.type}: {outcome.exception.message}"))
    if outcome.cuda:
        sticky = "sticky: the process can do nothing more on the GPU" if outcome.cuda.sticky else "not sticky"
        facts.append(("CUDA error", f"{outcome.cuda.code} {outcome.cuda.name} ({sticky}). {outcome.cuda.meaning}".strip()))
    if outcome.exit:
        signal = f", signal {outcome.exit.signal}" if outcome.exit.signal and outcome.exit.signal != outcome.exit.name else ""
        facts.append(("Exit", f"{exit_code(outcome.exit.code)} {outcome.exit.name}{signal}: {outcome.exit.meaning}"))
    if outcome.kind is Kind.TIMEOUT:
        facts.append(("Time limit", f"{number(outcome.limit_s)} s"))
    facts.append(("Reason", outcome.reason or ""))
    facts.append(("Tool", _watched_by(outcome)))
    if parity:
        facts.append(("Parity", parity.why if parity.within else f"out of tolerance: {parity.why}"))
    if not outcome.judged:
        facts.append(("Judged", "no: a baseline that claims no parity"))
    facts.append(("Iterations", "" if outcome.iterations is None else str(outcome.iterations)))
    facts.append(("Cost", "" if outcome.cost is None else number(outcome.cost, 7)))
    for name in ("T_CkCf", "T_WCf"):
        pose = getattr(outcome, name)
        facts.append((name, "" if pose is None else "[" + "  ".join(number(value, 7) for value in pose) + "]"))
    facts.append(("Device", outcome.device or ""))
    solve = "" if not isinstance(outcome.solve_seconds, float) else f", of which the solve {duration(outcome.solve_seconds)}"
    facts.append(("Time", duration(outcome.seconds) + solve))
    return facts


def _watched_by(outcome: Outcome) -> str:
    """The tool's version, the state its run came to, and what it watched."""
    by = outcome.values.get("watched_by")
    if not isinstance(by, Mapping):
        return ""
    libraries = by.get("libraries")
    files = [str(file).rpartition("/")[2] for file in libraries] if isinstance(libraries, list) else None
    watched = _listed("launched", by.get("launched")) + _listed("watched", files)
    return f"{by.get('name')} {by.get('version')} ({by.get('source')}): {outcome.tool_state}{watched}"


def _listed(what: str, names: Any) -> str:
    """The first few of what was watched; empty where there is none."""
    if not isinstance(names, list) or not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; {what}: {shorten(', '.join(map(str, names[:5])), 300)}{more}"


def exit_code(code: int) -> str:
    """Windows' codes are known by their hexadecimal form."""
    return f"{code} (0x{code & 0xFFFFFFFF:08X})" if abs(code) > 255 else str(code)


def _output(outcome: Outcome) -> list[tuple[str, str]]:
    return [
        ("Traceback", outcome.exception.traceback if outcome.exception else ""),
        ("faulthandler", outcome.faulthandler),
        ("stderr", outcome.stderr),
        ("stdout", outcome.stdout),
        ("Values", _document({name: value for name, value in outcome.values.items() if name != "watched_by"})),
    ]


def _document(value: Mapping[str, Any]) -> str:
    """An op's result: one ``name: value`` a line, deeper values as JSON."""
    return "\n".join(f"{key}: {item if isinstance(item, str) else dumps(item, indent=None)}" for key, item in value.items())


def _stages(outcome: Outcome) -> tuple[Stage, ...]:
    """The journal with its iterations folded into one entry, then the stages that were never reached."""
    folded: list[tuple[str, str]] = []
    iterations: list[str] = []
    for name, at in outcome.stages:
        if name.startswith("iteration"):
            iterations.append(name.removeprefix("iteration").strip())
            entry = (f"iterations {iterations[0]}\u2013{iterations[-1]}" if len(iterations) > 1 else name, duration(at))
            if len(iterations) > 1 and folded and folded[-1][0].startswith("iteration"):
                folded[-1] = entry
            else:
                folded.append(entry)
        else:
            folded.append((name, duration(at)))
    if not folded and outcome.stage:
        folded.append((outcome.stage, ""))
    reached = {name for name, _ in folded}
    complete = "written" in reached
    stages = [Stage(shorten(name, 80), at, "done") for name, at in folded]
    if stages and not complete:
        stages[-1] = Stage(stages[-1].name, stages[-1].at, "last")
    if outcome.kind is Kind.UNAVAILABLE or complete:
        return tuple(stages)
    return (*stages, *(Stage(name, "", "never") for name in not_reached(outcome)))


def _parity_rows(
    parity: Parity | None, tolerances: Mapping[str, Tolerance]
) -> tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]:
    if parity is None:
        return ()
    return tuple(
        (text, tuple((number(errors.get(name)), exceeds(errors.get(name), tolerances.get(name))) for name in MEASURES))
        for yardstick, text in YARDSTICKS.items()
        if (errors := parity.errors.get(yardstick))
    )
