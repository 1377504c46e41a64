"""What the command line says while it works."""

from __future__ import annotations

import pytest
from report_run import outcome
from rich.console import Console

from harness.cli import console


@pytest.mark.parametrize(("terminal", "lines"), [(False, ["replaying: 1 of 3", "replaying: 2 of 3"]), (True, [])])
def test_where_there_is_no_terminal_a_line_is_written_now_and_then(monkeypatch, tmp_path, terminal, lines):
    """A log of make repro was empty for minutes."""
    clock = iter((0.0, 10.1, 10.1, 20.3, 20.3, 20.5))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console.Progress, "start", lambda _: None)  # it has a clock of its own
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        monkeypatch.setattr(console, "err", Console(file=log, force_terminal=terminal))
        with console.progress(quiet=False) as show:
            for done in (1, 2, 3):
                show(outcome("a-case", "torch"), done, 3)
    written = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line for line in written if line.startswith("replaying:")] == lines
