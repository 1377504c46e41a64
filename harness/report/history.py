"""The runs of a folder over time, as a section of the report of one of them: outcomes and bugs, times, and what changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape

from harness.errors import HarnessError
from harness.history import Entry, changes, read
from harness.report.pictures.drawing import Series, line, marks, tag, text
from harness.report.pictures.scales import log_scale
from harness.report.text import clean, count, duration, shorten

MOST_RUNS = 40
MOST_SOLVERS = 8

_WIDTH, _LEFT, _RIGHT = 1040.0, 64.0, 190.0
_BARS, _LINES, _GAP, _TOP = 110.0, 130.0, 62.0, 34.0
_LABEL = 76.0
"""Width of the date of a run."""
_KINDS = (("ok", "as expected", "good"), ("failed", "failed", "bad"), ("not_run", "not run", "rule"))
_CHANGES = 6


def history_section(run_folder: Path, series: Mapping[str, Series] | None = None) -> str:
    """HTML of one ``<section>``, safe in any page; empty where fewer than two runs are known, or none that can be read.

    ``series`` are the solvers' colours on the same page; a solver that it has not gets one of its own.
    """
    try:
        found = read(run_folder.resolve().parent)
    except HarnessError:
        return ""  # harness history says what is wrong with it
    runs = list(dict.fromkeys(entry.run for entry in found))[-MOST_RUNS:]
    here = run_folder.resolve().name
    if len(runs) < 2 or here not in runs:
        return ""
    shown = [entry for entry in found if entry.run in runs]
    lead = "Every finished run of this folder, oldest first. Times are medians over cases as expected."
    return Markup(
        '<section aria-labelledby="history"><h2 id="history">History</h2><p class="lead">{}</p>{}'
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs over time">{}</div>'
        "<details><summary>Run by run</summary>{}</details></section>"
    ).format(lead, _since(runs, shown, here), _chart(runs, shown, here, _coloured(shown, series or {})), _table(runs, shown, here))


def _coloured(shown: Sequence[Entry], series: Mapping[str, Series]) -> dict[str, Series]:
    """A solver has one colour on the whole page."""
    found = dict(series)
    for entry in shown:
        found.setdefault(entry.solver, Series(entry.solver, len(found)))
    return found


def _bugs(shown: Sequence[Entry], run: str) -> set[str]:
    return {bug for entry in shown if entry.run == run for bug in entry.bugs}


def _changes(shown: Sequence[Entry], run: str) -> list[str]:
    found = changes(shown, run)
    new = dict.fromkeys(f"new: {bug}" for change in found for bug in change.new)
    return [*new, *dict.fromkeys(f"gone: {bug}" for change in found for bug in change.gone)]


def _since(runs: Sequence[str], shown: Sequence[Entry], here: str) -> Markup:
    """What this run changed, in sight."""
    if runs.index(here) == 0:
        return Markup("<p>This is the first run that is known.</p>")
    found = changes(shown, here)
    mine = sum(entry.run == here for entry in shown)
    if not found:
        return Markup("<p>No run before was of the same solvers, run the same way on the same cases: nothing to compare with.</p>")
    before = list(dict.fromkeys(change.before for change in found))
    against = clean(before[0]) if len(before) == 1 else f"the last run of each, {clean(min(before))} at the earliest"
    rest = f"; {mine - len(found)} of {mine} have none on the same cases" if mine > len(found) else ""
    said = _changes(shown, here)
    if not said:
        its = count(n, "bug") if (n := len(_bugs(shown, here))) else "no bug"
        return Markup("<p>Against the same solvers on the same cases before ({}): as then, {}{}.</p>").format(against, its, rest)
    items = Markup("").join(Markup("<li><code>{}</code></li>").format(shorten(clean(it), 160)) for it in said[:_CHANGES])
    more = Markup("<li>{} more</li>").format(len(said) - _CHANGES) if len(said) > _CHANGES else ""
    return Markup('<p>Against the same solvers on the same cases before ({}{}):</p><ul class="changes">{}{}</ul>').format(
        against, rest, items, more
    )


def _chart(runs: Sequence[str], shown: Sequence[Entry], here: str, series: Mapping[str, Series]) -> Markup:
    step = (_WIDTH - _LEFT - _RIGHT) / len(runs)
    middle = {run: _LEFT + (i + 0.5) * step for i, run in enumerate(runs)}
    base = _TOP + _BARS
    totals = {run: {kind: sum(getattr(e, kind) for e in shown if e.run == run) for kind, _, _ in _KINDS} for run in runs}
    most = max(1, *(sum(total.values()) for total in totals.values()))
    parts = [text(0.0, 12.0, "outcomes, and above them the distinct bugs"), text(_LEFT - 6, _TOP + 8, str(most), text_anchor="end"),
             text(_LEFT - 6, base, "0", text_anchor="end")]  # fmt: skip
    every = max(1, math.ceil(_LABEL / step))
    for i, run in enumerate(runs):
        top = base
        for kind, words, colour in _KINDS:
            if not totals[run][kind]:
                continue
            tall, wide = _BARS * totals[run][kind] / most, min(0.72 * step, 48.0)
            top -= tall
            said = tag("title", f"{run}: {totals[run][kind]} {words}")
            parts.append(tag("rect", said, x=middle[run] - wide / 2, y=top, width=wide, height=tall, class_=f"h-{colour}"))
        bugs = len(_bugs(shown, run))
        own = {"class_": "here"} if run == here else {}
        if step > 30:
            parts.append(text(middle[run], top - 5, count(bugs, "bug") if step > 50 else str(bugs), text_anchor="middle", **own))
        if run == here or ((len(runs) - 1 - i) % every == 0 and abs(middle[run] - middle[here]) >= _LABEL):
            day, hour = _date(next(e.started for e in shown if e.run == run))
            parts.append(text(middle[run], base + 14, day, text_anchor="middle", **own))
            parts.append(text(middle[run], base + 27, f"{hour}, this run" if run == here else hour, text_anchor="middle", **own))
    for i, (_, words, colour) in enumerate(_KINDS):
        x, y = _WIDTH - _RIGHT + 12, _TOP + 6 + 16 * i
        parts += [tag("rect", x=x, y=y, width=9, height=9, class_=f"h-{colour}"), text(x + 14, y + 8.5, words)]
    parts += _lines(runs, shown, middle, base + _GAP, series)
    words = "; ".join(f"{run}: " + ", ".join(f"{totals[run][kind]} {ended}" for kind, ended, _ in _KINDS) for run in runs)
    named = tag("title", "Outcomes and times of the runs of this folder"), tag("desc", clean(words))
    return tag("svg", *named, *parts, class_="history", viewBox=f"0 0 {_WIDTH:g} {base + _GAP + _LINES + 22:g}", role="img",
               aria_label="Outcomes and times of the runs of this folder")  # fmt: skip


def _date(started: str) -> tuple[str, str]:
    """Day and hour; a run that does not say when it was has neither."""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return "", ""
    return moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M")


def _lines(
    runs: Sequence[str], shown: Sequence[Entry], middle: Mapping[str, float], top: float, series: Mapping[str, Series]
) -> list[Markup]:
    times: dict[str, dict[str, float]] = {}
    for entry in shown:
        if entry.how == "none" and 0 < entry.median_solve_s < math.inf:
            times.setdefault(entry.solver, {})[entry.run] = entry.median_solve_s
    if not times:
        return []
    chosen = sorted(times, key=lambda solver: -len(times[solver]))[:MOST_SOLVERS]
    scale = log_scale(value for solver in chosen for value in times[solver].values())

    def at(value: float) -> float:
        return top + _LINES * (1 - float(scale.at(np.asarray(value))))

    parts = [text(0.0, top - 10, "median solve time")]
    for tick in scale.ticks():
        parts.append(line([(_LEFT, at(tick)), (_WIDTH - _RIGHT, at(tick))], class_="pic-rule"))
        parts.append(text(_LEFT - 6, at(tick) + 4, duration(tick), text_anchor="end"))
    ends: list[tuple[float, str]] = []
    for solver in chosen:
        its, points = series[solver], [(middle[run], at(times[solver][run])) for run in runs if run in times[solver]]
        said = "; ".join(f"{run}: {duration(times[solver][run])}" for run in runs if run in times[solver])
        dots = marks(points, its.mark, fill="currentColor")
        through = line(points, fill="none", stroke="currentColor", stroke_width=1.5)
        parts.append(tag("g", tag("title", f"{solver}: {said}"), through, dots, class_=its.style))
        ends.append((points[-1][1], solver))
    below = top - 8.0
    for y, solver in sorted(ends):
        below = max(y, below + 13)
        named = marks([(_WIDTH - _RIGHT + 14, below)], series[solver].mark, fill="currentColor")
        parts.append(tag("g", named, class_=series[solver].style))
        parts.append(text(_WIDTH - _RIGHT + 24, below + 4, series[solver].label))
    return parts


def _table(runs: Sequence[str], shown: Sequence[Entry], here: str) -> Markup:
    rows = []
    for run in runs:
        mine = [entry for entry in shown if entry.run == run]
        changed = _changes(shown, run)
        counts = [sum(getattr(entry, kind) for entry in mine) for kind, _, _ in _KINDS]
        name = Markup("<b>{}</b>").format(clean(run)) if run == here else escape(clean(run))
        cells = Markup("").join(Markup('<td class="n">{}</td>').format(it) for it in (*counts, len(_bugs(shown, run))))
        said = Markup("<br>").join(escape(shorten(clean(change), 160)) for change in changed[:_CHANGES])
        git = escape(clean(mine[0].git[:12]))
        rows.append(Markup('<tr><th scope="row">{}</th><td>{}</td>{}<td class="prose">{}</td></tr>').format(name, git, cells, said))
    heads = ("Run", "Revision", "As expected", "Failed", "Not run", "Bugs", "Against the same before")
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(words) for words in heads)
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, Markup("").join(rows)
    )
