"""The numbers that operations are tried on: the same in every run, ordinary in size, or near zero."""

from __future__ import annotations

import numpy as np

from harness.probe.oracle import Array, Group, element
from harness.probe.rungs import OPERANDS, Rung

_MAGNITUDES = np.array([1e-5, 1e-4, 1e-3, 3e-3, 1e-6, 1e-2, 3e-5])


def operands(rung: Rung, group: Group) -> dict[str, Array]:
    """Float64 operands of a rung, not yet rounded to its dtype. Rotations are of 0.2 to 2.5 rad, log scales of 0.1 to 0.5."""
    made: dict[str, Array] = {}
    for i, name in enumerate(OPERANDS[rung.name]):
        random = np.random.Generator(np.random.Philox(key=[rung.batch, i]))
        if name == "p":
            made[name] = random.uniform(-3, 3, (rung.batch, 4 if rung.name == "act4" else 3))
            continue
        small = rung.near_zero and (name == "a" or rung.name == "log")
        a = _tangents(random, group, rung.batch, small)
        made[name] = a if name == "a" else element(group, a)
    return made


def _tangents(random: np.random.Generator, group: Group, batch: int, small: bool) -> Array:
    direction = random.normal(size=(batch, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    phi = direction * random.uniform(0.2, 2.5, (batch, 1))
    sigma = random.uniform(0.1, 0.5, (batch, 1)) * random.choice([-1.0, 1.0], (batch, 1))
    tau = random.uniform(-2, 2, (batch, 3))
    if small:
        magnitude = np.resize(_MAGNITUDES, (batch, 1))
        phi, sigma = direction * magnitude, np.where(sigma < 0, -0.7, 0.7) * magnitude
    parts = [tau] if group.translates else []
    parts.append(phi)
    if group.scales:
        parts.append(sigma)
    return np.concatenate(parts, axis=1)
