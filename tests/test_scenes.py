"""Generated scenes: the same bits everywhere, right in themselves, and fast enough to stand for a stored file."""

from __future__ import annotations

import hashlib
import math
import time

import numpy as np
import pytest

from harness import scenes
from harness.case import Generator
from sim3solve import reference
from sim3solve.problem import RayDist, Status, field_shapes

MASK = (1 << 64) - 1


def room(n: int, seed: int = 5) -> dict[str, np.ndarray]:
    return scenes.generate(Generator(scene="room", n_points=n, seed=seed))


def splitmix(x: int) -> int:
    """The finalizer of splitmix64 in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def draw(seed: int, stream: int, index: int) -> int:
    golden = 0x9E3779B97F4A7C15
    return splitmix(((index + 1) * golden + splitmix((seed * golden + stream + 1) & MASK)) & MASK)


def test_the_hash_is_that_of_python_integers():
    for seed, stream in ((0, 0), (5, 3), ((1 << 63) - 1, 5)):
        found = scenes.hashed(seed, stream, 1000, 1004).tolist()
        assert found == [draw(seed, stream, i) for i in range(1000, 1004)]


def test_a_row_is_what_python_floats_give():
    """Python's float arithmetic is IEEE 754 without contraction, so NumPy's must agree to the last bit."""
    Xk = room(200)["Xk"]
    for i in range(200):
        pixel, noise = draw(5, 0, i), draw(5, 1, i)
        dx = (pixel >> 32) * (1.2 * 2.0**-32) - 0.6
        dy = (pixel & 0xFFFFFFFF) * (0.9 * 2.0**-32) - 0.45
        z = min((1.9 if dx > 0 else 2.1) / abs(dx), (1.2 if dy > 0 else 1.3) / abs(dy), 3.4)
        if -0.15 < dx < 0.2 and -0.05 < dy < 0.25:
            z = 1.8
        low = (1 << 21) - 1
        total = (noise & low) + ((noise >> 21) & low) + ((noise >> 42) & low)
        z = z * (1.0 + 0.003 * (total * 2.0**-20 - 3.0))
        assert Xk[i].tolist() == np.array([dx * z, dy * z, z]).astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("scene", "digest"),
    [
        ("room", "1ecba612b8187cedb5da05cbcf8b93dce4b23b66db5c245f05213c707c7ce544"),
        ("plane", "84b8421d5a5445fa7f1d814bf37e7989aad9e5654b3d67e69c787c8be61bbf28"),
    ],
)
def test_the_bits_never_change(scene, digest):
    values = scenes.generate(Generator(scene=scene, n_points=70_001, seed=5))
    found = hashlib.sha256()
    for name in sorted(values):
        found.update(values[name].tobytes())
    assert found.hexdigest() == digest


def test_a_shorter_scene_is_the_start_of_a_longer_one():
    n = scenes.CHUNK + 17
    long, short = room(3 * scenes.CHUNK + 1), room(n)
    for name in ("Xf", "Xk", "Qk", "valid_opt"):
        assert long[name][:n].tobytes() == short[name].tobytes()


def test_another_seed_is_another_scene():
    assert not np.array_equal(room(100, seed=5)["Xk"], room(100, seed=6)["Xk"])


@pytest.mark.parametrize("n", [0, 1, 31, 33])
def test_any_number_of_points(n):
    values = room(n)
    assert {name: array.shape for name, array in values.items()} == field_shapes("ray_dist", n)
    assert all(array.dtype == (np.bool_ if name == "valid_opt" else np.float32) for name, array in values.items())
    assert all(np.isfinite(array).all() for array in values.values())


def test_a_million_points_in_seconds():
    start = time.perf_counter()
    values = room(1_000_003)
    assert time.perf_counter() - start < 3.0  # 0.3 s alone on one core; the rest is for a busy machine
    assert 0.85 < values["valid_opt"].mean() < 0.92


def test_the_noise_has_mean_0_and_deviation_1():
    noise = scenes.bell(scenes.hashed(1, 2, 0, 200_000))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs(noise).max() < 3


@pytest.mark.parametrize("scene", ["room", "plane"])
def test_the_truth_is_what_a_solver_finds(scene):
    generator = Generator(scene=scene, n_points=20_000, seed=1)
    solution = reference.solve(RayDist(**scenes.generate(generator)))
    assert solution.status is Status.CONVERGED
    truth, found = np.array(scenes.truth(generator)), solution.T_CkCf[0]
    assert np.linalg.norm(found[:3] - truth[:3]) < 0.005
    assert abs(found[3:7] @ truth[3:7]) > math.cos(math.radians(0.1) / 2)
    assert abs(found[7] / truth[7] - 1) < 0.005


def test_a_motion_must_be_a_unit_quaternion():
    with pytest.raises(ValueError, match="length"):
        scenes.Motion((1, 2, 3, 4), 5, (0.0, 0.0, 0.0), 1.0)
