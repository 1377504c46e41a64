"""The probe's oracle against scipy's matrix exponential and logarithm, mpmath, and the axioms of the groups."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.linalg

from harness.probe.operands import operands
from harness.probe.oracle import GROUPS, adjoint, element, expected, expm, hat, log, matrix, vee
from harness.probe.rungs import ALL_OPS, OPERANDS, Rung

ALL = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
B = 200


def tangents(group, *, small=False):
    rung = Rung("exp near 0" if small else "exp", group.name, "float64", "cpu", B)
    return operands(rung, group)["a"]


@ALL
@pytest.mark.parametrize("small", [False, True])
def test_exponential_is_scipys(group, small):
    M = hat(group, tangents(group, small=small))
    np.testing.assert_allclose(expm(M), scipy.linalg.expm(M), rtol=0, atol=2e-14)


def test_exponential_is_mpmaths_to_the_last_digits():
    group = GROUPS["Sim3"]
    for a in [*tangents(group)[:5], *tangents(group, small=True)[:5]]:
        with mpmath.workdps(50):
            exact = mpmath.expm(mpmath.matrix(hat(group, a[None])[0].tolist()))
        np.testing.assert_allclose(expm(hat(group, a[None]))[0], np.array(exact.tolist(), dtype=float), rtol=0, atol=5e-15)


@ALL
@pytest.mark.parametrize("small", [False, True])
def test_an_element_is_the_exponential_and_its_log_the_tangent(group, small):
    a = tangents(group, small=small)
    np.testing.assert_allclose(matrix(group, element(group, a)), scipy.linalg.expm(hat(group, a)), rtol=0, atol=5e-15)
    np.testing.assert_allclose(log(group, element(group, a)), a, rtol=0, atol=1e-13)


@ALL
def test_log_is_scipys_and_knows_that_q_and_minus_q_are_one(group):
    X = element(group, tangents(group)[:20])
    for row, a in zip(X, log(group, X), strict=True):
        np.testing.assert_allclose(hat(group, a[None])[0], scipy.linalg.logm(matrix(group, row[None])[0]).real, atol=1e-10)
    other = X.copy()
    at = 3 * group.translates
    other[:, at : at + 4] *= -1
    np.testing.assert_allclose(log(group, other), log(group, X), atol=1e-14)


@ALL
def test_log_of_the_identity_is_zero(group):
    assert not log(group, element(group, np.zeros((1, group.tangent)))).any()


@ALL
def test_hat_and_vee_are_inverse(group):
    a = tangents(group)
    np.testing.assert_allclose(vee(group, hat(group, a)), a, rtol=1e-15)


@ALL
def test_the_adjoint_moves_a_tangent_through_an_element(group):
    a, b = tangents(group)[:50], tangents(group)[50:100]
    X = element(group, a)
    M = matrix(group, X)
    moved = (adjoint(group, X) @ b[:, :, None])[:, :, 0]
    np.testing.assert_allclose(
        M @ scipy.linalg.expm(hat(group, b)), scipy.linalg.expm(hat(group, moved)) @ M, rtol=1e-11, atol=1e-11
    )


@ALL
def test_operations_hold_the_axioms(group):
    def give(op, **x):
        return expected(op, group, x, B)

    a = tangents(group)
    X, Y = element(group, a), element(group, a[::-1])
    p = np.random.default_rng(1).normal(size=(B, 3))
    one = np.concatenate([p, np.ones((B, 1))], axis=1)
    identity = give("Identity")
    np.testing.assert_allclose(give("inv", X=X) @ matrix(group, X), identity, atol=1e-14)
    np.testing.assert_allclose(give("act4", X=X, p=one)[:, :3], give("act", X=X, p=p), atol=1e-15)
    np.testing.assert_allclose(give("mul", X=X, Y=Y), give("matrix", X=X) @ give("matrix", X=Y), atol=1e-15)
    np.testing.assert_allclose(give("retr", X=X, a=a), give("exp", a=a) @ give("matrix", X=X), atol=1e-14)
    np.testing.assert_allclose(give("log", X=X), a, atol=1e-13)
    Ad, AdT = (
        np.stack([expected(op, group, {"X": X, "a": np.tile(e, (B, 1))}, B) for e in np.eye(group.tangent)], 2)
        for op in ("adj", "adjT")
    )
    np.testing.assert_allclose(AdT, Ad.transpose(0, 2, 1), atol=1e-14)
    of_inverse = expected("adjT", group, {"X": X, "a": a}, B, adjT_of_inverse=True)
    np.testing.assert_allclose((Ad @ of_inverse[:, :, None])[:, :, 0], a, atol=1e-12)


def test_a_scale_takes_part_in_the_adjoint_of_sim3_alone_by_its_own_column():
    X = np.array([[1.0, 2, 3, 0, 0, 0, 1, 2]])
    np.testing.assert_allclose(adjoint(GROUPS["Sim3"], X)[0, :3, 6], [-1, -2, -3], atol=1e-15)
    np.testing.assert_allclose(adjoint(GROUPS["Sim3"], X)[0, :3, :3], 2 * np.eye(3), atol=1e-15)


@ALL
@pytest.mark.parametrize("op", ALL_OPS)
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_every_rung_has_finite_operands_and_an_answer_of_its_size(group, op, batch):
    rung = Rung(op, group.name, "float64", "cpu", batch)
    x = operands(rung, group)
    assert tuple(x) == OPERANDS[rung.name]
    want = expected(rung.name, group, x, batch)
    assert len(want) == batch and np.isfinite(want).all()
    assert all(np.isfinite(value).all() for value in x.values())
    assert all(np.array_equal(x[name], operands(rung, group)[name]) for name in x)  # the same in every run
