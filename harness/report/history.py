"""The runs of a folder over time, as a section of the report of one of them: outcomes as bars, times as lines, bugs in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape

from harness.errors import HarnessError
from harness.history import Entry, read
from harness.report.pictures.drawing import MARKS, SERIES_COLOURS
from harness.report.pictures.scales import log_scale
from harness.report.text import clean, duration, shorten

MOST_RUNS = 40
MOST_SOLVERS = 8

_WIDTH, _LEFT, _RIGHT = 900.0, 64.0, 170.0
_BARS, _LINES, _GAP = 110.0, 130.0, 34.0
_KINDS = (("ok", "as expected", "var(--good)"), ("failed", "failed", "var(--bad)"), ("not_run", "not run", "var(--rule)"))
_BAR = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"><title>{}</title></rect>')
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="11" fill="var(--muted)">{}</text>')
_SVG = Markup(
    '<svg viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" role="img" class="history">'
    "<title>Outcomes and times of the runs of this folder</title><desc>{}</desc>{}</svg>"
)
_COLOURS = tuple(f"var(--s{i})" for i in range(SERIES_COLOURS))


def history_section(run_folder: Path) -> str:
    """HTML of one ``<section>``, safe in any page; empty where fewer than two runs are known, or none that can be read."""
    try:
        found = read(run_folder.resolve().parent)
    except HarnessError:
        return ""  # harness history says what is wrong with it
    runs = list(dict.fromkeys(entry.run for entry in found))[-MOST_RUNS:]
    if len(runs) < 2 or run_folder.resolve().name not in runs:
        return ""
    shown = [entry for entry in found if entry.run in runs]
    here = run_folder.resolve().name
    lead = "Every finished run of this folder, oldest first; this one is marked. Times are medians over cases as expected."
    return Markup(
        '<section aria-labelledby="history"><h2 id="history">History</h2><p class="lead">{}</p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs over time">{}</div>'
        "<details><summary>The same in words</summary>{}</details></section>"
    ).format(lead, _chart(runs, shown, here), _table(runs, shown, here))


def _chart(runs: Sequence[str], shown: Sequence[Entry], here: str) -> Markup:
    step = (_WIDTH - _LEFT - _RIGHT) / len(runs)
    middle = {run: _LEFT + (i + 0.5) * step for i, run in enumerate(runs)}
    top, base = 20.0, 20.0 + _BARS
    lines_top = base + _GAP
    height = lines_top + _LINES + 22
    totals = {run: {kind: sum(getattr(e, kind) for e in shown if e.run == run) for kind, _, _ in _KINDS} for run in runs}
    most = max(1, *(sum(total.values()) for total in totals.values()))
    parts = [_text(0, 12, "outcomes"), _text(_LEFT - 6, top + 8, str(most), "end"), _text(_LEFT - 6, base, "0", "end")]
    for run in runs:
        y = base
        for kind, words, colour in _KINDS:
            if not totals[run][kind]:
                continue
            tall = _BARS * totals[run][kind] / most
            y -= tall
            wide = min(0.72 * step, 48.0)
            x = middle[run] - wide / 2
            said = f"{clean(run)}: {totals[run][kind]} {words}"
            parts.append(_BAR.format(x, y, wide, tall, colour, said))
        if run == here:
            parts.append(_text(middle[run], base + 14, "this run", "middle"))
    for i, (_, words, colour) in enumerate(_KINDS):
        x, y = _WIDTH - _RIGHT + 12, top + 6 + 16 * i
        parts.append(Markup('<rect x="{:.1f}" y="{:.1f}" width="9" height="9" fill="{}"/>').format(x, y, colour))
        parts.append(_text(x + 14, y + 8.5, words))
    parts += _lines(runs, shown, middle, lines_top)
    words = "; ".join(f"{run}: " + ", ".join(f"{totals[run][kind]} {said}" for kind, said, _ in _KINDS) for run in runs)
    return _SVG.format(_WIDTH, height, _WIDTH, clean(words), Markup("").join(parts))


def _lines(runs: Sequence[str], shown: Sequence[Entry], middle: dict[str, float], top: float) -> list[Markup]:
    series: dict[str, dict[str, float]] = {}
    for entry in shown:
        if entry.how == "none" and 0 < entry.median_solve_s < math.inf:
            series.setdefault(entry.solver, {})[entry.run] = entry.median_solve_s
    if not series:
        return []
    chosen = sorted(series.items(), key=lambda item: -len(item[1]))[:MOST_SOLVERS]
    scale = log_scale(value for _, values in chosen for value in values.values())

    def at(value: float) -> float:
        return top + _LINES * (1 - float(scale.at(np.asarray(value))))

    parts = [_text(0, top - 10, "median solve time")]
    for tick in scale.ticks():
        parts.append(Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}" stroke="var(--rule)"/>').format(
            _LEFT, _WIDTH - _RIGHT, at(tick), at(tick)))  # fmt: skip
        parts.append(_text(_LEFT - 6, at(tick) + 4, duration(tick), "end"))
    ends: list[tuple[float, int, str]] = []
    for order, (solver, values) in enumerate(chosen):
        colour = _COLOURS[order % len(_COLOURS)]
        points = [(middle[run], at(values[run])) for run in runs if run in values]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(Markup('<path d="{}" fill="none" stroke="{}" stroke-width="1.5"/>').format(path, colour))
        for run in (run for run in runs if run in values):
            mark = f"M{middle[run]:.1f} {at(values[run]):.1f}{MARKS[order % len(MARKS)]}"
            said = f"{clean(solver)}, {clean(run)}: {duration(values[run])}"
            parts.append(Markup('<path d="{}" fill="{}"><title>{}</title></path>').format(mark, colour, said))
        ends.append((points[-1][1], order, solver))
    below = top - 8.0
    for y, order, solver in sorted(ends):
        below = max(y, below + 13)
        mark = f"M{_WIDTH - _RIGHT + 14:.1f} {below:.1f}{MARKS[order % len(MARKS)]}"
        parts.append(Markup('<path d="{}" fill="{}"/>').format(mark, _COLOURS[order % len(_COLOURS)]))
        parts.append(_text(_WIDTH - _RIGHT + 24, below + 4, shorten(clean(solver), 24)))
    return parts


def _table(runs: Sequence[str], shown: Sequence[Entry], here: str) -> Markup:
    rows, before = [], None
    for run in runs:
        mine = [entry for entry in shown if entry.run == run]
        bugs = {bug for entry in mine for bug in entry.bugs}
        changes: list[str] = [] if before is None else [f"new: {bug}" for bug in sorted(bugs - before)]
        changes += [] if before is None else [f"gone: {bug}" for bug in sorted(before - bugs)]
        before = bugs
        counts = [sum(getattr(entry, kind) for entry in mine) for kind, _, _ in _KINDS]
        name = Markup("<b>{}</b>").format(clean(run)) if run == here else escape(clean(run))
        cells = Markup("").join(Markup('<td class="n">{}</td>').format(count) for count in (*counts, len(bugs)))
        said = Markup("<br>").join(escape(shorten(clean(change), 160)) for change in changes[:6])
        git = escape(clean(mine[0].git[:12]))
        rows.append(Markup('<tr><th scope="row">{}</th><td>{}</td>{}<td class="prose">{}</td></tr>').format(name, git, cells, said))
    heads = ("Run", "Revision", "As expected", "Failed", "Not run", "Bugs", "Against the run before")
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(words) for words in heads)
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, Markup("").join(rows)
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> Markup:
    return _TEXT.format(x, y, anchor, words)
