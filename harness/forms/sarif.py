"""A run as SARIF 2.1.0: one result for each distinct finding, at its line; the rules are causes, each with its fix as help.

OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.diagnosis.bugs import Bug
from harness.diagnosis.cuda_codes import CODES
from harness.diagnosis.engine import RULES
from harness.diagnosis.frames import from_faulthandler, from_traceback, top
from harness.diagnosis.ofrun import Diagnosed
from harness.diagnosis.signature import finding_signature
from harness.outcome import Kind, Outcome
from harness.report.text import clean
from harness.run import Run

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "harnessSignature/v1"
ROOT = "SRCROOT"
_STANDARD_LIBRARY = re.compile(r"/lib/python3\.\d+/(?!(site|dist)-packages/)|(?i:/lib/(?!site-packages/|python3)[\w/]*\.py$)|^<")
_CHECKOUT = Path(__file__).resolve().parents[2].as_posix() + "/"
_LARGEST_LINE = 2**31 - 1
_SUMMARIES = {rule.cause: rule.summary for rule in RULES} | {code.cause: code.claim for code in CODES}

Object = dict[str, Any]


def sarif(found: Diagnosed) -> Object:
    """The document as JSON values.

    A finding stands at its line of a kernel; a death or an exception at the solver's innermost frame; what has no line at its case.
    """
    run, bugs = found.run, found.bugs
    causes = list(dict.fromkeys(bug.diagnosis.cause for bug in bugs))
    first = {bug.diagnosis.cause: bug for bug in reversed(bugs)}
    driver = {
        "name": "sim3solve harness", "rules": [_rule(first[cause]) for cause in causes],
        "version": str(run.environment.get("packages", {}).get("sim3solve", "unknown")),
    }  # fmt: skip
    invocation = {"executionSuccessful": run.finished is not None, "commandLine": clean(run.command), **_times(run)}
    results = [_result(run, bug, found.showing(bug), causes.index(bug.diagnosis.cause)) for bug in bugs]
    base = {ROOT: {"description": {"text": "The folder that the run was started in: the checkout."}}}
    made = {
        "tool": {"driver": driver}, "invocations": [invocation], "originalUriBaseIds": base, "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": f"harness/{clean(run.id)}"}, "results": results,
    }  # fmt: skip
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [made]}


def _rule(bug: Bug) -> Object:
    said = bug.diagnosis
    parts = (("Fix", said.fix), ("Refuted by", said.refute), ("Test", said.test))
    summary = clean(_SUMMARIES.get(said.cause) or said.sentence)
    return {
        "id": clean(said.cause), "name": "".join(word.capitalize() for word in re.split(r"\W+", said.cause)) or "Unknown",
        "shortDescription": {"text": summary[:1].upper() + summary[1:]}, "fullDescription": {"text": clean(said.sentence)},
        "help": {"text": "\n".join(f"{title}: {clean(text)}" for title, text in parts)},
        "defaultConfiguration": {"level": "error" if bug.failure else "warning"},
    }  # fmt: skip


def _result(run: Run, bug: Bug, shown_by: Sequence[Outcome], rule: int) -> Object:
    found = _findings(bug, shown_by)
    said = bug.diagnosis
    cases = ", ".join(bug.cases[:5]) + (" and more" if len(bug.cases) > 5 else "")
    message = f"{said.sentence} Shown by {', '.join(bug.solvers)} on {cases}. Fix: {said.fix}. Again: {shown_by[0].repeat}"
    result: Object = {
        "ruleId": clean(said.cause), "ruleIndex": rule, "level": "error" if bug.failure else "warning",
        "message": {"text": clean(message).replace("](", "] (")},  # else a link
        "locations": [_location(found[0]) if found and _where(found[0]) else _of_outcome(run, shown_by[0])],
        "partialFingerprints": {FINGERPRINT: clean(bug.signature)},
        "occurrenceCount": max(1, len(bug.outcomes)),
        "properties": {
            "confidence": said.confidence, "cases": [clean(it) for it in bug.cases],
            "solvers": [clean(it) for it in bug.solvers], "facts": [clean(f"{fact.quote} ({fact.where})") for fact in said.facts],
        },
    }  # fmt: skip
    stack = [frame for frame in (found[0].get("host_stack") or ()) if isinstance(frame, Mapping)] if found else []
    if stack:
        result["stacks"] = [{"message": {"text": "host"}, "frames": [{"location": _frame(frame)} for frame in stack]}]
    return result


def _findings(bug: Bug, shown_by: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The bug's own findings, those whose line is known first."""
    all_of_it = [finding for outcome in shown_by if outcome.kind is Kind.FINDINGS for finding in outcome.findings]
    return sorted((it for it in all_of_it if finding_signature(it) == bug.signature), key=lambda it: not _where(it))


