"""Values that are no numbers: at invalid rows they must not matter, at valid ones they must be reported."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.case import Case, OptionsDocument
from harness.importers import poses
from harness.importers.wellformed import SIZE, N, calibrated, case, exact_room, room
from sim3solve.problem import Status

BAD = {"zero": 0.0, "nan": np.nan, "inf": np.inf}


def hostile_cases() -> list[Case]:
    return [*_masked(), *_reported(), *_bad_poses(), *_calibrated()]


def _masked() -> list[Case]:
    """A bad value at invalid rows of either point set, the first and the last among them."""
    because = (
        "An invalid row must not matter, whatever it holds. Masking by multiplication fails here: "
        "0 times NaN or infinity is NaN, and 1/|X| is infinite at zero."
    )
    found = []
    for name, bad in BAD.items():
        values = room()
        values["valid_opt"][[0, 31, 100, N - 1]] = False
        values["Xk"][[0, 31]] = bad
        values["Xf"][[100, N - 1]] = bad
        values["Qk"][[0, 100]] = bad
        found.append(case(f"{name}-invalid", f"{name} at invalid rows", because, values, tags=("masked",)))
    return found


def _reported() -> list[Case]:
    """A bad value at one valid row: the same rule in every solver, before any count."""
    because = {
        "zero": "A point at the origin has no ray. One valid row with it must be reported, not averaged away.",
        "nan": "One NaN in a valid row makes every sum NaN. It must be reported as such, never as a failed Cholesky or a pose.",
        "inf": "An infinite point in a valid row has no finite distance. It must be reported as such.",
    }
    found = []
    for name, bad in BAD.items():
        values = exact_room()
        values["Xk" if name == "inf" else "Xf"][N - 1, :] = bad
        found.append(case(f"{name}-valid", f"{name} at one valid row, the last", because[name], values, Status.NON_FINITE))
    for name, bad in (("negative", -1.0), ("nan", np.nan)):
        values = exact_room()
        values["Qk"][64] = bad
        title = f"One valid row has confidence {bad:g}"
        found.append(case(f"confidence-{name}", title, "Its square root is NaN, and must be reported.", values, Status.NON_FINITE))
    alone = exact_room(valid=slice(0, 1))
    alone["Xk"][0] = np.nan
    why = "Two rules apply. NON_FINITE comes first: bad data may explain a low count, a low count never explains bad data."
    found.append(case("nan-and-too-few", "The only valid row holds NaN", why, alone, Status.NON_FINITE))
    return found


def _bad_poses() -> list[Case]:
    because = "No pose can follow from it, and none may be made up."
    spoilt = (
        ("pose-nan", "The frame's pose holds NaN", "T_WCf", slice(0, 1), np.nan),
        ("pose-scale-zero", "The frame's pose has scale 0", "T_WCf", slice(7, 8), 0.0),
        ("pose-zero-quaternion", "The keyframe's quaternion is zero", "T_WCk", slice(3, 7), 0.0),
    )
    found = []
    for id, title, name, columns, value in spoilt:
        values = room()
        values[name][0, columns] = value
        found.append(case(id, title, because, values, Status.NON_FINITE))
    return found


def _calibrated() -> list[Case]:
    """What only the calibrated problem can get wrong."""
    hole = calibrated()
    rows = slice(200, 220)
    hole["valid_meas_k"][rows] = False
    hole["meas_k"][rows] = np.nan
    hole["Xk"][rows] = 0.0
    behind = calibrated()
    behind["T_WCf"] = poses.pose([0, 0, 0], poses.about([0, 1, 0], 180.0))[None].astype(np.float32)
    bad = calibrated()
    bad["valid_opt"][7], bad["valid_meas_k"][7], bad["meas_k"][7, 2] = True, True, -np.inf

    masked = "The logarithm of a missing depth is masked by valid_meas_k, not by valid_opt, and must not matter."
    away = "No point projects into the image, so no match counts; dividing by the negative depth would make some look right."
    log_0 = "log 0 is minus infinity: a measurement that claims to be valid and is not finite must be reported."
    in_calib: dict[str, Any] = {"kind": "calib", "options": OptionsDocument(img_size=(SIZE[1], SIZE[0]))}
    return [
        case("calib-nan-invalid", "NaN measurements where valid_meas_k is false", masked, hole, tags=("masked",), **in_calib),
        case("calib-behind", "Every point starts behind the keyframe", away, behind, Status.TOO_FEW_MATCHES, **in_calib),
        case("calib-inf-valid", "The logarithm of depth zero in a valid row", log_0, bad, Status.NON_FINITE, **in_calib),
    ]
