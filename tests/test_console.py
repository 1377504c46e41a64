"""What the command line says while it works."""

from __future__ import annotations

import pytest
from report_run import outcome, realistic, write_run
from rich.console import Console

from harness.cli import console
from harness.diagnosis.documents import Documents
from harness.diagnosis.ofrun import diagnosed_run
from harness.outcome import Kind
from harness.report.headline import headline
from harness.run import read_run


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


def test_the_count_is_the_reports(monkeypatch, tmp_path, capsys):
    """Of what is judged: a baseline that nobody holds to parity was counted as expected here, and apart in the report."""
    run = read_run(write_run(tmp_path / "run", realistic()))
    monkeypatch.setattr(console, "out", Console(width=250))
    console.summary(run, rows=False)
    last = capsys.readouterr().out.splitlines()[-1]
    baseline = sum(o.expected is True and not o.judged for o in run.outcomes)
    not_run = sum(o.kind is Kind.UNAVAILABLE for o in run.outcomes)
    assert baseline > 1
    told = headline(diagnosed_run(run, Documents()))
    assert f"{last.partition(' as expected')[0]} as expected" in told.text
    for words in (f"{baseline} of a baseline that is not judged", f"{not_run} not run"):
        assert words in last and words in told.text
