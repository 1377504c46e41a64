"""``harness bisect``, whole: the ends are learnt, git halves what lies between, and what came of it is weighed and written."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import secrets
import statistics
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness import environment
from harness.bisect import document as documents
from harness.bisect.bench import JOBS, Ballots, Bench
from harness.bisect.document import Bisected, CommitFacts, Suspect, Tested
from harness.bisect.hunt import FIRST_RUNS, Hunt, Rules, Tell
from harness.bisect.search import remove_worktrees, worktree
from harness.bisect.target import Target
from harness.casefile import find_cases, read_document
from harness.errors import HarnessError, ResultError, UsageError
from harness.gitrepo import Commit, GitError, Repository
from harness.isolation import Limits, default_memory
from harness.process import PRELOAD, PRELOAD_TORCH, open_launcher
from harness.revision import MODULES
from harness.runfolder import alive, is_alive
from sim3solve import compiler

_LONGEST_DIFF = 200_000


@dataclass(frozen=True)
class Request:
    """What is asked. ``target`` says what got worse; by default the failure that BAD shows."""

    case: Path
    good: str
    bad: str
    solver: str = "native"
    tool: str = "none"
    memory: str | None = None
    target: Target = field(default_factory=lambda: Target("failure"))
    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)
    out: Path = Path("reports")
    command: str = ""
    resume: bool = True


def bisect(request: Request, tell: Tell = lambda line: None) -> tuple[Path, Bisected]:
    """The folder of the bisect and what came of it. Raises ``HarnessError``; when cut off, the same request takes it up again."""
    if request.solver not in MODULES:
        raise UsageError(f"--solver {request.solver}: a revision can be had of {', '.join(MODULES)}")
    repository = Repository.around(Path.cwd())
    good, bad = repository.commit(request.good), repository.commit(request.bad)
    history = repository.changes_between(good.sha, bad.sha)
    if not history:
        raise UsageError(f"no commit after {good.short} up to {bad.short} changes the solver; is GOOD the older one?")
    (case,) = _one(list(find_cases([request.case])), request.case)
    folder, document = _open(request, case, good, bad, len(history))
    for other in request.out.glob("bisect-*"):  # those of others that were killed and nobody took up again
        if other != folder and not is_alive(other):
            remove_worktrees(repository, other)
    preload = PRELOAD + (PRELOAD_TORCH if request.solver != "native" else ())
    launcher = open_launcher(folder / JOBS / "supervisor.log", preload=preload)
    with keeping(folder), alive(folder), closing(launcher), worktree(repository, folder, bad.sha) as tree:
        bench = Bench(
            repository, case, request.solver, request.tool, document.memory, request.limits, folder, launcher,
            time_beside=good if request.target.what == "time" else None,
        )  # fmt: skip
        hunt = Hunt(bench, Ballots(folder), good, bad, history, request.target, request.rules, tell)
        hunt.learn(min(FIRST_RUNS, request.rules.repeats))
        while not hunt.settled(tree):
            pass
        document = _concluded(hunt, document)
        documents.write(folder, document)
    return folder, document


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """What our own disk refuses is an error of its own; what a child does never comes here."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename or folder}: {error.strerror or error}"
        raise HarnessError(f"{where}; what was run is kept, and the same command takes it up again") from error


def _one(found: list[Path], case: Path) -> list[Path]:
    if len(found) != 1:
        raise UsageError(f"{case}: holds {len(found)} cases; bisect one of them")
    return found


def _open(request: Request, case: Path, good: Commit, bad: Commit, commits: int) -> tuple[Path, Bisected]:
    """The folder of an unfinished bisect of the very same, or a new one."""
    memory = request.memory or default_memory(request.tool)
    about = [
        read_document(case).model_dump_json(), request.solver, request.tool, memory, dataclasses.astuple(request.limits), good.sha,
        bad.sha, dataclasses.astuple(request.target), dataclasses.astuple(request.rules), _harness(), _machine(request.solver),
    ]  # fmt: skip
    fingerprint = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    for folder in sorted(request.out.glob("bisect-*"), reverse=True) if request.resume else ():
        with suppress(ResultError):
            found = documents.read(folder)
            if found.run is None and found.fingerprint == fingerprint and not is_alive(folder):
                return folder, found
    now = datetime.datetime.now().astimezone()
    folder = request.out / f"bisect-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    document = Bisected(
        id=folder.name, fingerprint=fingerprint, command=request.command, started=now.isoformat(timespec="seconds"),
        case=read_document(case).id, solver=request.solver, tool=request.tool, memory=memory, confidence=request.rules.confidence,
        good=CommitFacts.of(good), bad=CommitFacts.of(bad), commits=commits, what=request.target.what, target=request.target.words,
    )  # fmt: skip
    try:
        (folder / JOBS).mkdir(parents=True)
        documents.write(folder, document)
    except OSError as error:
        raise HarnessError(f"{folder}: cannot write a bisect there: {error.strerror}") from error
    return folder, document


def _harness() -> str:
    """Changes with what runs and judges a child, so that no vote of other code is counted."""
    here = Path(__file__).parent.parent
    files = [
        here / "worker.py",
        here / "compare.py",
        here / "diagnosis" / "signature.py",
        *sorted(Path(__file__).parent.glob("*.py")),
    ]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _machine(solver: str) -> list[str]:
    """What builds and runs the solver here: votes of another machine, compiler or GPU are none."""
    about = environment.basics()
    said = [str(about["cpu"]), str(about["cores"])]
    if solver == "native":
        try:
            return [*said, compiler.find().version]
        except compiler.CompilerMissing:
            return said
    with closing(environment.Inquiry()) as inquiry:
        return [*said, *map(str, inquiry.answer().get("gpus") or ())]


def _concluded(hunt: Hunt, document: Bisected) -> Bisected:
    """What the runs there are come to."""
    history, commit = hunt.history, hunt.commit
    suspects = tuple(Suspect.with_probability(commit(sha), chance) for sha, chance in hunt.suspects().items())
    against = hunt.against()
    decided = len(suspects) == 1 and not against
    oldest = suspects[0].sha
    tested = [
        _tested(hunt, commit(sha)) for sha in dict.fromkeys([hunt.good.sha, *history, hunt.bad.sha]) if hunt.tally(commit(sha)).runs
    ]
    before = None
    with suppress(GitError):  # the first commit of all has none
        before = CommitFacts.of(hunt.bench.repository.commit(f"{oldest}^"))
    diff = hunt.bench.repository.diff(oldest) if decided else ""
    trees = {one.tree: one for one in hunt.commits.values()}
    return document.model_copy(update={
        "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "target": hunt.target.words,
        "p_shown_if_bad": hunt.rates.p_bad, "p_shown_if_good": hunt.rates.p_good, "decided": decided,
        "first_bad": suspects[0] if decided else None, "before": before, "suspects": suspects, "tested": tuple(tested),
        "against": against, "runs": sum(len(hunt.ballots.of(one)) for one in trees.values()),
        "diff": diff[:_LONGEST_DIFF], "diff_cut": len(diff) > _LONGEST_DIFF,
    })  # fmt: skip


def _tested(hunt: Hunt, commit: Commit) -> Tested:
    runs, word = hunt.ballots.of(commit), hunt.word(commit)
    numbers = [n for run in runs if (n := run.number(hunt.target.what)) is not None]
    return Tested.row(
        commit, **dataclasses.asdict(hunt.tally(commit)), verdict="skipped" if word == "skip" else word,
        odds_log10=hunt.evidence(commit) / math.log(10), median=statistics.median(numbers) if numbers else None, said=runs[-1].said,
    )  # fmt: skip
