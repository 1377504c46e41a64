"""Asks which of several cases is the first that still fails: on an executor, ahead of need, within a budget, from disk where known.

The answer does not depend on how many run at once or in which order they end: a later candidate counts only when every earlier one
is known not to fail. What was started in vain is kept; it is often asked for next.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.case import Case
from harness.errors import HarnessError, SolverUnavailable
from harness.minimize.answers import Answers
from harness.minimize.cut import CannotBuild, Cut, Packed, build, pack
from harness.minimize.examine import Examination, How, examine
from harness.minimize.failure import Answer, Failure
from harness.minimize.vote import decide
from harness.outcome import Kind

_TICK_S, _END_S = 0.2, 10.0


class Stop(Exception):
    """The budget is used up; ``str`` says which."""


@dataclass(frozen=True)
class Asked:
    """One line of the history: a candidate, and what came of it. ``runs`` counts children; 0 where the answers were on disk."""

    phase: str
    what: str
    fails: bool
    answer: str
    runs: int
    seconds: float


@dataclass
class _Candidate:
    """``packed`` goes when it is decided: a search may ask thousands, and points are many."""

    what: str
    key: str
    packed: Packed | None
    future: Future[Answer | None] | None = None
    runs: int = 0
    seconds: float = 0.0
    verdict: bool | None = None
    remembered: bool = False


@dataclass
class Tester:
    """``rate`` is how often the whole case fails; ``jobs`` how many candidates are tried at once."""

    case: Case
    how: How
    failure: Failure
    rate: float
    executor: Executor
    jobs: int
    answers: Answers
    until: float
    max_runs: int
    told: Callable[[], None] = lambda: None
    phase: str = ""
    runs: int = 0
    history: list[Asked] = field(default_factory=list)
    _seen: dict[str, _Candidate] = field(default_factory=dict)
    _flying: dict[Future[Answer | None], _Candidate] = field(default_factory=dict)

    def first(self, cuts: Iterable[Cut], hints: Sequence[Cut] = ()) -> int | None:
        """Number of the first cut that fails. Raises ``Stop``, or what the search must end with."""
        asked, more = enumerate(cuts), iter(hints)
        window: deque[tuple[int, _Candidate]] = deque()
        while True:
            if not window and not self._pull(asked, window):
                return None
            at, head = window[0]
            self._advance(head, ahead=False)
            self._remember(head)
            if head.verdict is None:
                self._look_ahead(asked, more, window)
                self._wait()
            elif head.verdict:
                return at
            else:
                window.popleft()

    def _look_ahead(self, asked: Iterator[tuple[int, Cut]], more: Iterator[Cut], window: deque[tuple[int, _Candidate]]) -> None:
        """Use what is free for what will be asked if the first does not fail, then for what may be asked next."""
        for _, candidate in list(window)[1:]:
            self._advance(candidate, ahead=True)
        while self._room() and len(window) < 2 * self.jobs and self._pull(asked, window):
            self._advance(window[-1][1], ahead=True)
        while self._room() and (hint := next(more, None)) is not None:
            if (likely := self._candidate(hint)) is not None:
                self._advance(likely, ahead=True)

    def _pull(self, asked: Iterator[tuple[int, Cut]], window: deque[tuple[int, _Candidate]]) -> bool:
        for at, cut in asked:
            if (candidate := self._candidate(cut)) is not None:
                window.append((at, candidate))
                return True
        return False

    def _room(self) -> bool:
        return len(self._flying) < self.jobs and self.runs < self.max_runs

    def _candidate(self, cut: Cut) -> _Candidate | None:
        """None where there is no such case: it cannot fail."""
        try:
            packed = pack(build(self.case, cut))
        except CannotBuild:
            return None
        key = key_of(packed, self.how, judged=self.failure.needs_oracle)
        if key not in self._seen:
            self._seen[key] = _Candidate(cut.words, key, packed)
        return self._seen[key]

    def _advance(self, candidate: _Candidate, *, ahead: bool) -> None:
        """Decide from what is known; else one more run, unless it would be ``ahead`` of need and there is no room."""
        if candidate.verdict is not None or candidate.future is not None:
            return
        answers = self.answers.of(candidate.key)
        candidate.verdict = decide([self.failure.shown_by(answer) for answer in answers], self.rate)
        if candidate.verdict is not None:
            candidate.packed = None
            return
        if ahead and not self._room():
            return
        self.check()
        if self.runs >= self.max_runs:
            raise Stop(f"the limit of {self.max_runs} runs is reached")
        assert candidate.packed is not None
        asked = Examination(candidate.packed.document, candidate.packed.tensors, self.how, self.failure.needs_oracle)
        candidate.future = self.executor.submit(examine, asked)
        self._flying[candidate.future] = candidate
        self.runs += 1
        candidate.runs += 1

    def _remember(self, head: _Candidate) -> None:
        """In the order of need, so that the history is the same however many run at once."""
        if head.verdict is not None and not head.remembered:
            head.remembered = True
            said = self.answers.of(head.key)[-1].words
            self.history.append(Asked(self.phase, head.what, head.verdict, said, head.runs, round(head.seconds, 3)))

    def abandon(self, end: Callable[[], None]) -> None:
        """What still runs is of no use any more: ``end`` ends what can be ended here, so that nothing is written afterwards."""
        running = [future for future in self._flying if not future.cancel()]
        if running:
            end()
            wait(running, timeout=_END_S)

    def check(self) -> None:
        if time.monotonic() > self.until:
            raise Stop("the time is used up")

    def _wait(self) -> None:
        self.check()
        done, _ = wait(self._flying, timeout=_TICK_S, return_when=FIRST_COMPLETED)
        for future in done:
            candidate = self._flying.pop(future)
            candidate.future = None
            answer = result_of(future, Path(self.how.site.folder))
            candidate.seconds += answer.seconds
            self.answers.add(candidate.key, answer)
        self.told()


def result_of(future: Future[Answer | None], scratch: Path) -> Answer:
    """What a run showed. Raises ``HarnessError`` where it could not be made: an absence is never taken for an answer."""
    try:
        answer = future.result()
    except OSError as error:  # what a child does is an outcome; this is the disk
        raise HarnessError(f"{error.filename or scratch}: {error.strerror or error}") from error
    except (CancelledError, BrokenExecutor) as error:
        raise HarnessError(f"a run was lost ({error or 'cancelled'}); the same command takes it up again") from None
    if answer is None:
        raise HarnessError("a run was ended from outside; the same command takes it up again")
    if answer.outcome == Kind.UNAVAILABLE.value:
        raise SolverUnavailable(answer.verdict)
    return answer


def key_of(packed: Packed, how: How, *, judged: bool) -> str:
    """The hash of a question: the case's bytes, the solver's source, and all that a child is told."""
    limits = asdict(how.limits)
    what = [packed.digest, how.solver.name, how.solver.fingerprint(), how.tool, how.memory, limits, judged]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
