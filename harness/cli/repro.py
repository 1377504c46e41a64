"""The main job: every shipped case through every built-in solver, then the specimens, then the report."""

from __future__ import annotations

from pathlib import Path

from harness import specimens
from harness.cli.compare import remember
from harness.errors import UsageError
from harness.jsonfile import write_json
from harness.registry import BUILTIN
from harness.replay import Interrupted, Progress, Request, default_command, replay
from harness.run import SPECIMENS, Run

SHIPPED = Path(__file__).resolve().parents[2] / "cases"


def repro(out: Path, *, jobs: int = 0, resume: bool = True, progress: Progress | None = None) -> Run:
    """The run, without a report. Raises ``UsageError`` where the shipped cases are not at hand."""
    if not SHIPPED.is_dir():
        raise UsageError(f"the shipped cases are not at {SHIPPED}: run this from a clone of the repository")
    folder = Path("cases") if Path("cases").resolve() == SHIPPED else SHIPPED
    request = Request((folder,), tuple(BUILTIN), jobs=jobs, out=out, command=default_command(), resume=resume)
    return replay(request, progress)


def show_specimens(run: Run, *, jobs: int = 0, progress: Progress | None = None) -> tuple[specimens.Found, Path]:
    """Look at the specimens that need no GPU, in a run of their own inside the run's folder; then the reports of both.

    Returns what was found and the path of the run's report, which is written in any case.
    """
    from harness.report.write import write_report  # after the run: nothing before it needs pandas

    remember(run)
    try:
        table = specimens.read_table()
        wanted = specimens.looks(table, gpu=False)
        folder = SHIPPED.parent / table.case
        found = specimens.run(wanted, folder, run.folder / "specimens", jobs=jobs, command=default_command(), progress=progress)
        pages = [write_report(planted.folder) for planted in found.runs]
        links = [page.relative_to(run.folder).as_posix() for page in pages]
        write_json(run.folder / SPECIMENS, {"planted": False, "pages": links, "rows": [row.to_json() for row in found.rows]})
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"interrupted while the specimens ran; the run is finished: {write_report(run.folder)}") from None
    return found, write_report(run.folder)
