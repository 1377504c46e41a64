"""What a watched child says of itself: which kernels it launched. With stand-ins for the driver and for a GPU's tensors."""

from __future__ import annotations

import ctypes
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problem_factory import CASES

from harness.casefile import read_case
from harness.registry import SolverSpec
from harness.sanitizer import inside
from harness.solvers import Solver
from harness.torch_layout import tensors
from sim3solve import driver, pytorch
from sim3solve.problem import PROBLEMS

SPEC = SolverSpec("mine", "mine.py:make", "")


class Driver:
    """The two functions that are asked for; one handle has a name, one launch fails."""

    def __init__(self) -> None:
        self.launched: list[int] = []

    def cuLaunchKernelEx(self, config, function, parameters, extra):
        self.launched.append(function)
        return 700 if function == 66 else 0

    def cuFuncGetName(self, name, function):
        if function.value != 7:
            return 1
        ctypes.cast(name, ctypes.POINTER(ctypes.c_char_p))[0] = b"solve_ray_dist"
        return 0


@pytest.fixture
def library(monkeypatch):
    made = Driver()
    monkeypatch.setattr(driver, "library", lambda: made)
    return made


def said(folder):
    return json.loads((folder / "sanitizer.json").read_text())


def test_launches_through_the_driver_are_named(library, tmp_path):
    def solve(problem, options, observe):
        for function in (7, 8, 66):
            library.cuLaunchKernelEx(1, function, None, None)
        return "pose"

    before = library.cuLaunchKernelEx
    solver = inside.watched(Solver(solve), SPEC, "memcheck", tmp_path)
    assert solver.solve(None, None, None) == "pose"
    assert said(tmp_path) == {
        "launched": ["solve_ray_dist", "a kernel whose name the driver does not tell"]
    }  # the failed one is none
    assert library.launched == [7, 8, 66] and library.cuLaunchKernelEx == before


def test_what_was_launched_before_an_exception_is_said(library, tmp_path):
    def solve(problem, options, observe):
        library.cuLaunchKernelEx(1, 7, None, None)
        raise RuntimeError("late")

    with pytest.raises(RuntimeError, match="late"):
        inside.watched(Solver(solve), SPEC, "memcheck", tmp_path).solve(None, None, None)
    assert said(tmp_path) == {"launched": ["solve_ray_dist"]}


def test_a_solver_that_launches_nothing_says_so(library, tmp_path):
    inside.watched(Solver(lambda *_: None), SPEC, "memcheck", tmp_path).solve(None, None, None)
    assert said(tmp_path) == {"launched": []}


def test_an_operation_is_watched_too_and_none_is_made_up(library, tmp_path):
    assert inside.watched(Solver(lambda *_: None), SPEC, "memcheck", tmp_path).op is None
    solver = inside.watched(
        Solver(lambda *_: None, op=lambda name, x: library.cuLaunchKernelEx(1, 7, None, None)), SPEC, "memcheck", tmp_path
    )
    assert solver.op("inv", {}) == 0 and said(tmp_path)["launched"] == ["solve_ray_dist"]


def test_without_a_tool_the_solver_is_left_alone(tmp_path):
    solver = Solver(lambda *_: None)
    assert inside.watched(solver, SPEC, "none", tmp_path) is solver
    assert inside.arena({}, {}, "cpu") is None and inside.arena({"tool": "ubsan"}, {}, "cpu") is None


def on_gpu(*shape):
    return SimpleNamespace(is_cuda=True, numel=lambda: int(np.prod(shape)))


aten = torch.ops.aten


@pytest.mark.parametrize(("func", "made", "is_launch"), [
    (aten.add.Tensor, on_gpu(3), True), (aten.mm.default, on_gpu(2, 2), True), (aten.sort.default, (on_gpu(3), on_gpu(3)), True),
    (aten.fill_.Scalar, on_gpu(3), True), (aten.add.Tensor, on_gpu(0), False), (aten.add.Tensor, torch.ones(3), False),
    (aten.view.default, on_gpu(3), False), (aten.empty.memory_format, on_gpu(3), False), (aten._to_copy.default, on_gpu(3), False),
    (aten.copy_.default, on_gpu(3), False), (aten._local_scalar_dense.default, 1.0, False),
])  # fmt: skip
def test_which_operations_of_torch_are_launches(func, made, is_launch):
    """A copy may be done without a kernel; what may be none is not taken for one."""
    assert inside.launches(func, made) is is_launch


def test_torch_computes_the_same_while_it_is_watched(library, tmp_path, monkeypatch):
    case = read_case(CASES / "degenerate-n-33")
    problem = PROBLEMS[case.document.kind](**tensors(case, torch.device("cpu")))
    plain = pytorch.solve(problem, case.options)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(inside, "launches", lambda func, made: not func.is_view)
    watched = inside.watched(Solver(pytorch.solve), SPEC, "memcheck", tmp_path).solve(problem, case.options, None)
    assert (watched.status, watched.iterations, watched.cost) == (plain.status, plain.iterations, plain.cost)
    assert torch.equal(watched.T_WCf, plain.T_WCf)
    assert "torch: aten.mul.Tensor" in said(tmp_path)["launched"]
