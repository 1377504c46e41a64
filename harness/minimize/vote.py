"""Whether a case fails, when a failure comes and goes: Wald's sequential test. Pure.

A. Wald, "Sequential Tests of Statistical Hypotheses", Ann. Math. Statist. 16(2), 1945: runs are made until the evidence is 200 to 1
for failing as often as the whole case does, or for failing at most a quarter as often.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

ODDS = 200.0
SHARE = 0.25
MOST = 200
"""Runs after which what is likelier counts."""


def decide(votes: Iterable[bool], rate: float) -> bool | None:
    """True or False as soon as the votes, in their order, say so, None while they do not. A ``rate`` of 1 needs one vote."""
    if rate >= 1:
        return next(iter(votes), None)
    evidence = 0.0
    for n, failed in enumerate(votes, 1):
        evidence += math.log(1 / SHARE) if failed else math.log((1 - rate) / (1 - SHARE * rate))
        if abs(evidence) >= math.log(ODDS):
            return evidence > 0
        if n == MOST:
            return evidence > 0
    return None
