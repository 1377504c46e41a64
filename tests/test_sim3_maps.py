"""The Sim(3) maps of both solvers against matrix exponentials and the group's own laws, at every magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import solvers
from harness.compare import pose_matrix
from sim3solve import pytorch, reference

DIGITS = 90  # B at theta = 1e-12 is a difference that loses 36 of them in its closed form
FIXED = settings(derandomize=True, deadline=None, max_examples=60)

ANGLES = [0.0] + [10.0**k for k in range(-12, 1)] + [0.3, 0.699, 0.701, 0.999999, 1.000001, 2.0, 3.0, math.pi - 1e-9, math.pi]
LOG_SCALES = [sign * size for size in ANGLES for sign in (1, -1)] + [5.0, -5.0, 10.0, -10.0]


def generator(delta: np.ndarray) -> np.ndarray:
    """(4,4) with exp(generator) = [s R, t; 0, 1]."""
    tau, (x, y, z), sigma = delta[:3], delta[3:6], delta[6]
    G = np.zeros((4, 4))
    G[:3, :3] = [[sigma, -z, y], [z, sigma, -x], [-y, x, sigma]]
    G[:3, 3] = tau
    return G


@cache
def exact_w(theta: float, sigma: float) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """C, A, B from the closed forms of the integral, with so many digits that their cancellation does not matter."""
    with mpmath.workdps(DIGITS):
        t, s = mpmath.mpf(theta), mpmath.mpf(sigma)
        e = mpmath.exp(s)
        C = (e - 1) / s if s else mpmath.mpf(1)
        if t == 0 and s == 0:
            return C, mpmath.mpf(1) / 2, mpmath.mpf(1) / 6
        if t == 0:
            return C, (e * (s - 1) + 1) / s**2, (e * (s * s - 2 * s + 2) - 2) / (2 * s**3)
        z = mpmath.mpc(s, t)
        phi = (mpmath.exp(z) - 1) / z
        return C, phi.imag / t, (C - phi.real) / t**2


def test_the_oracles_w_is_exact_at_every_magnitude() -> None:
    worst = 0.0
    for theta in ANGLES:
        for sigma in LOG_SCALES:
            for got, exact in zip(reference.w_coefficients(theta, sigma), exact_w(theta, sigma), strict=True):
                worst = max(worst, float(abs((mpmath.mpf(got) - exact) / exact)))
    assert worst < 1e-14  # measured 2e-15


@cache
def tangents() -> np.ndarray:
    """(M,7): every pair of an angle and a log scale, with random directions."""
    rng = np.random.default_rng(1)
    rows = []
    for theta in ANGLES:
        for sigma in LOG_SCALES:
            axis = rng.normal(size=3)
            rows.append(np.concatenate([rng.normal(size=3), theta * axis / np.linalg.norm(axis), [sigma]]))
    return np.array(rows)


def exact_translation(delta: np.ndarray) -> np.ndarray:
    C, A, B = (float(c) for c in exact_w(float(np.linalg.norm(delta[3:6])), float(delta[6])))
    tau, omega = delta[:3], delta[3:6]
    return C * tau + A * np.cross(omega, tau) + B * np.cross(omega, np.cross(omega, tau))


def exp_error(exp: Callable[[np.ndarray], np.ndarray], dtype: type, rows: np.ndarray) -> float:
    """The largest error of exp over tangents (M,7): of the translation relative to |tau|, of quaternion and scale relative."""
    worst = 0.0
    for delta in rows.astype(dtype).astype(np.float64):  # exactly what the function under test is given
        got, t = exp(delta.astype(dtype)).astype(np.float64), exact_translation(delta)
        theta, s = np.linalg.norm(delta[3:6]), math.exp(delta[6])
        q = np.concatenate([np.sinc(theta / (2 * math.pi)) / 2 * delta[3:6], [math.cos(theta / 2)]])
        errors = (
            np.linalg.norm(got[:3] - t) / max(np.linalg.norm(t), np.linalg.norm(delta[:3])),
            np.abs(got[3:7] - q).max(),
            np.abs(got[3:6] - q[:3]).max() / max(np.abs(q[:3]).max(), 1e-300),  # a small rotation is as exact as a large one
            abs(got[7] - s) / s,
        )
        worst = max(worst, *errors)
    return worst


def torch_exp(delta: np.ndarray) -> np.ndarray:
    return pytorch.exp(torch.from_numpy(delta)).numpy()


# Measured: 5e-16, 1.3e-15, 4.5e-7. At sigma = 10 rounding the exponent sigma u alone costs 10 roundings of 6e-8.
@pytest.mark.parametrize(
    ("exp", "dtype", "bound"),
    [(reference.exp, np.float64, 1e-14), (torch_exp, np.float64, 1e-14), (torch_exp, np.float32, 1e-6)],
    ids=["reference", "torch64", "torch32"],
)
def test_exp_is_exact_at_every_magnitude(exp: Callable[[np.ndarray], np.ndarray], dtype: type, bound: float) -> None:
    assert exp_error(exp, dtype, tangents()) < bound


def test_exp_in_float32_is_exact_to_a_few_roundings_for_any_update_a_solver_makes() -> None:
    rows = tangents()[np.abs(tangents()[:, 6]) <= 1.0]
    assert exp_error(torch_exp, np.float32, rows) < 5e-7  # four roundings of 1.2e-7


def upstream_exp(delta: np.ndarray) -> np.ndarray:
    """exp with the closed forms and the threshold of 1e-6 that lietorch and upstream's port use, in the type of ``delta``."""
    dtype = delta.dtype.type
    tau, omega, sigma = delta[:3], delta[3:6], delta[6]
    theta2 = omega @ omega
    theta, s, one = np.sqrt(theta2), np.exp(sigma), dtype(1)
    C = one if abs(sigma) < 1e-6 else (s - one) / sigma
    if abs(sigma) < 1e-6 and theta < 1e-6:
        A, B = dtype(0.5), dtype(1 / 6)
    elif abs(sigma) < 1e-6:
        A, B = (one - np.cos(theta)) / theta2, (theta - np.sin(theta)) / (theta2 * theta)
    elif theta < 1e-6:
        A = ((sigma - one) * s + one) / (sigma * sigma)
        B = (s * dtype(0.5) * sigma * sigma + s - one - sigma * s) / (sigma * sigma * sigma)
    else:
        a, b, c = s * np.sin(theta), s * np.cos(theta), theta2 + sigma * sigma
        A = (a * sigma + (one - b) * theta) / (theta * c)
        B = (C - ((b - one) * sigma + a * theta) / c) / theta2
    t = C * tau + A * np.cross(omega, tau) + B * np.cross(omega, np.cross(omega, tau))
    q = reference.exp(delta.astype(np.float64))[3:7]
    return np.concatenate([t, q, [s]]).astype(dtype)


