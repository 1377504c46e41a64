"""A failing case in, the smallest that fails alike out: what the failure is, the search, writing it, and a fresh look at it."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path

from harness import casefile, registry
from harness.bench import site
from harness.case import Case
from harness.casefile import read_case, write_case
from harness.errors import HarnessError, UsageError
from harness.executors import end, lent_or_open, width
from harness.isolation import Task, default_memory
from harness.jsonfile import write_json
from harness.minimize.answers import FILE, Answers
from harness.minimize.cut import Cut, build, pack, rows_of, whole
from harness.minimize.examine import Examination, How, examine
from harness.minimize.failure import Answer, Failure, as_on_whole, failure_of
from harness.minimize.result import EXPECTED, HEALTHY, MINIMIZED, NOT_SHOWN, Minimized, MinimizeLimits, Now, Size, Target
from harness.minimize.search import Search
from harness.minimize.tester import Stop, Tester, key_of, result_of
from harness.minimize.write import smaller_case
from harness.outcome import MEMORY_MODES, Kind
from harness.process import cores
from harness.relayout import relayout
from harness.remote import send_solver
from harness.replay import Interrupted
from harness.runfolder import alive, is_alive

DOCUMENT = "minimize.json"
SCRATCH = ".work"
MORE_TRIES = 20
"""Runs of a case whose failure came and went among the first."""

Progress = Callable[[Now], None]


def minimize_case(
    case: Path, target: Target, limits: MinimizeLimits, out: Path, *,
    executor: Executor | None = None, jobs: int = 0, progress: Progress | None = None, fresh: bool = False,
) -> Minimized:  # fmt: skip
    """Write into ``out`` the smallest case that fails as ``case`` does: a case folder, ``minimize.json``, and every run's answer.

    What was asked before in ``out`` is not run again. ``executor`` runs the candidates (threads here by default), ``jobs`` at once
    (0: as many as it is wide). Raises ``CaseError``, ``UsageError`` or ``SolverUnavailable`` before or ``HarnessError`` while it
    searches, and ``Interrupted`` on Ctrl-C; what is known then is on disk.
    """
    started = time.monotonic()
    if target.memory is not None and target.memory not in MEMORY_MODES:
        raise UsageError(f"--memory {target.memory}: unknown (there are: {', '.join(MEMORY_MODES)})")
    given = relayout(read_case(case), target.layout)
    spec = registry.resolve(target.solver)
    with _folder(out, fresh) as answers, lent_or_open(executor, None, jobs) as pool:
        jobs = width(pool, jobs)
        scratch = site(out / SCRATCH, max(1, cores() // jobs))
        how = How(spec, send_solver(spec), target.tool, target.memory or default_memory(target.tool), limits.child, scratch)
        work = _Work(case, given, target, how, limits, out, answers, pool, jobs, started, progress)
        try:
            result = work.run()
        finally:
            end(pool, scratch.work)
        document = result.to_json()
        document["case"] = result.case.name if result.case else None  # the folder may be moved
        write_json(out / DOCUMENT, document)
    return result


@dataclasses.dataclass
class _Work:
    path: Path
    case: Case
    target: Target
    how: How
    limits: MinimizeLimits
    out: Path
    answers: Answers
    pool: Executor
    jobs: int
    started: float
    progress: Progress | None
    runs: int = 0

    def run(self) -> Minimized:
        kept = self.answers.count
        seen = self._whole(self.limits.tries)
        failure, why = self._failure(seen)
        if failure is not None and len({failure.shown_by(answer) for answer in seen}) > 1:
            seen = self._whole(max(MORE_TRIES, self.limits.tries))  # it comes and goes: how often?
        base = Minimized(
            why, "", self.target.solver, Task(self.path, self.case.document, self.how.solver, self.how.tool, self.how.memory).how,
            str(self.path), tries=len(seen), expected=all(answer.expected is True for answer in seen),
        )  # fmt: skip
        if failure is None:
            said = {
                HEALTHY: f"the case does not fail: {seen[0].words} in {len(seen)} of {len(seen)} runs, as it expects",
                EXPECTED: f"it ends as the case expects: {seen[0].words}; give that as the target to minimize it all the same",
                NOT_SHOWN: f"the case does not show {self.target.failure}: it ends in {_words(seen)}",
            }[why]
            return dataclasses.replace(base, said=said, runs=self.runs, kept=kept, seconds=self._seconds())
        rate = sum(failure.shown_by(answer) for answer in seen) / len(seen)
        tester = Tester(
            self.case, self.how, failure, rate, self.pool, self.jobs, self.answers, self.started + self.limits.budget_s,
            self.limits.max_runs, runs=self.runs,
        )  # fmt: skip
        search = Search(self.case, tester)
        tester.told = lambda: self._tell(tester.phase, search.cut, tester.runs)
        stopped = ""
        try:
            search.run()
        except Stop as stop:
            stopped = str(stop)
        finally:
            tester.abandon(lambda: end(self.pool, self.how.site.work))
        self._tell("written and looked at afresh", search.cut, tester.runs)
        end(self.pool, self.how.site.work)
        written = self._write(search.cut, failure, base.expected, seen)
        after = self._look_again(written, failure, rate)
        shown = sum(failure.shown_by(answer) for answer in after)
        return dataclasses.replace(
            base, said=f"{failure}, in {shown} of {len(after)} fresh runs of the smaller case", failure=str(failure), rate=rate,
            case=written, before=_size(self.case, whole(self.case)), after=_size(self.case, search.cut),
            changes=tuple(map(str, search.cut.changes)), rows=tuple(map(int, search.cut.rows[:1000])),
            complete=search.complete, stopped=stopped, verified=shown > 0, rate_after=shown / len(after), tries_after=len(after),
            runs=tester.runs + len(after), kept=kept, seconds=self._seconds(), history=tuple(tester.history),
            repeat=Task(written, read_case(written).document, self.how.solver, self.how.tool, self.how.memory).repeat(
                self.limits.child
            ),
        )  # fmt: skip

    def _whole(self, times: int) -> list[Answer]:
        """The whole case, so often. The oracle is always asked: nobody knows yet what the failure is."""
        packed = pack(build(self.case, whole(self.case)))
        key = key_of(packed, self.how, judged=True)
        known = self.answers.of(key)
        self._tell("the whole case", whole(self.case), self.runs)
        asked = [
            self.pool.submit(examine, Examination(packed.document, packed.tensors, self.how, judged=True))
            for _ in range(times - len(known))
        ]
        for future in asked:
            self.answers.add(key, result_of(future, self.out))
            self.runs += 1
            self._tell("the whole case", whole(self.case), self.runs)
        return known[: max(times, 1)]

    def _failure(self, seen: list[Answer]) -> tuple[Failure | None, str]:
        """What to keep, or why there is nothing."""
        if self.target.failure is not None:
            shown = [answer for answer in seen if self.target.failure.shown_by(answer)]
            return (as_on_whole(self.target.failure, shown[0]), MINIMIZED) if shown else (None, NOT_SHOWN)
        found = [failure for answer in seen if (failure := failure_of(answer)) is not None]
        if found:
            return Counter(found).most_common(1)[0][0], MINIMIZED
        return None, HEALTHY if all(answer.outcome == Kind.OK.value for answer in seen) else EXPECTED

    def _write(self, cut: Cut, failure: Failure, expected: bool, seen: list[Answer]) -> Path:
        agrees = any(answer.agrees for answer in seen if failure.shown_by(answer))
        made = smaller_case(self.case, cut, failure, self.target, self.how, keep_expectation=expected or agrees)
        folder = self.out / made.id
        write_case(made, folder, replace=True)
        return folder

    def _look_again(self, written: Path, failure: Failure, rate: float) -> list[Answer]:
        """The written case, by a new interpreter each time."""
        how = dataclasses.replace(self.how, limits=dataclasses.replace(self.limits.child, fresh_interpreter=True))
        written_case = Examination(
            (written / casefile.DOCUMENT).read_bytes(), (written / casefile.TENSORS).read_bytes(), how, judged=True
        )
        times = MORE_TRIES if rate < 1 else self.limits.tries
        asked = [self.pool.submit(examine, written_case) for _ in range(times)]
        return [result_of(future, self.out) for future in asked]

    def _seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)

    def _tell(self, phase: str, cut: Cut, runs: int) -> None:
        if self.progress is not None:
            left = max(0.0, self.started + self.limits.budget_s - time.monotonic())
            used = 1 - left / self.limits.budget_s
            self.progress(Now(phase, len(cut.rows), cut.max_iters, len(cut.changes), runs, left, used))


@contextmanager
def _folder(out: Path, fresh: bool) -> Iterator[Answers]:
    """The folder's answers, for one process at a time; without litter afterwards."""
    if is_alive(out):
        raise UsageError(f"{out}: another process is minimizing there")
    try:
        shutil.rmtree(out / SCRATCH, ignore_errors=True)
        (out / SCRATCH).mkdir(parents=True)
        if fresh:
            (out / FILE).unlink(missing_ok=True)
        with alive(out), closing(Answers(out)) as answers:
            yield answers
    except OSError as error:
        raise HarnessError(f"{error.filename or out}: {error.strerror or error}") from error
    except KeyboardInterrupt:
        raise Interrupted("interrupted; every answer is kept, and the same command takes it up again") from None
    finally:
        shutil.rmtree(out / SCRATCH, ignore_errors=True)


def _words(seen: list[Answer]) -> str:
    return ", ".join(f"{words} ({n} of {len(seen)})" for words, n in Counter(answer.words for answer in seen).items())


def _size(case: Case, cut: Cut) -> Size:
    made = build(case, cut)
    return Size(rows_of(made.document), cut.max_iters, sum(spec.nbytes for spec in made.document.tensors.values()))
