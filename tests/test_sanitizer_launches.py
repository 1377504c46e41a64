"""Whose a launch is: told by its stack, in recordings with other stacks put in and by stacks of a real child; and ``--kernels``."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import sanitizer_recordings as recordings

from harness.casefile import read_document
from harness.errors import UsageError
from harness.isolation import Limits, Task, run_isolated
from harness.memory.arena import Arena
from harness.outcome import EXACT, Kind
from harness.process import open_launcher
from harness.registry import resolve
from harness.replay import Request, replay
from harness.sanitizer import launches, records, state, text
from harness.sanitizer.records import Records
from harness.sanitizer.state import Child, Ending
from harness.sanitizer.text import Log
from sim3solve import cuda_kernels

ROOT = Path(__file__).parent.parent
CASE = ROOT / "cases" / "degenerate-n-33"
NEW = recordings.VERSIONS[1]
FILL = "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_11FillFunctorIfEE"
FINE = Ending(97, False, 60.0)
IN_THE_SOLVE = [
    ("launch", "/home/me/mine.py"),
    ("solve", "/x/harness/sanitizer/inside.py"),
    ("_solve_pose", "/x/harness/worker.py"),
]
BEFORE_IT = [("tensors", "/x/harness/torch_layout.py"), ("_arrays", "/x/harness/worker.py"), ("_replay", "/x/harness/worker.py")]


@pytest.mark.parametrize(("frames", "whose"), [
    (IN_THE_SOLVE, "solve"),
    ([("op", r"C:\x\harness\sanitizer\inside.py"), ("_solve_op", r"C:\x\harness\worker.py")], "solve"),
    ([(None, None), ("cudaLaunchKernel", None), *IN_THE_SOLVE], "solve"),
    (BEFORE_IT, "harness"),
    ([("make", "/home/me/mine.py"), ("load", "/x/harness/sanitizer/inside.py"), ("_replay", "/x/harness/worker.py")], "harness"),
    ([("_to_numpy", "/x/harness/worker.py"), ("timed", "/x/harness/worker.py"), ("_solve", "/x/harness/worker.py")], "harness"),
    ([("run", "/home/me/mine.py"), ("_bootstrap", "/usr/lib/python3.12/threading.py")], "solve"),
    ([("solve", "/home/me/harness/my_worker.py")], "solve"),
    ([("cudaLaunchKernel", "/src/cudart.cpp"), (None, None)], "unknown"), ([], "unknown"),
])  # fmt: skip
def test_whose_a_launch_is(frames: list[tuple[str | None, str | None]], whose: str) -> None:
    assert launches.origin(frames) == whose


SOLVER = """
import json, os, sys, threading, traceback
from harness.solvers import reference

def note(where):
    frames = [(f.f_code.co_name, f.f_code.co_filename) for f, _ in traceback.walk_stack(sys._getframe(1))]
    with open(os.environ["STACKS"], "a") as file:
        file.write(json.dumps([where, frames]) + "\\n")

note("import")

class Result:
    def __init__(self, pose):
        self.pose = pose
    def __array__(self, *more, **named):
        note("result")
        return self.pose

def make():
    note("factory")
    own = reference()
    def solve(problem, options):
        note("solve")
        thread = threading.Thread(target=note, args=("thread",))
        thread.start()
        thread.join()
        found = own.solve(problem, options, lambda k, it: note("observed"))
        return Result(found.T_WCf), found.T_CkCf
    return solve
"""


@pytest.mark.parametrize(("tool", "memory"), [("none", "pool"), ("none", "exact"), ("memcheck", "pool")])
def test_stacks_of_a_real_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, memory: str) -> None:
    """What the child's files call the solver by is what is looked for: a function that is renamed there is missed here."""
    (tmp_path / "mine.py").write_text(SOLVER)
    (tmp_path / "job").mkdir()
    monkeypatch.setenv("STACKS", str(tmp_path / "stacks"))
    launcher = open_launcher(tmp_path / "log", preload=(), threads=1)
    try:
        task = Task(CASE, read_document(CASE), resolve(f"{tmp_path / 'mine.py'}:make"), memory=memory)
        if tool == "none":
            assert run_isolated(task, Limits(), tmp_path / "job", launcher).kind is Kind.OK
        else:  # the child as a tool would start it
            from harness.isolation import start, write_job

            write_job(Task(CASE, task.document, task.solver, tool), Limits(), tmp_path / "job")
            start(task, Limits(), tmp_path / "job", launcher, None, name="job", limit=lambda: 60.0)
    finally:
        launcher.close()
    stacks = map(json.loads, (tmp_path / "stacks").read_text().splitlines())
    seen = {(where, launches.origin(map(tuple, frames))) for where, frames in stacks}
    assert seen == {
        ("import", "harness"), ("factory", "harness"), ("solve", "solve"), ("thread", "solve"), ("observed", "solve"),
        ("result", "harness"),
    }  # fmt: skip


