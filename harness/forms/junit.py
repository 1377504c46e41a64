"""A run as JUnit XML, in the form of Apache Ant that Jenkins, GitLab and the others read: a suite for each solver and tool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from harness.diagnosis.bugs import is_failure
from harness.diagnosis.ofrun import Diagnosed
from harness.diagnosis.sweeps import Sweep
from harness.outcome import Kind, Outcome
from harness.report.headline import pending_tasks
from harness.report.text import clean, clip
from harness.report.words import what_happened
from harness.run import Run
from harness.sanitizer.words import in_words

_DIED = (Kind.CRASHED, Kind.CUDA_ERROR, Kind.TIMEOUT, Kind.RAISED)
_OUTPUT = 20_000
_EPOCH = "1970-01-01T00:00:00"

Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Swept:
    """A layout sweep, and the outcomes of it that failed."""

    sweep: Sweep
    faults: tuple[Outcome, ...]

    @property
    def seconds(self) -> float:
        return sum(_finite(outcome.seconds) for outcome in self.faults)


_Member = Outcome | Key | _Swept


def junit(found: Diagnosed) -> bytes:
    """The document. The diagnoses stand in the failures' texts.

    An end that nobody planned is an error, a result that is wrong a failure; what could not be tried, was not finished or says
    nothing is skipped. A layout sweep is a test case of its own, a failure when a layout other than the recorded one faults.
    Characters that XML has no way to hold are made visible.
    """
    run = found.run
    suites: dict[tuple[str, str], list[_Member]] = {}
    for outcome in run.outcomes:
        suites.setdefault((outcome.solver, outcome.how), []).append(outcome)
    for key in pending_tasks(run):
        suites.setdefault((str(key[1]), str(key[2])), []).append(key)
    for sweep in found.sweeps:
        faults = tuple(outcome for outcome in found.swept if sweep.is_of(outcome))
        suites.setdefault((sweep.solver, sweep.how), []).append(_Swept(sweep, faults))
    root = ElementTree.Element("testsuites")
    for number, ((solver, way), members) in enumerate(suites.items()):
        root.append(_suite(run, number, clean(solver if way == "none" else f"{solver} {way}"), members))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(run: Run, number: int, name: str, members: Sequence[_Member]) -> ElementTree.Element:
    cases = [_case(name, member) for member in members]
    count = {tag: str(sum(case.find(tag) is not None for case in cases)) for tag in ("failure", "error", "skipped")}
    suite = ElementTree.Element(
        "testsuite", name=_token(name), package="harness", id=str(number), hostname="localhost", timestamp=_utc(run.started),
        tests=str(len(cases)), failures=count["failure"], errors=count["error"], skipped=count["skipped"],
        time=_seconds(sum(_finite(member.seconds) for member in members if not isinstance(member, tuple))),
    )  # fmt: skip
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in (("run", run.id), ("command", run.command)):
        ElementTree.SubElement(properties, "property", name=key, value=clean(value))
    suite.extend(cases)
    for stream in ("system-out", "system-err"):  # Ant's form asks for both; what a child wrote stands in its failure
        ElementTree.SubElement(suite, stream)
    return suite


def _case(suite: str, member: _Member) -> ElementTree.Element:
    if isinstance(member, tuple):
        made = _testcase(suite, str(member[0]), 0.0)
        ElementTree.SubElement(made, "skipped", message="the run was cut off before this")
        return made
    if isinstance(member, _Swept):
        return _swept(suite, member)
    made = _testcase(suite, member.case, member.seconds)
    if is_failure(member):
        tag = "error" if member.kind in _DIED else "failure"
        failure = ElementTree.SubElement(made, tag, type=_type(member), message=what_happened(member))
        failure.text = _text(member)
    elif member.kind in (Kind.UNAVAILABLE, Kind.INCONCLUSIVE):
        ElementTree.SubElement(made, "skipped", message=clean(member.reason or member.kind.value))
    return made


def _testcase(suite: str, case: str, seconds: float) -> ElementTree.Element:
    return ElementTree.Element("testcase", name=_token(clean(case)), classname=_token(suite), time=_seconds(seconds))


def _swept(suite: str, member: _Swept) -> ElementTree.Element:
    sweep, faults = member.sweep, member.faults
    made = _testcase(suite, sweep.case, member.seconds)
    if sweep.elsewhere:
        causes = dict.fromkeys(it.diagnosis.cause for it in faults if it.diagnosis is not None)
        failure = ElementTree.SubElement(made, "failure", type=clean(" ".join(["LAYOUTS", *causes])), message=clean(sweep.rule))
        lines = [f"in other layouts: {sweep.rule}", *(f"{it.layout}: {it.outcome}" for it in sweep.elsewhere)]
        failure.text = "\n".join(
            [clean(line) for line in lines] + [f"\n--- {clean(it.layout)} ---\n{_text(it)}" for it in faults[:1]]
        )
    elif not sweep.answered:
        ElementTree.SubElement(made, "skipped", message=clean(sweep.rule))
    return made


def _type(outcome: Outcome) -> str:
    return outcome.kind.value if outcome.diagnosis is None else f"{outcome.kind.value} {clean(outcome.diagnosis.cause)}"


def _text(outcome: Outcome) -> str:
    diagnosis = outcome.diagnosis
    lines = [what_happened(outcome)]
    if diagnosis is not None:
        lines += [f"cause: {diagnosis.sentence} ({diagnosis.confidence})", f"fix: {diagnosis.fix}"]
    lines += [f"signature: {outcome.signature}", f"again: {outcome.repeat}"]
    lines += [f"finding: {in_words(finding)}" for finding in outcome.findings[:20]]
    traceback = outcome.exception.traceback if outcome.exception else ""
    for title, text in (
        ("traceback", traceback),
        ("faulthandler", outcome.faulthandler),
        ("stderr", outcome.stderr),
        ("stdout", outcome.stdout),
    ):
        if text.strip():
            cut = clip(text, _OUTPUT)
            lines += [f"\n--- {title} ---", cut.head + (f"\n... {cut.omitted} characters ...\n{cut.tail}" if cut.omitted else "")]
    return "\n".join(clean(line) for line in lines)


def _token(text: str) -> str:
    """XML's token: no line breaks, no blanks in a row; never empty."""
    return " ".join(text.split()) or "?"


def _seconds(value: float) -> str:
    return f"{_finite(value):.3f}"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _utc(text: str) -> str:
    """Without a zone, as the form asks for."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _EPOCH
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%dT%H:%M:%S")
