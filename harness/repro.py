"""The main job: every shipped case through every built-in solver, then the report."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.registry import BUILTIN
from harness.replay import Progress, Request, default_command, replay
from harness.run import Run

SHIPPED = Path(__file__).resolve().parent.parent / "cases"


def repro(out: Path, *, jobs: int = 0, resume: bool = True, progress: Progress | None = None) -> tuple[Run, Path]:
    """Returns the run and the path of its report. Raises ``UsageError`` where the shipped cases are not at hand."""
    if not SHIPPED.is_dir():
        raise UsageError(f"the shipped cases are not at {SHIPPED}: run this from a clone of the repository")
    folder = Path("cases") if Path("cases").resolve() == SHIPPED else SHIPPED
    request = Request((folder,), tuple(BUILTIN), jobs=jobs, out=out, command=default_command(), resume=resume)
    run = replay(request, progress)
    from harness.report import write_report  # after the run: nothing before it needs pandas and matplotlib

    return run, write_report(run.folder)
