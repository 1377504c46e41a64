"""The exit code for ``git bisect run``: 0 good, 1 bad, 125 for what cannot be told. Never another.

git takes every code up to 127 but 0 and 125 for "bad", wrong use and a broken harness included, and ends the bisect at 128.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

from harness.diagnosis.signature import signatures
from harness.outcome import Kind, Outcome

GOOD, BAD, SKIP = 0, 1, 125
OPTION = "--bisect-exit"


def code_of(outcomes: Sequence[Outcome], signature: str | None = None) -> int:
    """Bad when any shows ``signature``, or without one fails; good when all ran and were as expected."""
    if any(_is_bad(outcome, signature) for outcome in outcomes):
        return BAD
    return GOOD if outcomes and all(outcome.expected for outcome in outcomes) else SKIP


def _is_bad(outcome: Outcome, signature: str | None) -> bool:
    if outcome.expected is not False or outcome.kind in (Kind.INCONCLUSIVE, Kind.UNAVAILABLE):
        return False
    return signature is None or signature in signatures(outcome)


class Verdict(SystemExit):
    """The end of a replay that came to a verdict. Any other end of the process is none."""


def guarded(run: Callable[[], None]) -> int:
    """Do it, whatever it does, and give a code that git understands."""
    try:
        run()
    except Verdict as verdict:
        return int(str(verdict.code))
    except SystemExit:
        pass  # wrong use, an error that was said, Ctrl-C
    except BaseException:  # noqa: BLE001  an error of the harness is no verdict on a commit
        traceback.print_exc(file=sys.stderr)
    return SKIP
