"""A signature is the same for the same bug on every machine, and another for another bug."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from diagnosis_evidence import (
    LIETORCH_STACK,
    OWN_STACK,
    SEED_INPUT,
    cuda_error,
    died,
    finding,
    found,
    off,
    outcome,
    raised,
    seed,
    unavailable,
)  # fmt: skip

from harness.diagnosis import frames, signature, signatures
from harness.diagnosis.signature import MAX_LENGTH, finding_signature, kernel_word, solver_word
from harness.outcome import Kind, Outcome

LINUX, WINDOWS = seed(139), seed(0xC0000005, windows=True)


def test_the_seed_crash_is_one_bug_on_windows_and_linux() -> None:
    assert signature(LINUX) == signature(WINDOWS) == "crash | access-violation | group_ops.forward < groups.apply_op < groups.inv"


def test_case_device_number_and_process_do_not_matter() -> None:
    elsewhere = replace(LINUX, case="other", device="cuda:3", seconds=9.0, repeat="elsewhere", tool="memcheck")
    moved = LIETORCH_STACK.replace("line 12", "line 99").replace("/opt/site-packages", "D:/x").replace("0x00007f3a5c5d2740", "0x01")
    assert signature(elsewhere) == signature(replace(LINUX, faulthandler=moved)) == signature(LINUX)


@pytest.mark.parametrize(
    "other",
    [
        seed(faulthandler=LIETORCH_STACK.replace("in inv", "in act")), died(-6, faulthandler=LIETORCH_STACK), died(-11),
        died(-11, faulthandler=OWN_STACK), died(-11, stage="imported"), cuda_error(700), cuda_error(716), off(),
        outcome(Kind.TIMEOUT, limit_s=3.0), raised("ValueError", "no"), raised("KeyError", "no"), unavailable("no GPU"),
        off(input=SEED_INPUT), outcome(Kind.SOLVER_STATUS, status="NON_FINITE"), outcome(Kind.INCONCLUSIVE, reason="no result"),
        seed(input=SEED_INPUT | {"batch": 0}),
    ],
    ids=lambda it: f"{it.kind.value}-{signature(it)[-20:]}",
)  # fmt: skip
def test_another_bug_has_another(other: Outcome) -> None:
    assert signature(other) not in ("", signature(LINUX))


def test_what_is_as_it_should_be_has_none() -> None:
    for fine in (outcome(Kind.OK), off(expected=True), outcome(Kind.SOLVER_STATUS, status="NON_FINITE", expected=True)):
        assert signature(fine) == ""


@pytest.mark.parametrize(
    ("posix", "windows"),
    [(-11, 0xC0000005), (-6, 0xC0000409), (-4, 0xC000001D), (-5, 0x80000003), (-8, 0xC0000094)],
    ids=["access", "abort", "illegal", "breakpoint", "arithmetic"],
)
def test_one_fault_has_one_word_on_both_systems(posix: int, windows: int) -> None:
    here, there = died(posix, faulthandler=OWN_STACK), died(windows, windows=True, faulthandler=OWN_STACK)
    signed = died(windows - (1 << 32), windows=True, faulthandler=OWN_STACK)
    assert signature(here) == signature(there) == signature(signed)


def test_a_hang_is_one_bug_at_whatever_moment_its_stack_was_written() -> None:
    def at(*inner: str, solve: str = "solve") -> Outcome:
        lines = [f'  File "/home/me/solver.py", line {i} in {name}' for i, name in enumerate((*inner, solve), 1)]
        ours = [f'  File "/home/me/harness/{name}.py", line 66 in solve' for name in ("sanitizer/inside", "worker")]
        text = "\n".join(["Timeout (0:00:01)!", "Thread 0x00007f00 (most recent call first):", *lines, *ours])
        return outcome(Kind.TIMEOUT, limit_s=3.0, stage=f"iteration {len(inner)}", faulthandler=text)

    names = {signature(it) for it in (at("_residual"), at("norm", "_cholesky", "_step"), at("_step"), at())}
    assert names == {"timeout | iteration | solver.solve"}
    assert signature(at("_residual", solve="other")) != signature(at("_residual"))
    assert signature(replace(at("_residual"), stage="loaded")) != signature(at("_residual"))
    assert signature(replace(at(), faulthandler="")) == "timeout | iteration | iteration of " + at().solver


def test_what_a_kernel_did_is_one_bug_whichever_later_call_is_told() -> None:
    def told(code: int, *inner: str, solve: str = "solve") -> Outcome:
        names = [("harness/worker", "_solve"), ("solver", solve), *(("solver", name) for name in inner)]
        lines = [f'  File "/home/me/{file}.py", line 9, in {name}' for file, name in names]
        return cuda_error(code, traceback="\n".join(["Traceback (most recent call last):", *lines, "RuntimeError: CUDA error"]))

    after = [told(716), told(716, "_launch", "check"), told(716, "_cost")]
    assert {signature(it) for it in after} == {"cuda | 716 cudaErrorMisalignedAddress | solver.solve"}
    assert signature(told(716, solve="other")) != signature(told(716))
    assert "solver._launch < solver.solve" in signature(told(9, "_launch"))  # the call itself is wrong, and is told at once


def test_what_watches_a_solve_is_no_part_of_it() -> None:
    watched = OWN_STACK.replace('"/home/me/harness/worker.py"', '"/home/me/harness/sanitizer/inside.py"')
    assert signature(died(-11, faulthandler=watched)) == signature(died(-11, faulthandler=OWN_STACK))


def test_a_finding_is_named_by_kind_access_alignment_kernel_and_the_text_of_its_line() -> None:
    one = finding("misaligned")
    assert finding_signature(one) == "finding | misaligned | global read 16B | misaligned | residual | float4 p = rows[i];"
    moved = {"path": r"C:\slam\residual.cuh", "line": 93, "snippet": [[93, "\tfloat4 p =  rows[i];"]]}
    elsewhere = one | {
        "where": moved,
        "address": 0x10004,
        "thread": [9, 0, 0],
        "kernel": "residual<double>(double const*, int)",
        "count": 8,
    }
    assert finding_signature(elsewhere) == finding_signature(one)
    for other in ({"size": 8}, {"address_mod_size": 0}, {"kernel": "pack(float*)"}, {"kind": "race"}, {"direction": "write"}):
        assert finding_signature(one | other) != finding_signature(one)


def test_without_the_source_the_line_stands_for_itself_and_without_a_line_the_host_stack() -> None:
    assert finding_signature(finding("race", where={"path": "/a/b/k.cu", "line": 7, "snippet": []})).endswith("k.cu:7")
    stack = [{"function": "pack_rows(float*)", "module": "m", "path": "/x", "line": 3}, {"function": "main"}]
    assert finding_signature(finding("undefined", kernel=None, where=None, host_stack=stack)).endswith("pack_rows < main")


def test_several_findings_are_several_bugs_the_gravest_first() -> None:
    many = found(finding("uninitialized"), finding("misaligned"), finding("misaligned", thread=[9, 9, 9]), finding("race"))
    assert [it.split(" | ")[1] for it in signatures(many)] == ["misaligned", "race", "uninitialized"]
    assert signature(many) == signatures(many)[0]


@pytest.mark.parametrize(
    "broken",
    [{}, {"kind": None}, {"where": "k.cu", "size": "16", "host_stack": "main"}, {"where": {"path": 3, "snippet": [1, [2]]}},
     {"<script>\x1b[31m": "\udc80"}, {"kind": ["a"], "kernel": {"b": 1}, "address_mod_size": "4"}, {"host_stack": [None, 3, {}]}],
)  # fmt: skip
def test_a_finding_of_any_shape_has_a_signature(broken: dict) -> None:
    name = finding_signature(broken)
    assert name.startswith("finding | ") and name.isprintable()


def test_hostile_names_cannot_break_out_of_one_short_line() -> None:
    wild = "\x1b[2J\n\u202e" + "A" * 5000
    for it in (
        raised(wild, wild),
        unavailable(wild),
        seed(stage=wild, faulthandler="", solver=wild),
        found(finding(wild, kernel=wild)),
    ):
        assert len(signature(it)) <= MAX_LENGTH and signature(it).isprintable()


def test_words() -> None:
    assert kernel_word("void (anonymous namespace)::inv_kernel<Sim3<float>, float>(float const*, float*, int)") == "inv_kernel"
    assert (
        solver_word("cuda@83d982f") == "cuda"
        and solver_word(r"C:\me\s.py:make") == solver_word("/home/me/s.py:make") == "s.py:make"
    )
    assert solver_word("mast3r-slam:/home/me/slam") == "mast3r-slam"


def test_the_thread_that_died_is_the_one_that_is_read() -> None:
    other = 'Thread 0x02 (most recent call first):\n  File "/x/other.py", line 1 in waits\n\n'
    assert [f.word for f in frames.from_faulthandler(other + LIETORCH_STACK)][:1] == ["group_ops.forward"]
    assert frames.from_faulthandler("Windows fatal exception: access violation\n") == ()
    assert frames.from_faulthandler('  File "' + "x" * 100_000) == ()


TRACKED = """Fatal Python error: Segmentation fault

