"""What the report calls things: outcomes, ways to run, solvers, stacks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_run as made

from harness.outcome import Kind
from harness.report.stacks import pieces
from harness.report.words import how_words, judgement, key_entry, label, mark, solver_labels, style

OFF = replace(made.solved("a", "torch", 1), parity=made.parity(71.0, within=False))


@pytest.mark.parametrize(
    ("outcome", "words", "colour"),
    [
        (made.solved("a", "torch", 1), ("OK", ""), "k-ok"),
        (replace(OFF, expected=False), ("WRONG POSE", ""), "k-wrong"),
        (OFF, ("OK", "another pose"), "k-ok"),  # its case asks for none in particular
        (replace(OFF, expected=False, values={"op_value": [1.0]}), ("WRONG RESULT", ""), "k-wrong"),
        (replace(OFF, expected=False, parity=None), ("UNEXPECTED POSE", ""), "k-wrong"),
        (made.solved("a", "skip", 1), ("OK", "baseline"), "k-baseline"),
        (made.no_pose("a", "torch", "NON_FINITE"), ("NON_FINITE", ""), "k-solver-status"),
    ],
)
def test_an_outcome_is_named_by_what_it_means(outcome, words, colour) -> None:
    assert (label(outcome), style(outcome)) == (words, colour)
    assert key_entry(outcome)[0] == colour and words[0] in key_entry(outcome)[1]


def test_a_baseline_is_judged_only_when_it_fails() -> None:
    kept = made.solved("a", "skip", 1)
    assert (judgement(kept), mark(kept)) == (None, "\u2013")
    assert judgement(made.outcome("a", "skip", Kind.CRASHED, expected=False, exit=made.SEGFAULT)) is False
    assert judgement(made.solved("a", "torch", 1)) is True


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("none", "plain"),
        ("memcheck", "memcheck"),
        ("none+poison", "poisoned memory"),
        ("memcheck+exact", "memcheck, exact allocations"),
        ("none@shift-4", "layout shift-4"),
    ],
)
def test_a_way_to_run_has_words(how: str, words: str) -> None:
    assert how_words(how) == words


def test_solvers_keep_what_tells_them_apart() -> None:
    names = [
        "torch",
        "/home/me/a/bad.py:make",
        "/home/me/b/bad.py:make",
        "C:\\x\\fast.py:make",
        "native@feature/x",
        "mast3r-slam:/opt/SLAM",
    ]
    assert list(solver_labels(names).values()) == [
        "torch", "a/bad.py:make", "b/bad.py:make", "fast.py:make", "native@feature/x", "mast3r-slam:SLAM",
    ]  # fmt: skip
    assert solver_labels(["bad.py:make", "./bad.py:make"]) == {"bad.py:make": "bad.py:make", "./bad.py:make": "./bad.py:make"}


FAULTHANDLER = """Fatal Python error: Segmentation fault

Current thread 0x00007f5b7b7fcb80 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/home/me/bad.py", line 9 in solve
  File "/opt/harness/solvers.py", line 60 in <lambda>
  File "/opt/harness/worker.py", line 157 in timed
  File "/opt/harness/supervisor.py", line 41 in main
  File "<frozen runpy>", line 198 in _run_module_as_main

Extension modules: numpy._core._multiarray_umath, """ + ", ".join(f"torch._C.part{i}" for i in range(60))
TRACEBACK = """Traceback (most recent call last):
  File "C:\\opt\\harness\\worker.py", line 96, in _caught
    return do()
           ^^^^
  File "C:\\opt\\harness\\worker.py", line 83, in <lambda>
    result = _caught(lambda: _replay(job))
  File "C:\\opt\\harness\\solvers.py", line 60, in <lambda>
    return made(problem)
  File "C:\\me\\bad.py", line 11, in solve
    raise RuntimeError("no")
RuntimeError: no
"""


def test_a_stack_shows_the_solver_and_folds_the_harness() -> None:
    for text, own, folds in (
        (FAULTHANDLER, ["string_at", "bad.py"], ["4 calls of the harness", "Extension modules"]),
        (TRACEBACK, ["bad.py", "RuntimeError: no", "Traceback"], ["3 calls of the harness"]),
    ):
        parts = pieces(text)
        assert [it.folded for it in parts if it.folded] == folds
        shown = "\n".join(it.text for it in parts if not it.folded)
        assert all(word in shown for word in own)
        assert "worker.py" not in shown and "return do()" not in shown
        assert "\n".join(it.text for it in parts) == text  # nothing is lost


def test_what_is_no_stack_is_left_alone() -> None:
    for text in (
        "",
        "one line",
        '  File "/opt/harness/worker.py", line 3 in a\n  File "/me/bad.py", line 3 in b',
        "Extension modules: numpy",
    ):
        assert [(it.text, it.folded) for it in pieces(text)] == [(text, "")]
