"""How many different bugs a run shows: outcomes that fail alike, for the same cause, are one, whatever the case and solver."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.diagnosis.documents import Documents
from harness.diagnosis.engine import diagnose
from harness.diagnosis.evidence import Evidence
from harness.diagnosis.gravity import gravity
from harness.diagnosis.signature import finding_signature, signatures
from harness.outcome import CONFIDENCES, Diagnosis, Kind, Outcome

Key = tuple[str, str, str]
NOT_TRIED = "not-on-this-machine"
"""The cause of what could not be tried for a reason that is no bug."""


@dataclass(frozen=True)
class Bug:
    """One bug. ``outcomes`` are the keys of the runs that show it; ``failure`` is false for what only could not be tried."""

    signature: str
    diagnosis: Diagnosis
    outcomes: tuple[Key, ...]
    failure: bool

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(case for case, _, _ in self.outcomes))

    @property
    def solvers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(solver for _, solver, _ in self.outcomes))

    def to_json(self) -> dict[str, Any]:
        return {
            "signature": self.signature, "failure": self.failure, "cases": list(self.cases), "solvers": list(self.solvers),
            "outcomes": [list(key) for key in self.outcomes], **dataclasses.asdict(self.diagnosis),
        }  # fmt: skip


def diagnosed(
    outcomes: Sequence[Outcome], oracles: Iterable[Outcome], documents: Documents, swept: Sequence[Outcome] = ()
) -> tuple[Outcome, ...]:
    """The outcomes, each with signature and diagnosis in the light of the others of its case, its oracle and the documents.

    Then those of ``swept``, which are in the light of all, and none in theirs: what a sweep says of them is one of the documents.
    """
    families = _families(outcomes)
    yardsticks = {oracle.case: oracle for oracle in oracles}
    found = []
    for outcome in (*outcomes, *swept):
        e = Evidence(outcome, families.get((outcome.case, outcome.solver), ()), yardsticks.get(outcome.case), documents)
        diagnosis = diagnose(e)
        named = signatures(outcome)[0] if diagnosis is not None and signatures(outcome) else ""
        found.append(dataclasses.replace(outcome, diagnosis=diagnosis, signature=named))
    return tuple(found)


def distinct_bugs(
    outcomes: Sequence[Outcome], oracles: Iterable[Outcome], documents: Documents, swept: Sequence[Outcome] = (), *,
    known: bool = False,
) -> tuple[Bug, ...]:  # fmt: skip
    """The distinct bugs, failures first, the gravest first. An outcome with several findings may show several.

    Of one gravity comes what is known before what is guessed, then what costs most outcomes. ``swept`` are outcomes in other
    layouts: what only they show comes after all others. With ``known`` the outcomes come from ``diagnosed``, and
    only the findings of a sanitizer are looked at one by one.
    """
    families = _families(outcomes)
    yardsticks = {oracle.case: oracle for oracle in oracles}
    groups: dict[tuple[str, str], list[tuple[Outcome, Diagnosis]]] = {}
    for outcome in (*outcomes, *swept):
        for part in _one_finding_each(outcome):
            if known and part is outcome:
                diagnosis = outcome.diagnosis
            else:
                diagnosis = diagnose(
                    Evidence(part, families.get((outcome.case, outcome.solver), ()), yardsticks.get(outcome.case), documents)
                )
            if diagnosis is None or (outcome.kind is Kind.UNAVAILABLE and diagnosis.cause == NOT_TRIED):
                continue
            named = next(iter(signatures(part)), f"{outcome.kind.value.lower()} | {diagnosis.cause}")
            groups.setdefault((diagnosis.cause, named), []).append((outcome, diagnosis))
    elsewhere = {outcome.key for outcome in swept}
    ranked = [_ranked(named, members, elsewhere) for named, members in _with_symptoms(groups)]
    return tuple(bug for bug, _ in sorted(ranked, key=lambda it: it[1]))


def _families(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], tuple[Outcome, ...]]:
    """Outcomes by case and solver: what one solver did elsewhere says nothing of another."""
    families: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        families.setdefault((outcome.case, outcome.solver), []).append(outcome)
    return {key: tuple(members) for key, members in families.items()}


def _one_finding_each(outcome: Outcome) -> list[Outcome]:
    if outcome.kind is not Kind.FINDINGS:
        return [outcome]
    apart: dict[str, list[dict[str, Any]]] = {}
    for finding in outcome.findings:
        apart.setdefault(finding_signature(finding), []).append(finding)
    return [dataclasses.replace(outcome, findings=tuple(findings)) for findings in apart.values()]


def _with_symptoms(
    groups: dict[tuple[str, str], list[tuple[Outcome, Diagnosis]]],
) -> list[tuple[str, list[tuple[Outcome, Diagnosis]]]]:
    """A run that failed by what a tool found in another run of the same case and solver shows the same bug as the finding."""
    merged: dict[tuple[str, str], list[tuple[Outcome, Diagnosis]]] = {key: list(members) for key, members in groups.items()}
    findings = {key for key, members in groups.items() if members[0][0].kind is Kind.FINDINGS}
    for key in [key for key in groups if key not in findings]:
        cause = key[0]
        homes = {
            (member[0].case, member[0].solver): [
                other for other in findings
                if other[0] == cause and any((o.case, o.solver) == (member[0].case, member[0].solver) for o, _ in groups[other])
            ]
            for member in groups[key]
        }  # fmt: skip
        stays = []
        for member in groups[key]:
            home = homes[member[0].case, member[0].solver]
            if len(home) == 1:  # with several findings of that cause nobody can say which one it was
                merged[home[0]].append(member)
            else:
                stays.append(member)
        merged[key] = stays
    return [(key[1], members) for key, members in merged.items() if members]


def _ranked(named: str, members: list[tuple[Outcome, Diagnosis]], elsewhere: set[Key]) -> tuple[Bug, tuple[Any, ...]]:
    """A bug, and its place among the others."""
    best = min((diagnosis for _, diagnosis in members), key=lambda it: CONFIDENCES.index(it.confidence))
    keys = tuple(dict.fromkeys(outcome.key for outcome, _ in members))
    failure = any(is_failure(outcome) for outcome, _ in members)
    gravest = min(gravity(outcome, named) for outcome, _ in members)
    here = len(set(keys) - elsewhere)
    return Bug(named, best, keys, failure), (not failure, not here, gravest, CONFIDENCES.index(best.confidence), -here, -len(keys))


def is_failure(outcome: Outcome) -> bool:
    """Not as its case expects; where nobody judged it, an end that is none of a pose, a status, and not tried."""
    if outcome.expected is not None:
        return not outcome.expected
    return outcome.kind not in (Kind.OK, Kind.SOLVER_STATUS, Kind.UNAVAILABLE, Kind.INCONCLUSIVE)