Current thread 0x01 (most recent call first):
  File "/me/MASt3R-SLAM/mast3r_slam/tracker.py", line 200 in solve
  File "/opt/site-packages/harness/adapters/iterations.py", line 70 in solve
  File "/me/MASt3R-SLAM/mast3r_slam/tracker.py", line 260 in opt_pose_ray_dist_sim3
  File "/opt/site-packages/harness/record/methods.py", line 85 in method
  File "/opt/site-packages/harness/adapters/checkout.py", line 131 in _solve
  File "/opt/site-packages/harness/adapters/checkout.py", line 63 in solve
  File "/opt/site-packages/harness/worker.py", line 141 in _solve
"""


def test_what_stands_between_the_trackers_own_calls_is_none_of_its() -> None:
    for stack in (
        TRACKED,
        TRACKED.replace("/opt/site-packages/", "C:\\venv\\Lib\\site-packages\\").replace("harness/", "harness\\"),
    ):
        named = signature(died(-11, faulthandler=stack, solver="mast3r-slam:/me/MASt3R-SLAM"))
        assert named == "crash | access-violation | tracker.solve < tracker.opt_pose_ray_dist_sim3"


def test_every_file_of_the_harness_that_a_stack_may_show_is_there() -> None:
    folder = Path(frames.__file__).parents[1]
    for name in ("adapters/iterations.py", "record/methods.py", "adapters/checkout.py", "adapters/revision.py", "worker.py"):
        assert (folder / name).is_file()
        assert frames.top((frames.Frame(f"/x/harness/{name}", 1, "f", 1),)) == ()


def test_at_a_time_limit_it_is_the_thread_that_solves() -> None:
    idle = 'Thread 0x02 (most recent call first):\n  File "/x/pool.py", line 1 in waits\n\n'
    busy = 'Thread 0x01 (most recent call first):\n  File "/x/solver.py", line 5 in loop\n'
    busy += '  File "/w/harness/worker.py", line 9 in _solve\n'
    assert [f.word for f in frames.top(frames.from_faulthandler("Timeout (0:00:02)!\n" + idle + busy))] == ["solver.loop"]


def test_of_chained_exceptions_the_last_is_read() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/a.py", line 1, in first\nKeyError: 1\n\nDuring handling ...:\n\n'
        'Traceback (most recent call last):\n  File "/b.py", line 2, in outer\n  File "/c.py", line 3, in inner\nValueError: 2\n'
    )
    assert [f.word for f in frames.from_traceback(text)] == ["c.inner", "b.outer"]
