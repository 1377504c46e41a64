"""Where the data of a run come from: what a licence asks to be said is said once, with the sources it covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.text import clean


@dataclass(frozen=True)
class Attribution:
    """Cases under the same terms. ``sources`` are (source, its cases)."""

    licence: str
    attribution: str
    sources: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def cases(self) -> int:
        return sum(len(cases) for _, cases in self.sources)


def attributions(cases: Mapping[str, Mapping[str, Any]]) -> tuple[Attribution, ...]:
    """``cases`` are the run's summaries by id; one that says nothing of its origin is in none."""
    terms: dict[tuple[str, str], dict[str, list[str]]] = {}
    for case, summary in cases.items():
        source, licence, attribution = (clean(str(summary.get(name) or "")) for name in ("source", "licence", "attribution"))
        if source or licence or attribution:
            terms.setdefault((licence, attribution), {}).setdefault(source, []).append(clean(case))
    return tuple(
        Attribution(licence, attribution, tuple((source, tuple(its)) for source, its in sources.items()))
        for (licence, attribution), sources in terms.items()
    )
