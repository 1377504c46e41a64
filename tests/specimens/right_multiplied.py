"""Specimen: a port of the tracker whose Sim(3) is its author's own, with two mistakes that are easily made together.

``retr`` multiplies on the right while the Jacobians are those of a left tangent, and the exponential takes its translation from
SE(3)'s V, in which the scale has no part. It converges all the same, later and elsewhere: the trace must give it away.

    harness replay cases/real-fr1-desk-0-8-ray --solver tests/specimens/right_multiplied.py:make
"""

import torch

from harness.adapters.gauss_newton import solver_on
from sim3solve import pytorch as right


class Sim3:
    def __init__(self, data):
        self.data = data

    def inv(self):
        return Sim3(right.inverse(self.data))

    def __mul__(self, other):
        return Sim3(right.compose(self.data, other.data))

    def act(self, p):
        return right.act(self.data, p)

    @staticmethod
    def exp(a):
        made = right.exp(a)
        as_se3 = right.exp(torch.cat([a[..., :6], torch.zeros_like(a[..., 6:])], -1))  # W is V without a scale
        return Sim3(torch.cat([as_se3[..., :3], made[..., 3:]], -1))

    def retr(self, a):
        return self * Sim3.exp(a)


class LeftWithV(Sim3):
    """One of the two mistakes alone."""

    def retr(self, a):
        return LeftWithV((Sim3.exp(a) * self).data)

    def inv(self):
        return LeftWithV(super().inv().data)

    def __mul__(self, other):
        return LeftWithV(super().__mul__(other).data)


def make():
    return solver_on(Sim3)


def make_left_with_v():
    return solver_on(LeftWithV)
