"""The first line of the report: not how many went wrong but what went wrong, where, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.outcome import Outcome
from harness.report.bugs import BugRow
from harness.report.headline import Headline
from harness.report.specimens import Specimens
from harness.report.text import count, shorten
from harness.report.words import MARKS, judgement

_MOST_SYMPTOMS, _MOST_SOLVERS = 5, 3


def opening(
    head: Headline, bugs: Sequence[BugRow], outcomes: Sequence[Outcome], specimens: Specimens | None, labels: Mapping[str, str]
) -> str:
    """One sentence without a full stop. The counts that it leaves out are the headline's."""
    if specimens is not None and specimens.planted:
        return _planted(specimens)
    failing = [bug for bug in bugs if bug.failure]
    if failing:
        return _of_bugs(failing, labels)
    judged = [outcome for outcome in outcomes if judgement(outcome) is not None]
    failures = sum(outcome.expected is False for outcome in judged)
    if failures:
        return f"{count(failures, 'failure')} without a diagnosis"
    if not judged:
        return "Nothing has been judged"
    if head.state == "bad":  # by something that is no outcome of this run; it is said right below
        return head.asides[0].partition(". ")[0].removesuffix(".") if head.asides else head.text.rpartition("; ")[2].capitalize()
    every = f"All {len(judged)} outcomes" if len(judged) > 1 else "The one outcome"
    if head.state == "good":
        return f"{every} as expected"
    return f"No failure so far: {every[0].lower()}{every[1:]} as expected"


def _planted(specimens: Specimens) -> str:
    """A fault that is looked for under several tools is one fault."""
    tried = [row for row in specimens.rows if row.cure and row.mark != MARKS[None]]
    faults, missed = {row.name for row in tried}, {row.name for row in tried if row.missed}
    if missed:
        return f"{len(missed)} of {count(len(faults), 'planted fault')} not found as it must be"
    if specimens.missed:
        return f"{count(specimens.missed, 'finding')} in a solver without a fault"
    if not faults:
        return "No planted fault could be tried here"
    every = f"All {len(faults)} planted faults" if len(faults) > 1 else "The planted fault"
    return f"{every} found, in {count(len(tried), 'replay')}"


def _of_bugs(bugs: Sequence[BugRow], labels: Mapping[str, str]) -> str:
    """Bugs alike in their symptom are counted together, the gravest first."""
    cases: dict[str, set[str]] = {}
    for bug in bugs:
        cases.setdefault(bug.symptom, set()).update(bug.cases)
    told = [f"{words} on {len(its)}" for words, its in cases.items()][:_MOST_SYMPTOMS]
    told[0] += " case" if len(next(iter(cases.values()))) == 1 else " cases"
    more = len(cases) - len(told)
    told += [f"and {more} more"] if more else []
    solvers = list(dict.fromkeys(labels.get(name, shorten(name, 60)) for bug in bugs for name in bug.solvers))
    where = _listed(solvers) if len(solvers) <= _MOST_SOLVERS else count(len(solvers), "solver")
    return f"{count(len(bugs), 'bug')} in {where}: {', '.join(told)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
