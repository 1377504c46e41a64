"""A run as a short Markdown text for an issue or a CI step: the distinct bugs, what failed where, how to repeat it, the machine.

Whatever comes from a case, a solver or its output stands in code, which GitHub neither renders nor scans for mentions; sentences of
the diagnosis are escaped to the letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.diagnosis.bugs import Bug, is_failure
from harness.diagnosis.ofrun import Diagnosed
from harness.diagnosis.sweeps import Sweep
from harness.outcome import Outcome
from harness.report.headline import headline
from harness.report.text import clean, count, shorten
from harness.report.words import label, what_happened
from harness.run import Run

MOST = 65_000
"""Characters. GitHub refuses an issue of more than 65 536."""
_BUGS, _ROWS, _NOT_RUN = 20, 60, 10
_LINE = 700
_ENVIRONMENT = ("os", "python", "torch", "cuda_build", "gpus", "cpu", "cores")
_LETTERS = {"`": "\u02cb", "|": "\u2502"}  # within a table's code neither can be escaped

Scrub = Callable[[str], str]


def markdown(found: Diagnosed, scrub: Scrub = str) -> str:
    """``scrub`` takes out of each text what is nobody's business."""
    run, bugs = found.run, found.bugs
    failures = [outcome for outcome in run.outcomes if is_failure(outcome)]
    head = headline(found)
    blocks = [f"## Pose solvers: {prose(head.text)}"]
    blocks += [prose(scrub(aside)) for aside in head.asides]
    blocks += [_bug(number, bug, found.showing(bug)[0], scrub) for number, bug in enumerate(bugs[:_BUGS], 1)]
    if len(bugs) > _BUGS:
        blocks.append(f"{count(len(bugs) - _BUGS, 'more distinct bug')} in the report.")
    if failures:
        blocks.append(_table(failures, scrub))
    if any(sweep.elsewhere for sweep in found.sweeps):
        blocks.append(_sweeps(found.sweeps, scrub))
    for reason in head.not_run[:_NOT_RUN]:
        blocks.append(f"Not run: {', '.join(code(name) for name in reason.solvers)}: {code(scrub(reason.reason))}")
    blocks.append(_environment(run, scrub))
    return _within(blocks)


def _bug(number: int, bug: Bug, shown_by: Outcome, scrub: Scrub) -> str:
    said = bug.diagnosis
    solvers = ", ".join(code(scrub(name)) for name in bug.solvers[:6])
    cases = f"{code(shown_by.case)}{' and others' if len(bug.cases) > 1 else ''}"
    lines = [
        f"### {number}. {prose(scrub(said.sentence))}", "",
        f"- cause: {code(said.cause)}, {said.confidence}{'' if bug.failure else ', no failure'}",
        f"- signature: {code(scrub(bug.signature))}",
        f"- shown by {solvers} on {count(len(bug.cases), 'case')}: {cases}",
        f"- fix: {prose(scrub(said.fix))}",
        *[f"- fact: {code(scrub(fact.quote))} ({prose(scrub(fact.where))})" for fact in said.facts[:3]], "",
        fence(scrub(shown_by.repeat)),
    ]  # fmt: skip
    return "\n".join(lines)


def _table(failures: Sequence[Outcome], scrub: Scrub) -> str:
    rows = ["| case | solver | run under | outcome | what happened |", "|---|---|---|---|---|"]
    for it in failures[:_ROWS]:
        kind, detail = label(it)
        cells = (it.case, scrub(it.solver), it.how, f"{kind} {detail}".strip(), shorten(scrub(what_happened(it)), 160))
        rows.append(f"| {' | '.join(code(cell, in_table=True) for cell in cells)} |")
    if len(failures) > _ROWS:
        rows.append(f"\n{count(len(failures) - _ROWS, 'more failure')} in the report.")
    return "\n".join(rows)


def _sweeps(sweeps: Sequence[Sweep], scrub: Scrub) -> str:
    """The layout sweeps that found a fault in a layout other than the recorded one."""
    faulty = [sweep for sweep in sweeps if sweep.elsewhere]
    rows = [f"### In other layouts: {len(faulty)} of {count(len(sweeps), 'sweep')} found a fault", "",
            "| case | solver | run under | in which layouts |", "|---|---|---|---|"]  # fmt: skip
    for it in faulty[:_ROWS]:
        cells = (it.case, scrub(it.solver), it.tool, shorten(scrub(it.rule), _LINE))
        rows.append(f"| {' | '.join(code(cell, in_table=True) for cell in cells)} |")
    if len(faulty) > _ROWS:
        rows.append(f"\n{count(len(faulty) - _ROWS, 'more sweep')} in the report.")
    return "\n".join(rows)


def _environment(run: Run, scrub: Scrub) -> str:
    known: Mapping[str, Any] = run.environment
    lines = [f"{name}: {_words(known[name])}" for name in _ENVIRONMENT if known.get(name) is not None]
    packages = known.get("packages")
    if isinstance(packages, Mapping):
        lines.append("packages: " + ", ".join(f"{name} {version}" for name, version in packages.items()))
    lines = [shorten(scrub(line), _LINE) for line in (*lines, run.command)]
    inside = fence("\n".join(lines))
    return f"<details><summary>Environment, and the command of the run</summary>\n\n{inside}\n\n</details>"


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def prose(text: str) -> str:
    """One line in which nothing is markup; mentions, references and links are broken by a mark of no width."""
    line = re.sub(r"(?=[\\`*_\[\]<>#!|~&@$])", r"\\", shorten(text, _LINE))
    return re.sub(r"[@#]|://|\b(?:GH-|www\.)", "\\g<0>\u200b", line, flags=re.IGNORECASE)


def code(text: str, *, in_table: bool = False) -> str:
    """A span of code on one line, whatever backticks the text has."""
    line = shorten(text, _LINE) or " "
    if in_table:
        line = "".join(_LETTERS.get(letter, letter) for letter in line)
    mark = "`" * (_longest(line) + 1)
    blank = " " if "`" in line[:1] + line[-1:] else ""
    return f"{mark}{blank}{line}{blank}{mark}"


def fence(text: str) -> str:
    """A block of code that nothing in the text can end."""
    body = clean(text)
    mark = "`" * max(3, _longest(body) + 1)
    return f"{mark}\n{body}\n{mark}"


def _longest(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _within(blocks: Sequence[str]) -> str:
    """Whole blocks only: the last, which is the machine's, and as many of the others as there is room for."""
    more = "The text was cut here: the rest is in the report."
    room = MOST - len(blocks[-1]) - len(more) - 8
    kept: list[str] = []
    for block in blocks[:-1]:
        room -= len(block) + 2
        if room < 0:
            kept.append(more)
            break
        kept.append(block)
    return "\n\n".join([*kept, blocks[-1]]) + "\n"
