"""How far a run under a CUDA tool can be believed: one of ``TOOL_STATES`` and why. No exit code decides anything alone.

Clean needs all of: the summary line, counting no more than what is known to be harmless; the record file, read to its end; the
child's own result; and word that the kernels in question were launched. Whatever is missing takes the state away from clean.

Word of a launch comes from the tool itself, where its version writes one record per launch (2026.4 does, 2025.3 does not), else
from the child, which saw itself launch (``harness.sanitizer.inside``). Of the tool's list those count that the solver made, by the
stack of each. One whose stack does not tell counts unless the child says that it launched nothing; as a launch of the kernels in
question it counts whatever the child says. Where these are named, only those count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.outcome import TOOL_STATES
from harness.sanitizer.command import ERROR_EXIT
from harness.sanitizer.finding import Finding, group
from harness.sanitizer.records import Records
from harness.sanitizer.text import APPLICATION, BAD_END, Log

CLEAN, FINDINGS, NEVER_ATTACHED, TIMED_OUT, TOOL_FAILED, UNSUPPORTED, NOT_LAUNCHED = TOOL_STATES
_DEBUGGER = "Failed to initialize WDDM debugger interface"


@dataclass(frozen=True)
class Child:
    """What the watched child itself left. ``launched`` are kernels known to have run; None: it cannot tell."""

    started: bool
    finished: bool
    launched: tuple[str, ...] | None = None
    died_of: str | None = None  # a fatal signal on the host, from its faulthandler trace


@dataclass(frozen=True)
class Ending:
    """How the tool's process ended. ``code`` is None when nobody knows it."""

    code: int | None
    timed_out: bool
    limit_s: float


@dataclass(frozen=True)
class State:
    """``word`` is one of ``TOOL_STATES``; ``reason`` is empty when it is clean. ``findings`` are grouped.

    What was watched are the kernels ``launched``, or on the host the solver's libraries that are built for the tool, ``watched``.
    ``crowded``: launches filled the record file before any fault, so nobody knows whether there was one.
    """

    word: str
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    launched: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    crowded: bool = False


def decide(
    tool: str, records: Records, log: Log, child: Child, end: Ending, *, kernels: str | None = None, shared: bool = False
) -> State:
    """The state of one run. ``kernels`` is a regular expression for the kernels in question, None for any.

    ``shared``: other jobs ran in the same process, so only the child can say what this one launched.
    """
    launched = _launched(records, child, kernels, shared)
    if records.findings:
        findings = group(records.findings)
        reason = f"{tool} found {len(findings)} fault{'' if len(findings) == 1 else 's'}"
        return State(FINDINGS, reason, findings, _notes(tool, records, log), launched or ())
    word, problem = _problem(tool, records, log, child, end, launched)
    crowded = word == TOOL_FAILED and bool(launched) and log.missing > 0 and records.launches > 0
    crowded = crowded and child.finished and not log.failures
    return State(word, problem, launched=launched or (), crowded=crowded)


def _launched(records: Records, child: Child, kernels: str | None, shared: bool) -> tuple[str, ...] | None:
    """The kernels in question that were launched, from the tool or the child; None when neither can tell."""
    names = child.launched
    if records.launches and not shared:
        unplaced = records.unplaced if kernels is not None or child.launched != () else ()
        names = tuple(dict.fromkeys((*records.launched, *unplaced)))
    if names is None or kernels is None:
        return names
    return tuple(name for name in names if re.search(kernels, name))


def _notes(tool: str, records: Records, log: Log) -> tuple[str, ...]:
    written = log.summary - records.launches if log.summary is not None else 0
    missing = max(log.missing, (log.hazards or 0) - written)
    notes = []
    if missing:
        notes.append(f"{tool} found {missing} more faults and did not write them: over the limit of records")
    if records.problem:
        notes.append(f"{tool}: {records.problem}")
    said = _without(_without(log.failures, APPLICATION), BAD_END)
    if said:
        notes.append(f"{tool} says: {'; '.join(said)}")
    if records.echoes:
        notes.append(f"{records.echoes} later CUDA calls failed because of it, and are not listed")
    return tuple(notes)