def _where(finding: Mapping[str, Any]) -> Mapping[str, Any] | None:
    where = finding.get("where")
    return where if isinstance(where, Mapping) and where.get("path") else None


def _location(finding: Mapping[str, Any]) -> Object:
    where = _where(finding)
    assert where is not None
    location: Object = {"physicalLocation": _physical(str(where["path"]), where.get("line"), where.get("snippet"))}
    if finding.get("kernel"):
        location["logicalLocations"] = [{"fullyQualifiedName": clean(str(finding["kernel"])), "kind": "function"}]
    return location


def _of_outcome(run: Run, outcome: Outcome) -> Object:
    """The innermost frame that is the solver's; without one the case, which is where a reader has to begin."""
    frames = from_faulthandler(outcome.faulthandler) or from_traceback(outcome.exception.traceback if outcome.exception else "")
    for frame in top(frames, len(frames)):
        if not _STANDARD_LIBRARY.search(frame.file):
            name = [{"name": clean(frame.function), "kind": "function"}]
            return {"physicalLocation": _physical(frame.file, frame.line), "logicalLocations": name}
    folder = str(run.cases.get(outcome.case, {}).get("path") or outcome.case)
    return {"physicalLocation": _physical(f"{folder}/case.json", 1)}


def _frame(frame: Mapping[str, Any]) -> Object:
    made: Object = {"message": {"text": clean(str(frame.get("function") or "?"))}}
    if frame.get("path"):
        made["physicalLocation"] = _physical(str(frame["path"]), frame.get("line"))
    return made


def _physical(path: str, line: Any, snippet: Any = None) -> Object:
    place: Object = {"artifactLocation": _artifact(path)}
    if isinstance(line, int) and 0 < line <= _LARGEST_LINE:
        place["region"] = {"startLine": line}
        rows = dict(_rows(snippet))
        if line in rows:
            place["region"]["snippet"] = {"text": rows[line]}
            first = min(rows)
            if sorted(rows) == list(range(first, first + len(rows))) and len(rows) > 1:
                text = "\n".join(rows[number] for number in sorted(rows))
                place["contextRegion"] = {"startLine": first, "endLine": max(rows), "snippet": {"text": text}}
    return place


def _rows(snippet: Any) -> Iterator[tuple[int, str]]:
    for row in snippet if isinstance(snippet, (list, tuple)) else ():
        if isinstance(row, (list, tuple)) and len(row) == 2 and isinstance(row[0], int) and 0 < row[0] <= _LARGEST_LINE:
            yield row[0], clean(str(row[1]))


def _artifact(path: str) -> Object:
    """An absolute path as a file's URI; any other, and one of our own, relative to where the run was started."""
    plain = clean(path).replace("\\", "/").removeprefix(_CHECKOUT)
    if re.match(r"[A-Za-z]:/", plain):
        return {"uri": "file:///" + plain[:2] + quote(plain[2:])}
    if plain.startswith("/"):
        return {"uri": "file://" + quote("/" + plain.lstrip("/"))}
    return {"uri": quote(plain.removeprefix("./")), "uriBaseId": ROOT}


def _times(run: Run) -> Object:
    made = {}
    for name, text in (("startTimeUtc", run.started), ("endTimeUtc", run.finished)):
        try:
            moment = datetime.fromisoformat(text or "").astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        made[name] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return made
