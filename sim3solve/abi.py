"""The structs of kernels/problem.cuh, field by field, for the CPU library and the CUDA kernels. Holds pointers, owns nothing."""

from __future__ import annotations

import ctypes
from typing import Any

from sim3solve.problem import Options, Status

STATUSES = (Status.CONVERGED, Status.MAX_ITERATIONS, Status.NOT_POSITIVE_DEFINITE, Status.NON_FINITE, Status.TOO_FEW_MATCHES)
"""In the order of the enum ``Status`` of kernels/problem.cuh."""


class View(ctypes.Structure):
    """A (N, k) float32 tensor: address, and strides in elements."""

    _fields_ = [("data", ctypes.c_void_p), ("row", ctypes.c_int64), ("col", ctypes.c_int64)]


class Mask(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("row", ctypes.c_int64)]


class OptionsStruct(ctypes.Structure):
    _fields_ = [
        ("inv_sigma", ctypes.c_float * 4), ("huber", ctypes.c_float), ("rel_error", ctypes.c_float), ("delta_norm", ctypes.c_float),
        ("pixel_border", ctypes.c_float), ("depth_eps", ctypes.c_float), ("width", ctypes.c_float), ("height", ctypes.c_float),
        ("max_iters", ctypes.c_int32),
    ]  # fmt: skip


class ProblemStruct(ctypes.Structure):
    _fields_ = [
        ("n", ctypes.c_int64), ("Xf", View), ("target", View), ("Q", View), ("valid", Mask), ("valid_meas", Mask),
        ("T_WCf", ctypes.c_void_p), ("T_WCk", ctypes.c_void_p), ("K", ctypes.c_void_p), ("options", OptionsStruct),
    ]  # fmt: skip


class ResultStruct(ctypes.Structure):
    _fields_ = [
        ("T_WCf", ctypes.c_float * 8), ("T_CkCf", ctypes.c_float * 8), ("cost", ctypes.c_double), ("status", ctypes.c_int32),
        ("iterations", ctypes.c_int32),
    ]  # fmt: skip


class StepStruct(ctypes.Structure):
    _fields_ = [
        ("cost", ctypes.c_double), ("delta_norm", ctypes.c_double), ("n_matches", ctypes.c_int64), ("T_CkCf", ctypes.c_float * 8),
    ]  # fmt: skip


SIZES = {"Problem": 184, "Options": 48, "Result": 80, "Step": 56}
"""What every compiler must find: tests/test_abi.py asks each of them."""


def options_struct(options: Options, kind: str) -> OptionsStruct:
    """``Options`` for a kind of problem, standard deviations inverted."""
    if kind == "calib":
        assert options.img_size is not None
        sigmas = [options.sigma_pixel] * 2 + [options.sigma_depth, 1.0]
        height, width = options.img_size
    else:
        sigmas = [options.sigma_ray] * 3 + [options.sigma_dist]
        height = width = 0
    return OptionsStruct(
        (ctypes.c_float * 4)(*(1 / sigma for sigma in sigmas)), options.huber, options.rel_error, options.delta_norm,
        options.pixel_border, options.depth_eps, width, height, options.max_iters,
    )  # fmt: skip


def problem_struct(kind: str, n: int, fields: dict[str, tuple[int, tuple[int, ...]]], options: Options) -> ProblemStruct:
    """The problem from (address, strides in elements) of each tensor, under upstream's names."""

    def view(name: str) -> View:
        address, stride = fields[name]
        return View(address, stride[0], stride[1])

    calib = kind == "calib"
    valid_meas = fields["valid_meas_k"] if calib else (None, (0, 0))
    struct: Any = ProblemStruct(
        n, view("Xf"), view("meas_k" if calib else "Xk"), view("Qk"), Mask(fields["valid_opt"][0], fields["valid_opt"][1][0]),
        Mask(valid_meas[0], valid_meas[1][0]), fields["T_WCf"][0], fields["T_WCk"][0], fields["K"][0] if calib else None,
        options_struct(options, kind),
    )  # fmt: skip
    return struct  # type: ignore[no-any-return]