def _problem(tool: str, records: Records, log: Log, child: Child, end: Ending, launched: tuple[str, ...] | None) -> tuple[str, str]:
    """What keeps a run without findings from being clean: a state and its reason, (CLEAN, "") when nothing does."""
    known = records.harmless + records.launches
    hint = "; see docs/sanitizers.md for the setting it needs" if any(_DEBUGGER in said for said in log.failures) else ""
    failures = _without(log.failures, APPLICATION if len(log.failures) > 1 else "")
    checks = (
        (log.unsupported is not None, UNSUPPORTED, f"{tool} does not support this device: {log.unsupported}"),
        (end.timed_out, TIMED_OUT, _timed_out(tool, log, end)),
        (log.never_attached, NEVER_ATTACHED if child.started else TOOL_FAILED, _never_attached(tool, child, log)),
        (not log.exists, TOOL_FAILED, f"{tool} left no text" + _said(failures)),
        (child.died_of is not None, TOOL_FAILED, _died(tool, child, records, log)),
        (
            log.summary is not None and log.summary + log.missing > known and records.exists and records.problem is None,
            TOOL_FAILED,
            f"{tool} counts {log.summary} records, and its record file holds {known}, none of them a fault" + _said(failures),
        ),
        (bool(failures), TOOL_FAILED, f"{tool} says: {'; '.join(failures)}{hint}"),
        (log.no_launch, NOT_LAUNCHED, f"no kernel that {tool} was to watch was launched"),
        (log.summary is None, TOOL_FAILED, f"{tool} left no summary line"),
        (not records.exists or records.problem is not None, TOOL_FAILED, f"{tool}: {records.problem}"),
        (bool(log.hazards), TOOL_FAILED, f"{tool} counts {log.hazards} races, and its record file holds none of them"),
        (not child.finished, TOOL_FAILED, f"the child left no result of its own, so {tool} may have seen only a part"),
        (end.code not in ((0, ERROR_EXIT) if known else (0,)), TOOL_FAILED, f"{tool} ended with code {end.code}"),
        (launched == (), NOT_LAUNCHED, _not_launched(tool, records, child)),
        (launched is None, NOT_LAUNCHED, f"nothing says that a kernel was launched for {tool} to watch"),
    )  # fmt: skip
    return next(((word, reason) for failed, word, reason in checks if failed), (CLEAN, ""))


def _died(tool: str, child: Child, records: Records, log: Log) -> str:
    """With the footer in the tool's own words: that it saw the death and no error speaks for the host."""
    footer = ""
    if log.summary == 0 and tool != "racecheck":
        footer = " (ERROR SUMMARY: 0 errors)"
    elif log.summary is not None and log.summary == records.launches:
        footer = " (its summary counts launches only)"
    return f"the child died of {child.died_of} on the host, and {tool} found nothing before{footer}"


def _timed_out(tool: str, log: Log, end: Ending) -> str:
    what = f"; the kernel it saw launched last is {log.last_launch}" if log.last_launch else ""
    return (
        f"still running under {tool} after {end.limit_s:g} s{what}; it writes its records at the end, so what it had found is lost"
    )


def _never_attached(tool: str, child: Child, log: Log) -> str:
    if not child.started:
        return f"{tool} did not get the child to start" + _said(log.failures)
    if child.died_of:
        return f"the child died of {child.died_of} before it first used CUDA"
    end = "ended" if child.finished else "ended without a result"
    return f"the child {end} without using CUDA, so {tool} had nothing to watch"


def _not_launched(tool: str, records: Records, child: Child) -> str:
    seen = (*records.launched, *records.own) if records.launches else child.launched or ()
    others = ", ".join(dict.fromkeys((*records.filtered, *seen)))
    only = f", only: {others[:200]}" if others else ""
    unplaced = dict.fromkeys(records.unplaced)
    doubt = (
        f"; nothing says that the solve launched {', '.join(unplaced)[:200]}: name your kernels by --kernels" if unplaced else ""
    )
    return f"none of the kernels that {tool} was to watch was launched{only}{doubt}"


def _said(failures: Iterable[str]) -> str:
    said = "; ".join(failures)
    return f"; it says: {said}" if said else ""


def _without(failures: tuple[str, ...], word: str) -> tuple[str, ...]:
    """That the application returned an error says nothing where the tool says more."""
    return tuple(said for said in failures if not word or word not in said)
