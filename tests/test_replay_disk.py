"""A disk that refuses, once the children are done: one line that names the file, and the same command takes the run up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import jsonfile
from harness.errors import HarnessError
from harness.replay import Request, replay
from harness.run import OUTCOMES, RUN_FILE

CASE = Path(__file__).parent.parent / "cases" / "degenerate-n-33"


@pytest.mark.parametrize(
    ("refused", "times_before"),
    [(f"{OUTCOMES}/", 1), (RUN_FILE, 1), ("alive.json", 0)],
    ids=["judging", "finishing", "marking it alive"],
)
def test_what_a_disk_refuses_is_one_line_and_costs_no_child_again(tmp_path, monkeypatch, refused, times_before):
    seen: list[Path] = []
    write_bytes = jsonfile.write_bytes

    def full(path, data):
        if refused in path.as_posix():
            seen.append(path)
            if len(seen) > times_before:
                raise OSError(28, "No space left on device", str(path))
        write_bytes(path, data)

    request = Request((CASE,), ("skip",), out=tmp_path)
    with monkeypatch.context() as planted:
        planted.setattr(jsonfile, "write_bytes", full)
        with pytest.raises(HarnessError, match=r"No space left on device; what is done is kept") as raised:
            replay(request)
    assert refused.rstrip("/") in str(raised.value).replace("\\", "/")
    ran: list[str] = []
    run = replay(request, lambda outcome, done, total: ran.append(outcome.solver))
    assert [outcome.expected for outcome in run.outcomes] == [True]
    assert run.finished and len(list(tmp_path.glob("2*/run.json"))) == 1
    assert sorted(ran) == ([] if times_before else ["reference", "skip"])