def test_upstreams_small_angle_threshold_would_fail() -> None:
    """So that the bounds above are known to be able to fail: (s - 1) / sigma and (1 - cos) / theta^2 cancel above 1e-6."""
    rows = tangents()[np.abs(tangents()[:, 6]) <= 1.0]
    assert exp_error(upstream_exp, np.float32, rows) > 1e-2
    large = rows[(np.linalg.norm(rows[:, 3:6], axis=1) > 0.2) & (np.abs(rows[:, 6]) > 0.2)]
    assert exp_error(upstream_exp, np.float32, large) < 2e-6  # it is upstream's formula, not a slip in copying it, that fails


@pytest.mark.parametrize("delta", list(tangents()[::23]), ids=lambda delta: f"{np.linalg.norm(delta[3:6]):.1e},{delta[6]:.1e}")
def test_exp_is_the_matrix_exponential(delta: np.ndarray) -> None:
    expected = scipy.linalg.expm(generator(delta))
    with mpmath.workdps(50):
        precise = np.array(mpmath.expm(mpmath.matrix(generator(delta).tolist())).tolist(), dtype=np.float64)
    scale = np.abs(precise).max()
    for T in (reference.exp(delta), torch_exp(delta)):
        assert np.abs(pose_matrix(T) - precise).max() < 3e-15 * scale
        assert np.abs(pose_matrix(T) - expected).max() < 1e-13 * scale  # scipy's own error


