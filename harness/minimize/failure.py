"""What a smaller case must still show, and what one run of a case showed. Data only."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.outcome import Kind
from sim3solve.problem import Status

SIGNATURE, OUTCOME, STATUS, PARITY = "signature", "outcome", "status", "parity"
FORMS = "signature:TEXT, outcome:KIND, status:STATUS or d>SIGMA"
_OF_A_RESULT = (Kind.OK.value, Kind.SOLVER_STATUS.value)
_OF_A_JUDGEMENT = ("wrong-pose", "wrong-value", "status ")
_OUTCOMES = tuple(kind.value for kind in Kind if kind is not Kind.UNAVAILABLE)


@dataclass(frozen=True)
class Answer:
    """What one run showed. ``signatures`` has one for each bug, also where the case expects the outcome.

    ``d_sigma`` is the pose's distance from the oracle's in standard deviations. ``expected`` and ``agrees`` (the oracle ends in
    the same way: a pose within the limits, or the same status) are None where nobody compared.
    """

    outcome: str
    signatures: tuple[str, ...] = ()
    status: str | None = None
    d_sigma: float | None = None
    expected: bool | None = None
    agrees: bool | None = None
    seconds: float = 0.0
    device: str | None = None
    verdict: str = ""

    @property
    def words(self) -> str:
        return self.signatures[0] if self.signatures else f"{self.outcome} {self.status or ''}".strip()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Answer:
        """Raises KeyError, TypeError or ValueError for anything ``to_json`` did not write."""
        fields = dict(document)
        made = cls(**fields | {"signatures": tuple(fields["signatures"])})
        texts = (made.outcome, made.verdict, *made.signatures)
        if not all(isinstance(text, str) for text in texts) or made.outcome not in {kind.value for kind in Kind}:
            raise TypeError("an answer holds no outcome")
        return dataclasses.replace(made, seconds=float(made.seconds), d_sigma=None if made.d_sigma is None else float(made.d_sigma))


@dataclass(frozen=True)
class Failure:
    """What must be shown. With ``unlike_oracle`` only where the oracle ends otherwise, as it did with the whole case.

    A solver may well fail on three points on a line, and rightly so: that is no smaller form of the same bug.
    """

    what: str
    value: str
    unlike_oracle: bool = False

    def shown_by(self, answer: Answer) -> bool:
        if self.unlike_oracle and answer.agrees is not False:
            return False
        match self.what:
            case "signature":
                return self.value in answer.signatures
            case "outcome":
                return answer.outcome == self.value
            case "status":
                return answer.status == self.value and answer.outcome in _OF_A_RESULT
            case _:
                d = answer.d_sigma
                return d is not None and not (d <= float(self.value))  # NaN is above every limit

    @property
    def needs_oracle(self) -> bool:
        """Whether only a comparison can tell."""
        return (
            self.unlike_oracle
            or self.what in (STATUS, PARITY)
            or (self.what == SIGNATURE and self.value.startswith(_OF_A_JUDGEMENT))
        )

    def __str__(self) -> str:
        return f"d > {self.value} sigma" if self.what == PARITY else f"{self.what} {self.value}"

    @classmethod
    def parse(cls, text: str) -> Failure:
        """From the command line. Raises ``UsageError``."""
        limit = re.fullmatch(r"d\s*>\s*(\S+)", text.strip())
        if limit:
            try:
                value = float(limit[1])
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"--target {text}: {limit[1]!r} is no number of standard deviations")
            return cls(PARITY, f"{value:g}")
        what, colon, value_text = text.partition(":")
        known = {OUTCOME: _OUTCOMES, STATUS: tuple(status.value for status in Status)}
        if not colon or not value_text.strip() or what not in (SIGNATURE, *known):
            raise UsageError(f"--target {text}: must be {FORMS}")
        if what in known and value_text not in known[what]:
            raise UsageError(f"--target {text}: unknown {what} (there are: {', '.join(known[what])})")
        return cls(what, value_text.strip())


def failure_of(answer: Answer) -> Failure | None:
    """What an outcome fails by, for who did not say. None where it does not fail, or fails as the case expects."""
    if answer.expected is not False and not (answer.expected is None and answer.signatures):
        return None
    unlike = answer.outcome in _OF_A_RESULT and answer.agrees is False
    if answer.signatures:
        return Failure(SIGNATURE, answer.signatures[0], unlike)
    return Failure(OUTCOME, answer.outcome, unlike)


def as_on_whole(wanted: Failure, answer: Answer) -> Failure:
    """A failure somebody named, with the oracle's part in it as the whole case shows it."""
    return dataclasses.replace(wanted, unlike_oracle=answer.outcome in _OF_A_RESULT and answer.agrees is False)
