"""Degenerate inputs of the solver: few points, unobservable directions, extreme poses and sizes. Each states what must happen."""

from __future__ import annotations

import numpy as np

from harness import scenes
from harness.case import Case, Expectation, Generator, Operation, Provenance, TensorSpec
from harness.importers import hostile, layouts, poses
from harness.importers.assemble import make_case, pose_tuple
from harness.importers.wellformed import case, exact_room, line, room, seen_from
from sim3solve.problem import Status


def degenerate_cases() -> list[Case]:
    """All of them, in the order of the table in ``cases/README.md``."""
    own = [*_counts(), *_unobservable(), *_poses(), *_weights(), *_sizes()]
    return [*own, *hostile.hostile_cases(), *layouts.layout_cases()]


def identity_inverse() -> Case:
    """The seed crash: ``lietorch.Sim3.Identity(1, device="cuda").inv()`` died with an access violation."""
    because = (
        "The inverse of the identity is the identity. In the report that started this project the process died here, in lietorch."
    )
    return make_case(
        {"X": poses.IDENTITY[None].astype(np.float32)},
        {"X": TensorSpec.contiguous("float32", (1, 8), device="cuda:0")},
        id="op-sim3-identity-inv-cuda",
        kind="op",
        title="Inverse of the identity of Sim(3) on a GPU",
        op=Operation(name="inv"),
        requires=("cuda",),
        expect=Expectation(because=because),
        tags=("op", "seed"),
        provenance=Provenance(source="the smallest input of the reported crash", licence="Apache-2.0"),
    )


def _counts() -> list[Case]:
    few = "A similarity has seven degrees of freedom and a match fixes three at most: the solver must say so, not return a pose."
    enough = "{} right matches fix all seven degrees of freedom: few rows must not be refused, nor drown in padding."
    too_few = Status.TOO_FEW_MATCHES
    found = [case("valid-0", "No valid point", few, exact_room(valid=slice(0, 0)), too_few)]
    for n in (1, 2, 3, 6):
        values = exact_room(valid=slice(5, 5 + 40 * n, 40))  # 40 rows apart: in different warps
        because, status = (few, too_few) if n < 3 else (enough.format(n), Status.CONVERGED)
        found.append(case(f"valid-{n}", f"{n} valid point{'s' * (n > 1)}", because, values, status))
    unweighted = exact_room()
    unweighted["Qk"][2:] = 0.0
    because = f"A weight of zero is no match, so two are left. {few}"
    return [*found, case("confidence-zero", "All rows valid, all but two with confidence 0", because, unweighted, too_few)]


def _unobservable() -> list[Case]:
    turn = "Turning about the line moves no point: one direction is unobservable, so there is no pose to return."
    slanted = f"{turn} This line couples all directions, so float32 sums leave a pivot of noise that looks observable."
    same = exact_room()
    for name in ("Xk", "Xf"):
        same[name][:] = np.array([0.3, -0.2, 2.0], np.float32)
    point = "One point, however often it is seen, fixes three of seven degrees of freedom."
    along, across = line([0.9, 0.7, 2.5], [0.1, 0.05, 1.0]), line([0.1, -0.2, 2.0], [0.6, 0.3, 0.4])
    return [
        case("collinear", "All points on one line, along the view", turn, along, Status.NOT_POSITIVE_DEFINITE),
        case("collinear-slanted", "All points on one line, across the view", slanted, across, Status.NOT_POSITIVE_DEFINITE),
        case("coincident", "All points are the same point", point, same, Status.NOT_POSITIVE_DEFINITE),
    ]


def _poses() -> list[Case]:
    loose = room()
    loose["T_WCf"][:, 3:7] *= np.float32(2.0)
    loose["T_WCk"][:, 3:7] *= np.float32(0.25)
    flipped = room()
    flipped["T_WCf"][:, 3:7] *= -1
    not_unit = "Quaternions of length 2 and 0.25 are normalised on entry; used as they are, they scale the points by their square."
    sign = "q and -q are one rotation: from one to the other is no turn at all, not one of 360 degrees."
    near_0 = "The quaternion's w is near 0 and changes sign on the way: neither the update nor the comparison may jump."
    units = "Units cancel: no threshold may be absolute, and no float32 sum may overflow or vanish."
    half_turn = poses.pose([0.1, -0.05, 0.2], poses.about([0.05, -0.03, 1.0], 179.9))
    found = [
        case("quaternion-not-unit", "Quaternions that are not normalised", not_unit, loose),
        case("quaternion-sign", "The frame's quaternion is the negative of the keyframe's", sign, flipped),
        _started_near("rotation-180", "Relative rotation of 179.9 degrees, started 2 degrees away", near_0, half_turn),
    ]
    for name in ("1e-6", "1e6"):
        far = poses.pose([0.05, -0.02, 0.04], poses.about([0.2, 1, 0], 4.0), float(name))
        found.append(_started_near(f"scale-{name}", f"True relative scale {name}, started 3 % off", units, far))
    return found


def _started_near(id: str, title: str, because: str, T_CkCf: np.ndarray) -> Case:
    """Points seen under a known true pose, started 2 degrees about (1, 1, 1), 5 cm and 3 % in scale away from it."""
    values = exact_room()
    values["Xf"] = seen_from(values["Xk"], T_CkCf)
    start = poses.compose(poses.pose([0.03, 0.03, -0.02], poses.about([1, 1, 1], 2.0), 1.03), T_CkCf)
    values["T_WCf"] = poses.compose(values["T_WCk"][0].astype(np.float64), start)[None].astype(np.float32)
    return case(id, title, because, values, truth_T_CkCf=pose_tuple(T_CkCf))


def _weights() -> list[Case]:
    equal = room()
    equal["Qk"][:] = 2.0
    torn = exact_room(501)
    for half, axis in ((slice(0, None, 2), [0, 1, 0]), (slice(1, None, 2), [0.3, -1, 0.2])):
        torn["Xf"][half] = seen_from(torn["Xk"][half], poses.pose([0.05, 0.0, 0.02], poses.about(axis, 4.0)))
    spread = "A constant weight cancels in the step; nothing may depend on the spread of the weights."
    two = "Two motions, each backed by half of the matches: Huber's cost settles on one compromise, the same for every solver."
    return [
        case("weights-equal", "All confidences equal", spread, equal),
        case("contradictory", "Even and odd rows move differently", two, torn),
    ]


def _sizes() -> list[Case]:
    empty = "A grid of 0 blocks is an invalid launch: an empty input must be answered before it."
    large = "Rows that divide by no block size, more than one grid covers: indices, tails and float32 sums must hold. Not stored."
    found = [case("n-0", "No rows at all", empty, room(0), Status.TOO_FEW_MATCHES)]
    for n in (31, 33):
        because = f"{n} rows are one {'less' if n < 32 else 'more'} than a warp: no lane may be lost or counted twice."
        found.append(case(f"n-{n}", f"{n} rows", because, room(n)))
    generator = Generator(scene="room", n_points=1_000_003, seed=11)
    values, truth = scenes.generate(generator), scenes.truth(generator)
    return [
        *found,
        case("n-1000003", "1000003 rows, generated", large, values, generator=generator, truth_T_CkCf=truth, tags=("large",)),
    ]
