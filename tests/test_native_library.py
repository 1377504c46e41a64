"""Getting the CPU library, what it exports, and its Sim(3) operations in float32 against mpmath and the oracle."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from native_runs import each_kind
from problem_factory import problem_of, random_case

from harness import solvers
from harness.compare import pose_matrix
from harness.errors import SolverUnavailable
from sim3solve import compiler, native, reference
from sim3solve.build import inline_sources
from sim3solve.problem import ProblemError

HAS_VECTORS = "#if defined(__GNUC__) || defined(__clang__)"

# --- the compiler -----------------------------------------------------------------------------------------------------------------


def test_importing_builds_nothing_and_brings_no_torch(tmp_path) -> None:
    code = "import sys, sim3solve.native; assert 'torch' not in sys.modules"
    environment = {"SIM3SOLVE_CACHE": str(tmp_path / "cache"), "PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {name: value for name, value in os.environ.items() if name == "SYSTEMROOT"}  # no Python starts without it
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("variable", "value", "said"), [("CXX", "no-such-c++", "'no-such-c\\+\\+'"), ("PATH", "", "not on PATH")])
def test_an_absent_compiler_is_reported(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    monkeypatch.setattr(native, "_loaded", None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(native.NativeUnavailable, match=f"{said}.*install g\\+\\+"):
        native.library()
    with pytest.raises(SolverUnavailable, match=said):
        solvers.native()


def test_only_our_names_leave_the_library() -> None:
    if sys.platform != "linux":
        pytest.skip("reads ELF symbols")
    file = native.library()._name
    listed = subprocess.run(["nm", "-D", "--defined-only", file], capture_output=True, text=True, check=True, timeout=60).stdout
    names = {line.split()[-1] for line in listed.splitlines()}
    assert names
    assert all(name.startswith("sim3solve_host_") for name in names), names


@each_kind
def test_without_vector_types_the_answer_is_the_same(kind: str) -> None:
    """What a compiler other than gcc and clang gets: plain arrays for vectors. The last bits may differ."""
    source = inline_sources("host.cpp")
    assert source.count(HAS_VECTORS) >= 3
    plain = native.load(compiler.shared_library(source.replace(HAS_VECTORS, "#if 0")))
    case = random_case(kind, 4, n=3000)
    mine = native.solve(problem_of(case), case.options, using=plain)
    vectors = native.solve(problem_of(case), case.options)
    assert (mine.status, mine.iterations) == (vectors.status, vectors.iterations)
    assert mine.T_CkCf == pytest.approx(vectors.T_CkCf, abs=1e-5)
    assert mine.cost == pytest.approx(vectors.cost, rel=1e-4)


# --- Sim(3) in float32 ------------------------------------------------------------------------------------------------------------


def exact_exp(delta: np.ndarray) -> np.ndarray:
    """The 4x4 matrix of Exp by mpmath with 40 digits."""
    import mpmath

    with mpmath.workdps(40):
        tau, (x, y, z), sigma = [[mpmath.mpf(float(v)) for v in part] for part in (delta[:3], delta[3:6], delta[6:])]
        s = sigma[0]
        generator = mpmath.matrix([[s, -z, y, tau[0]], [z, s, -x, tau[1]], [-y, x, s, tau[2]], [0, 0, 0, 0]])
        return np.array(mpmath.expm(generator, method="taylor").tolist(), dtype=np.float64)


@pytest.mark.parametrize("magnitude", [1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 3.0, math.pi])
def test_exp_in_float32_is_right_at_every_magnitude(magnitude: float) -> None:
    rng = np.random.default_rng(int(1e6 * magnitude))
    for zero in ((), (6,), (3, 4, 5), (0, 1, 2)):
        delta = rng.normal(size=7)
        delta[3:6] *= magnitude / np.linalg.norm(delta[3:6])
        delta[6] = magnitude * rng.uniform(-0.5, 0.5)
        delta[list(zero)] = 0.0
        delta = delta.astype(np.float32)
        exact, mine = exact_exp(delta), pose_matrix(native.exp(delta).astype(np.float64))
        assert np.abs(mine[:3, 3] - exact[:3, 3]).max() <= 2e-6 * max(np.abs(exact[:3, 3]).max(), 1e-30)
        assert np.abs(mine - exact)[:3, :3].max() <= 2e-6 * np.abs(exact[:3, :3]).max()


@pytest.mark.parametrize("magnitude", [1e-12, 1e-6, 1e-3])
def test_a_small_rotation_keeps_its_relative_accuracy(magnitude: float) -> None:
    delta = np.array([0, 0, 0, 0.6, -0.48, 0.64, 0]) * magnitude
    assert native.exp(delta)[3:6] == pytest.approx(delta[3:6] / 2, rel=1e-6, abs=0)


def test_group_operations_agree_with_the_oracle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        A, B = (reference.exp(rng.uniform(-1, 1, 7)) for _ in range(2))
        X = rng.normal(size=3)
        for mine, exact in (
            (native.compose(A, B), reference.compose(A, B)),
            (native.inverse(A), reference.inverse(A)),
        ):
            assert np.abs(pose_matrix(mine.astype(np.float64)) - pose_matrix(exact)).max() < 3e-6
        assert np.abs(native.act(A, X) - reference.act(A, X[None])[0]).max() < 3e-6
    with pytest.raises(ProblemError, match=r"^inverse: an operand is no pose"):
        native.inverse(np.zeros(8))