def rewritten(tmp_path: Path, frames: list[tuple[str, str]]) -> tuple[Records, Log]:
    """A recorded launch of torch's with another stack of Python."""
    place = recordings.folder(NEW) / "memcheck-healthy"
    tree = ET.parse(place / "sanitizer.xml")
    stack = tree.find("record/hostStack")
    assert stack is not None
    for frame in stack.findall("frame"):
        if frame.findtext("path"):
            stack.remove(frame)
    for function, path in frames:
        frame = ET.SubElement(stack, "frame")
        for name, value in (("func", function), ("path", path), ("line", "1")):
            ET.SubElement(frame, name).text = value
    tree.write(tmp_path / "x")
    log = text.read(place / "sanitizer.txt", "memcheck")
    return records.read(tmp_path / "x", "memcheck"), log


def decide(found: tuple[Records, Log], launched: tuple[str, ...] | None, **more: object) -> state.State:
    return state.decide("memcheck", *found, Child(True, True, launched), FINE, **more)


def test_a_launch_of_the_solves_counts_whatever_the_child_saw(tmp_path: Path) -> None:
    found = rewritten(tmp_path, IN_THE_SOLVE)
    assert (found[0].launched, found[0].unplaced, found[0].own) == (("healthy",), (), ())
    assert decide(found, ()).word == "clean" and decide(found, ()).launched == ("healthy",)


def test_a_launch_of_the_harness_makes_nobody_clean(tmp_path: Path) -> None:
    """A solver that computes on the CPU, while the tensors that it got were filled by a kernel."""
    found = rewritten(tmp_path, BEFORE_IT)
    assert found[0].own == ("healthy",)
    for launched in ((), None, ("torch: aten.mul.Tensor",)):
        seen = decide(found, launched)
        assert (seen.word, seen.launched) == ("kernel not launched", ())
        assert "only: healthy" in seen.reason
    assert decide(found, (), kernels="healthy").word == "kernel not launched"


def test_a_launch_that_nobody_can_place_counts_unless_the_child_launched_nothing(tmp_path: Path) -> None:
    found = rewritten(tmp_path, [])
    assert found[0].unplaced == ("healthy",)
    assert decide(found, ("torch: aten.mul.Tensor",)).word == decide(found, None).word == "clean"
    seen = decide(found, ())
    assert seen.word == "kernel not launched" and "healthy: name your kernels by --kernels" in seen.reason
    assert decide(found, (), kernels="heal").word == "clean"
    assert decide(found, (), kernels="other").word == "kernel not launched"


def test_all_launches_are_accounted_for_in_the_footer(tmp_path: Path) -> None:
    for frames in (IN_THE_SOLVE, BEFORE_IT, []):
        found, log = rewritten(tmp_path, frames)
        assert found.launches == log.summary == 1


def test_the_kernels_in_question_are_all_of_the_solver_s() -> None:
    missed = [name for name in cuda_kernels.ENTRIES if not re.search(launches.KERNELS["cuda"], name)]
    assert cuda_kernels.ENTRIES and not missed
    assert not re.search(launches.KERNELS["cuda"], FILL)


def test_the_context_is_made_without_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device without memory: every operation that ``exact`` makes before the solve is an allocation or a view."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from harness import torch_layout
    from harness.casefile import read_case
    from harness.memory.device import DeviceArena
    from harness.sanitizer.inside import _NO_KERNEL

    ran: list[str] = []

    class Noting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if not func.is_view:
                ran.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    meta = torch.device("meta")
    storage = torch.empty(1 << 20, dtype=torch.uint8, device=meta).untyped_storage()
    monkeypatch.setattr(DeviceArena, "place", lambda self, *more: None)
    monkeypatch.setattr(torch_layout, "_shown", lambda window, device: storage)
    arena: Arena = DeviceArena(EXACT, 0, exact=True)
    with Noting():
        torch_layout.tensors(read_case(CASE), meta, arena)
    assert ran and set(ran) <= _NO_KERNEL


@pytest.mark.parametrize(("kernels", "tools", "says"), [
    ("(", ("memcheck",), "no regular expression"), ("mine", ("none",), "--kernels is for --tool memcheck"),
    ("mine", ("asan", "ubsan"), "--kernels is for"), ("mine", (), "--kernels is for"),
])  # fmt: skip
def test_kernels_that_cannot_be_are_wrong_use(kernels: str, tools: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        launches.chosen(kernels, tools)
    assert launches.chosen(None, tools) is None and launches.chosen("mine", ("none", "racecheck")) == "mine"


def test_kernels_are_in_the_repeat_of_the_tools_that_watch_them() -> None:
    limits = Limits(kernels="my kernel|solve")
    tasks = {tool: Task(CASE, read_document(CASE), resolve("cuda"), tool, EXACT) for tool in ("none", "memcheck", "asan")}
    repeats = {tool: task.repeat(limits) for tool, task in tasks.items()}
    assert repeats["memcheck"].endswith("--kernels 'my kernel|solve'" if os.name != "nt" else '--kernels "my kernel|solve"')
    assert "--kernels" not in repeats["none"] + repeats["asan"]
    assert "--kernels" not in tasks["memcheck"].repeat(Limits())


def test_other_kernels_are_another_run(tmp_path: Path) -> None:
    """A run that was watched for one kernel is not taken up for another."""

    def started(kernels: str | None) -> str:
        request = Request((CASE,), ("native",), ("memcheck",), Limits(kernels=kernels), 1, tmp_path, "a test", True)
        run = replay(request)
        document = json.loads((run.folder / "run.json").read_text())
        return str(document["plan"]["fingerprint"])

    assert len({started(None), started("a"), started("b")}) == 3
