"""What the harness makes of solvers: operations of every built-in one, and factories of every form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness import registry, solvers
from harness.case import OPS
from harness.compare import pose_matrix
from sim3solve.problem import Solution, Status

B = 5
WITH_OPERATIONS = ["reference", "torch", "native"]


def operands(name):
    random = np.random.default_rng(3)
    made = {}
    for key, row in OPS[name].items():
        a = random.normal(size=(B, *row)) * 0.5
        if row == (8,):
            a[:, 3:7] /= np.linalg.norm(a[:, 3:7], axis=1, keepdims=True)
            a[:, 7] = np.exp(a[:, 7])
        made[key] = a.astype(np.float32)
    return made


def expected(name, x):
    """By 4x4 matrices and matrix exponentials."""
    from scipy.linalg import expm

    def generator(a):
        G = np.zeros((4, 4))
        G[:3, :3] = [[a[6], -a[5], a[4]], [a[5], a[6], -a[3]], [-a[4], a[3], a[6]]]
        G[:3, 3] = a[:3]
        return expm(G)

    M = {key: [pose_matrix(row) if len(row) == 8 else row for row in value.astype(float)] for key, value in x.items()}
    one = {
        "identity": lambda X: np.eye(4), "inv": np.linalg.inv, "mul": np.matmul, "exp": generator,
        "act": lambda X, p: X[:3, :3] @ p + X[:3, 3], "retr": lambda X, a: generator(a) @ X,
    }[name]  # fmt: skip
    return [one(*row) for row in zip(*M.values(), strict=True)]


@pytest.mark.parametrize("solver", WITH_OPERATIONS)
@pytest.mark.parametrize("name", OPS)
def test_operations_agree_with_matrices(solver, name):
    made = solvers.load(registry.resolve(solver))
    x = operands(name)
    given = {key: torch.from_numpy(value) for key, value in x.items()} if made.arrays == "torch" else x
    rows = np.asarray(made.op(name, given), dtype=float)
    assert rows.shape == (B, 3 if name == "act" else 8)
    for row, wanted in zip(rows, expected(name, x), strict=True):
        mine = row if name == "act" else pose_matrix(row)
        assert np.abs(mine - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize(
    ("source", "returned"),
    [
        ("def make():\n    return lambda problem, options: ('T', 'C')", ("T", "C")),
        ("def make():\n    return lambda problem, options, observe: observe", "observe"),
        ("from harness.solvers import Solver\ndef make():\n    return Solver(lambda p, o, s: o, arrays='numpy')", "options"),
        ("import beside\ndef make():\n    return beside.solve", "from beside"),
    ],
)
def test_factories_of_every_form(tmp_path, source, returned):
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "beside.py").write_text("def solve(problem, options):\n    return 'from beside'\n")
    made = solvers.load(registry.resolve(f"{tmp_path / 'mine.py'}:make"))
    assert made.solve("problem", "options", "observe") == returned


def test_a_factory_that_returns_no_solver_says_so(tmp_path):
    (tmp_path / "mine.py").write_text("def make():\n    return 3\n")
    with pytest.raises(TypeError, match="it must return a Solver or a function"):
        solvers.load(registry.resolve(f"{tmp_path / 'mine.py'}:make"))


def test_an_entry_point_is_found(monkeypatch):
    class Entry:
        name, value, dist = "theirs", "theirs.package:make", None

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [Entry] if group == "harness.solvers" else [])
    assert registry.resolve("theirs").target == "theirs.package:make"
    assert registry.resolve("torch").target == "harness.solvers:torch_float32"


def test_skip_keeps_the_initial_pose():
    from problem_factory import problem_of, shipped

    case = shipped("degenerate-quaternion-not-unit")
    solution = solvers.skip().solve(problem_of(case), case.options, None)
    assert isinstance(solution, Solution) and (solution.status, solution.iterations) == (Status.MAX_ITERATIONS, 0)
    assert np.isclose(np.linalg.norm(solution.T_WCf[0, 3:7]), 1)
