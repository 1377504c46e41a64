"""The fused solver on the CPU: kernels/host.cpp, compiled on first use by the machine's own C++ compiler and called by ctypes.

Takes NumPy arrays and torch CPU tensors alike and imports no torch. float32 inputs are read where they lie, whatever their strides.
Same rule and statuses as ``sim3solve.reference``. The result has the same bits in every run and for any number of threads.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sim3solve import abi, build, compiler
from sim3solve.problem import MASKS, Iteration, Options, ProblemError, RayDist, Solution, field_shapes, options_for

Observer = Callable[[int, Iteration], None]

THREADS_VARIABLE = "SIM3SOLVE_THREADS"
FLAGS_VARIABLE = "SIM3SOLVE_CXXFLAGS"
"""More words for the compiler, parted by spaces: ``-g -fsanitize=address``. Each set of flags has its own place in the cache."""
POINTS_PER_THREAD = 8192
"""Starting a thread costs about as much as a few passes over this many points."""

_KINDS = {"ray_dist": 0, "calib": 1}
_SMALL = frozenset({"T_WCf", "T_WCk", "K"})
_lock = threading.Lock()
_loaded: ctypes.CDLL | None = None


class NativeUnavailable(RuntimeError):
    """The CPU library cannot be had on this machine; the message says why and what would help."""


Unavailable = NativeUnavailable  # the name ``sim3solve.solve`` looks for in every backend that may not be at hand


def library() -> ctypes.CDLL:
    """The compiled library, built on the first call (a few seconds) and found in the cache from then on."""
    global _loaded
    with _lock:
        if _loaded is None:
            try:
                flags = tuple(os.environ.get(FLAGS_VARIABLE, "").split())
                _loaded = load(compiler.shared_library(build.inline_sources("host.cpp"), extra_flags=flags))
            except (compiler.CompilerMissing, build.BuildError) as error:
                raise NativeUnavailable(str(error)) from error
        return _loaded


def loaded() -> Path | None:
    """The file of ``library`` in this process; None before the first call."""
    return Path(_loaded._name) if _loaded is not None else None


def load(file: Path) -> ctypes.CDLL:
    """Load a library built from host.cpp and check that it means the same structs as this module."""
    try:
        lib = ctypes.CDLL(str(file))
    except OSError as error:
        raise NativeUnavailable(f"{file} cannot be loaded: {error}") from error
    floats = ctypes.POINTER(ctypes.c_float)
    lib.sim3solve_host_solve.argtypes = [
        ctypes.c_int32, ctypes.POINTER(abi.ProblemStruct), ctypes.POINTER(abi.ResultStruct), ctypes.POINTER(abi.StepStruct),
        ctypes.c_int32,
    ]  # fmt: skip
    lib.sim3solve_host_solve.restype = ctypes.c_int32
    lib.sim3solve_host_sizes.argtypes, lib.sim3solve_host_sizes.restype = [ctypes.POINTER(ctypes.c_int32)], None
    lib.sim3solve_host_exp.argtypes, lib.sim3solve_host_exp.restype = [floats, floats], None
    for name, count in (("compose", 3), ("inverse", 2), ("act", 3)):
        function = getattr(lib, f"sim3solve_host_{name}")
        function.argtypes, function.restype = [floats] * count, ctypes.c_int32
    sizes = (ctypes.c_int32 * 4)()
    lib.sim3solve_host_sizes(sizes)
    if list(sizes) != list(abi.SIZES.values()):
        raise NativeUnavailable(f"{file}: its structs have {list(sizes)} bytes, ours {list(abi.SIZES.values())}")
    return lib


def solve(
    problem: RayDist,
    options: Options | None = None,
    observe: Observer | None = None,
    *,
    threads: int | None = None,
    using: ctypes.CDLL | None = None,
) -> Solution:
    """Solve in float32 with float64 sums by upstream's rule. Poses come back as (1,8) float32 of the library that ``Xf`` is of.

    ``observe(k, iteration)`` is called for each step once all are done. ``threads`` overrules ``thread_count``, ``using`` the
    library. Raises ``ProblemError`` for an input that is no floating CPU array, ``NativeUnavailable``, or MemoryError.
    """
    options = options_for(problem.kind, options)
    lib = using or library()
    kind, n = problem.kind, problem.n_points
    keep_alive: list[Any] = []
    fields: dict[str, tuple[int, tuple[int, ...]]] = {}
    for name in field_shapes(kind, n):
        if name not in _SMALL:
            fields[name] = _in_place(name, getattr(problem, name), keep_alive)
    small = {name: _numbers(name, getattr(problem, name)) for name in _SMALL if hasattr(problem, name)}
    # Solved with the keyframe at the origin, in float64 up to here: nothing is lost far from the world's origin.
    origin = small["T_WCk"][:3].copy()
    for name, values in small.items():
        if name != "K":
            with np.errstate(invalid="ignore"):  # an infinite position becomes NaN: it is no pose either way
                values[:3] -= origin
        room = (ctypes.c_float * values.size)(*values)
        keep_alive.append(room)
        fields[name] = (ctypes.addressof(room), (values.size, 1))
    struct = abi.problem_struct(kind, n, fields, options)
    result, trace = abi.ResultStruct(), (abi.StepStruct * options.max_iters)()
    failed = lib.sim3solve_host_solve(_KINDS[kind], struct, result, trace, threads or thread_count(n))
    del keep_alive
    if failed:
        raise MemoryError(f"no memory for a copy of {n} points")
    steps = tuple(Iteration(step.cost, step.delta_norm, step.n_matches, tuple(step.T_CkCf)) for step in trace[: result.iterations])
    if observe is not None:
        for k, step in enumerate(steps):
            observe(k, step)
    T_WCf = np.array(result.T_WCf, dtype=np.float64)
    T_WCf[:3] += origin
    return Solution(
        abi.STATUSES[result.status], _pose(T_WCf, problem.Xf), _pose(np.array(result.T_CkCf), problem.Xf), result.iterations,
        result.cost, steps,
    )  # fmt: skip


def thread_count(n: int) -> int:
    """How many threads n points are worth on this machine, or what SIM3SOLVE_THREADS says."""
    given = os.environ.get(THREADS_VARIABLE)
    if given is not None:
        if not (given.isascii() and given.isdigit() and 1 <= int(given) <= 1024):
            raise ProblemError(THREADS_VARIABLE, f"must be a number from 1 to 1024, got {given!r}")
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 1 + n // POINTS_PER_THREAD)


# --- single operations, for the harness and the tests: one pose (8,), tangent (7,) or point (3,) in float32 -----------------------


def exp(delta: np.ndarray) -> np.ndarray:
    out = (ctypes.c_float * 8)()
    library().sim3solve_host_exp(_floats(delta, 7), out)
    return np.array(out, dtype=np.float32)


def compose(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return _operation("compose", 8, _floats(A, 8), _floats(B, 8))


def inverse(A: np.ndarray) -> np.ndarray:
    return _operation("inverse", 8, _floats(A, 8))


def act(A: np.ndarray, X: np.ndarray) -> np.ndarray:
    return _operation("act", 3, _floats(A, 8), _floats(X, 3))


def _operation(name: str, size: int, *operands: Any) -> np.ndarray:
    out = (ctypes.c_float * size)()
    if getattr(library(), f"sim3solve_host_{name}")(*operands, out):
        raise ProblemError(name, "an operand is no pose: not finite, a zero quaternion, or a scale that is not positive")
    return np.array(out, dtype=np.float32)


def _floats(row: np.ndarray, size: int) -> Any:
    return (ctypes.c_float * size)(*np.asarray(row, dtype=np.float32).reshape(size))


# --- what the caller hands over ---------------------------------------------------------------------------------------------------


def _in_place(name: str, value: Any, keep_alive: list[Any]) -> tuple[int, tuple[int, ...]]:
    """Address and strides in elements of a tensor as float32 or bool: its own memory, or a copy's where that will not do."""
    if _is_torch(value):
        value = _on_cpu(name, value)
        dtype = str(value.dtype).removeprefix("torch.")
        wanted = "bool" if name in MASKS else "float32"
        if dtype != wanted:
            value = _checked(name, dtype, value).float()
        address = value.data_ptr()
        if address % (1 if name in MASKS else 4) == 0:
            keep_alive.append(value)
            return address, tuple(value.stride())
        value = value.numpy()
    array = _array(name, value)
    if name in MASKS:
        itemsize = 1
    else:
        itemsize = 4
        plain = array.dtype == np.float32 and array.dtype.isnative
        if not plain or array.__array_interface__["data"][0] % 4 or any(step % 4 for step in array.strides):
            array = _float32(name, array)
    keep_alive.append(array)
    return array.__array_interface__["data"][0], tuple(step // itemsize for step in array.strides)


def _numbers(name: str, value: Any) -> np.ndarray:
    """A pose or K as float64, flat, in a copy of its own."""
    if _is_torch(value):
        value = _on_cpu(name, value)
        _checked(name, str(value.dtype).removeprefix("torch."), value)
        return np.array(value.tolist(), dtype=np.float64).ravel()
    array = _array(name, value)
    _checked(name, array.dtype.name, array)
    return np.array(array, dtype=np.float64).ravel()


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    _checked(name, array.dtype.name, array)
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite and is judged as such
        return array.astype(np.float32, order="C")


def _array(name: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ProblemError(name, f"must be a NumPy array or a torch tensor on the CPU, got {type(value).__name__}")
    return value


def _checked(name: str, dtype: str, value: Any) -> Any:
    if dtype not in ("float16", "bfloat16", "float32", "float64"):
        raise ProblemError(name, f"must be float16, bfloat16, float32 or float64, got {dtype}")
    return value


def _is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _on_cpu(name: str, tensor: Any) -> Any:
    if tensor.device.type != "cpu":
        raise ProblemError(name, f"is on {tensor.device}; this solver takes tensors on the CPU")
    if str(tensor.layout) != "torch.strided":
        raise ProblemError(name, f"is {tensor.layout}; this solver takes strided tensors")
    return tensor.detach().resolve_neg()


def _pose(T: np.ndarray, like: Any) -> Any:
    row = T.astype(np.float32)[None]
    return sys.modules["torch"].from_numpy(row) if _is_torch(like) else row
