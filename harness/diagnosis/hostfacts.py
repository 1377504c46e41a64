"""What speaks for a fault on the host, and what against it: other runs, the probe, the sweep, the audit. Quotations only."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.diagnosis.documents import Rung
from harness.diagnosis.evidence import DEVICE_TOOLS, HOST_TOOLS, Evidence, fact, find_line
from harness.diagnosis.rule import present
from harness.diagnosis.sweeps import every_layout_fails, layout_rule
from harness.outcome import Fact

HOST_DEREFERENCE = re.compile(r"dereferencing Unified Memory from the host")
_NO_ERRORS = re.compile(r"ERROR SUMMARY: 0 errors")


def supports(e: Evidence, died: Iterable[Rung] = ()) -> tuple[Fact, ...]:
    """What speaks for the host: a memory checker that saw the death and no error, a CPU path that works."""
    facts: list[Fact | None] = []
    for other in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)):
        facts += [find_line(other, HOST_DEREFERENCE), find_line(other, _NO_ERRORS)]
    facts += [Fact(rung.words, rung.where) for rung in list(died)[:1]]
    if e.op:
        facts += [Fact(rung.words, rung.where) for rung in e.rungs(op=e.op, device="cpu", result="ok")[:1]]
    if e.sweep is not None:
        facts.append(every_layout_fails(e.sweep))
    return tuple(dict.fromkeys(present(*facts)))


def device_findings(e: Evidence) -> tuple[Fact, ...]:
    """Findings in a kernel by any tool that saw this solver on this case."""
    found: list[Fact] = []
    for other in (e.outcome, *e.same_solver(tools=DEVICE_TOOLS)):
        for finding in other.findings:
            if (
                other.tool not in HOST_TOOLS
                and finding.get("kernel")
                and finding.get("kind") not in ("host-dereference", "api-error")
            ):
                found.append(fact(other, "findings", f"{finding.get('kind')} in {finding.get('kernel')}"))
    return tuple(dict.fromkeys(found))[:2]


def probe_denies(rungs: tuple[Rung, ...]) -> tuple[Fact, ...]:
    """The probe made the same call, and it worked every time."""
    if not rungs or any(rung.result not in ("ok", "unavailable") for rung in rungs):
        return ()
    return tuple(Fact(rung.words, rung.where) for rung in rungs if rung.result == "ok")[:1]


def alignment_decides(e: Evidence) -> tuple[Fact, ...]:
    rule = layout_rule(e.sweep) if e.sweep else None
    return rule.facts if rule is not None and rule.alignment else ()


def clean_audit(e: Evidence) -> tuple[Fact, ...]:
    clean = [audit for audit in e.documents.audits if audit.clean_of_collisions]
    if any(audit.collisions for audit in e.documents.audits):
        return ()
    verdicts = [(audit, audit.about("collisions", "ok")) for audit in clean]
    return tuple(
        Fact(said[0].what, said[0].where)
        if said
        else Fact(f"collisions: [] in {', '.join(audit.files)}", f"{audit.source}: collisions")
        for audit, said in verdicts
    )