# --- the group's laws -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Maps:
    """One implementation, with float64 rows in and out. ``eps`` is the rounding of its type."""

    name: str
    eps: float
    compose: Callable[[np.ndarray, np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]
    act: Callable[[np.ndarray, np.ndarray], np.ndarray]
    exp: Callable[[np.ndarray], np.ndarray]


def of_torch(name: str, dtype: torch.dtype) -> Maps:
    def typed(function: Callable[..., torch.Tensor]) -> Callable[..., np.ndarray]:
        return lambda *rows: function(*(torch.from_numpy(np.atleast_2d(row)).to(dtype) for row in rows)).double().numpy()

    compose, inverse, act, exp = (typed(function) for function in (pytorch.compose, pytorch.inverse, pytorch.act, pytorch.exp))
    row = (lambda A, B: compose(A, B)[0], lambda A: inverse(A)[0], act, lambda delta: exp(delta)[0])
    return Maps(name, torch.finfo(dtype).eps, *row)


EPS64 = float(np.finfo(np.float64).eps)
ALL_MAPS = [
    Maps("reference", EPS64, reference.compose, reference.inverse, reference.act, reference.exp),
    of_torch("torch64", torch.float64),
    of_torch("torch32", torch.float32),
]
each_maps = pytest.mark.parametrize("maps", ALL_MAPS, ids=lambda maps: maps.name)


@st.composite
def tangent(draw: st.DrawFn) -> np.ndarray:
    """Near the identity, near a half turn, and between; log scales up to 1 either way."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    near_pi = st.sampled_from([math.pi, math.pi - 1e-12, math.pi - 1e-7, math.pi - 1e-3, math.pi + 1e-3])
    small = st.integers(-12, -1).map(lambda k: 10.0**k)
    theta = draw(st.one_of(st.just(0.0), small, near_pi, st.floats(0, math.pi)))
    sigma = draw(st.one_of(st.just(0.0), small, st.floats(-1, 1)))
    axis = rng.normal(size=3)
    return np.concatenate([rng.normal(size=3), theta * axis / np.linalg.norm(axis), [sigma]])


def size(*poses: np.ndarray) -> float:
    """The largest number an implementation may meet on the way: products of the matrices' norms."""
    return math.prod(max(1.0, float(np.linalg.norm(pose_matrix(T), 2))) for T in poses)


def assert_equal(maps: Maps, left: np.ndarray, right: np.ndarray, reach: float, roundings: float = 16.0) -> None:
    """Equal matrices to ``roundings`` of the type, relative to what was multiplied on the way; q stays a unit quaternion."""
    assert np.abs(pose_matrix(left) - pose_matrix(right)).max() <= roundings * maps.eps * reach
    assert abs(np.linalg.norm(left[3:7]) - 1) <= 4 * maps.eps


@each_maps
@FIXED
@given(a=tangent(), b=tangent(), c=tangent())
def test_composition_is_associative_and_is_the_matrix_product(maps: Maps, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    A, B, C = maps.exp(a), maps.exp(b), maps.exp(c)
    assert_equal(maps, maps.compose(maps.compose(A, B), C), maps.compose(A, maps.compose(B, C)), size(A, B, C))
    product = pose_matrix(A) @ pose_matrix(B)
    assert np.abs(pose_matrix(maps.compose(A, B)) - product).max() <= 8 * maps.eps * size(A, B)


@each_maps
@FIXED
@given(a=tangent())
def test_inverse_and_identity(maps: Maps, a: np.ndarray) -> None:
    A, one = maps.exp(a), reference.identity()
    reach = size(A) * size(maps.inverse(A))
    assert_equal(maps, maps.compose(A, maps.inverse(A)), one, reach)
    assert_equal(maps, maps.compose(maps.inverse(A), A), one, reach)
    assert_equal(maps, maps.compose(A, one), A, size(A), 4)
    assert_equal(maps, maps.compose(one, A), A, size(A), 4)
    assert_equal(maps, maps.exp(np.zeros(7)), one, 1, 0)


@each_maps
@FIXED
@given(a=tangent())
def test_exp_of_minus_a_tangent_is_the_inverse(maps: Maps, a: np.ndarray) -> None:
    assert_equal(maps, maps.exp(-a), maps.inverse(maps.exp(a)), size(maps.exp(a)) * size(maps.exp(-a)))


@each_maps
@FIXED
@given(a=tangent(), b=tangent(), seed=st.integers(0, 2**32))
def test_acting_with_a_product_is_acting_twice(maps: Maps, a: np.ndarray, b: np.ndarray, seed: int) -> None:
    A, B, X = maps.exp(a), maps.exp(b), np.random.default_rng(seed).normal(size=(4, 3))
    twice = maps.act(A, maps.act(B, X))
    assert np.abs(maps.act(maps.compose(A, B), X) - twice).max() <= 16 * maps.eps * size(A, B) * np.abs(X).max()
    M = pose_matrix(A)
    assert np.abs(maps.act(A, X) - (X @ M[:3, :3].T + M[:3, 3])).max() <= 16 * maps.eps * size(A) * max(1, np.abs(X).max())


@pytest.mark.parametrize("solver", [solvers.reference(), solvers.torch_float32()], ids=["reference", "torch"])
@FIXED
@given(a=tangent(), b=tangent())
def test_retr_updates_on_the_left(solver: solvers.Solver, a: np.ndarray, b: np.ndarray) -> None:
    X = reference.exp(b)[None]
    operands = {"X": X, "a": a[None]}
    if solver.arrays == "torch":
        operands = {name: torch.from_numpy(rows) for name, rows in operands.items()}
    assert solver.op is not None
    got = np.asarray(solver.op("retr", operands))[0]
    expected = scipy.linalg.expm(generator(a)) @ pose_matrix(X[0])
    assert np.abs(pose_matrix(got) - expected).max() <= 1e-13 * np.abs(expected).max() * size(X[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_maps_give_in_a_batch_what_they_give_alone(dtype: torch.dtype) -> None:
    deltas = torch.from_numpy(tangents()[:: len(tangents()) // 12][:12]).to(dtype)
    poses, X = pytorch.exp(deltas), torch.randn(12, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    close = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 8 * torch.finfo(dtype).eps * float(poses.abs().max())}
    together = (poses, pytorch.compose(poses, poses.flip(0)), pytorch.inverse(poses), pytorch.act(poses, X))
    one_by_one = (
        [pytorch.exp(delta) for delta in deltas],
        [pytorch.compose(A, B) for A, B in zip(poses, poses.flip(0), strict=True)],
        [pytorch.inverse(A) for A in poses],
        [pytorch.act(A, x) for A, x in zip(poses, X, strict=True)],
    )
    for batch, rows in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(batch, torch.stack(rows), **close)
    torch.testing.assert_close(pytorch.exp(deltas.view(3, 4, 7)).view(12, 8), poses, **close)
    torch.testing.assert_close(pytorch.act(poses[3:4], X), torch.stack([pytorch.act(poses[3], x) for x in X]), **close)
