"""A problem's tensors on a GPU as the addresses and strides of ``abi.ProblemStruct``. On the path of every solve.

torch tensors are read where they lie; one that is not float32, and a pose or K that is not contiguous, is copied first. Anything
else must show itself through ``__cuda_array_interface__`` (CuPy, Numba, PyCUDA) as float32 and bool, and needs no torch.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from sim3solve import abi, driver
from sim3solve.problem import Calib, Options, ProblemError, RayDist, options_for

_PROBLEM = struct.Struct("<q 9q 2q 2q 3q 48s")  # abi.ProblemStruct
DEFAULT = Options()
MAX_POINTS = (1 << 31) - 1 - (1 << 20)  # the kernels count a round of threads past the last in 32 bits


def option_bytes(options: Options, kind: str) -> bytes:
    return bytes(abi.options_struct(options_for(kind, options), kind))


def is_torch(problem: RayDist) -> bool:
    return hasattr(problem.Xf, "data_ptr")


def device_of(problem: RayDist) -> int:
    """The GPU its points are on. Raises ``ProblemError`` when they are on none."""
    if is_torch(problem):
        if not problem.Xf.is_cuda:
            raise ProblemError("Xf", f"is on {problem.Xf.device}; the cuda solver reads inputs on a GPU")
        index: int = problem.Xf.get_device()
        return index
    interface = _interface("Xf", problem.Xf)
    address = interface["data"][0]
    return driver.ask("cuPointerGetAttribute", driver.DEVICE_ORDINAL, address) if address else 0


def pack(problem: RayDist, into: Any, at: int, device: int, options: bytes) -> list[Any]:
    """Write the problem's struct ``at`` bytes into a buffer. Returns the copies that must live until the solve is done.

    Raises ``ProblemError`` for a tensor that is on another device, or of a type that cannot be read.
    """
    keep: list[Any] = []
    words = _torch_words(problem, device, keep) if is_torch(problem) else _other_words(problem)
    if words[0] > MAX_POINTS:
        raise ProblemError("Xf", f"has {words[0]} rows; the most is {MAX_POINTS}")
    _PROBLEM.pack_into(into, at, *words, options)
    return keep


def _torch_words(problem: RayDist, device: int, keep: list[Any]) -> list[int]:
    Xf = problem.Xf
    words = [Xf.shape[0], *_rows("Xf", Xf, 3, device, keep)]
    if isinstance(problem, Calib):
        words += _rows("meas_k", problem.meas_k, 3, device, keep)
        K, meas = _whole("K", problem.K, device, keep), _mask("valid_meas_k", problem.valid_meas_k, device)
    else:
        words += _rows("Xk", problem.Xk, 3, device, keep)
        K, meas = 0, (0, 0)
    words += _rows("Qk", problem.Qk, 1, device, keep)
    words += _mask("valid_opt", problem.valid_opt, device)
    words += meas
    words += (_whole("T_WCf", problem.T_WCf, device, keep), _whole("T_WCk", problem.T_WCk, device, keep), K)
    return words


def _rows(name: str, tensor: Any, columns: int, device: int, keep: list[Any]) -> tuple[int, int, int]:
    if tensor.get_device() != device:
        raise _elsewhere(name, tensor, device)
    if tensor.dtype is not _float32():
        tensor = tensor.float()
        keep.append(tensor)
    if tensor.is_contiguous():
        return tensor.data_ptr(), columns, 1
    return (tensor.data_ptr(), *tensor.stride())


def _mask(name: str, tensor: Any, device: int) -> tuple[int, int]:
    if tensor.get_device() != device:
        raise _elsewhere(name, tensor, device)
    return tensor.data_ptr(), tensor.stride(0)


def _whole(name: str, tensor: Any, device: int, keep: list[Any]) -> int:
    if tensor.get_device() != device:
        raise _elsewhere(name, tensor, device)
    if tensor.dtype is not _float32() or not tensor.is_contiguous():
        tensor = tensor.float().contiguous()
        keep.append(tensor)
    address: int = tensor.data_ptr()
    return address


def _elsewhere(name: str, tensor: Any, device: int) -> ProblemError:
    return ProblemError(name, f"is on {tensor.device}, Xf is on cuda:{device}")


def _other_words(problem: RayDist) -> list[int]:
    """The same from ``__cuda_array_interface__``. Work still under way on an array's own stream is waited for."""
    calib = isinstance(problem, Calib)
    target = "meas_k" if calib else "Xk"
    at: dict[str, tuple[int, tuple[int, ...]]] = {}
    for name in ("Xf", target, "Qk", "valid_opt", "T_WCf", "T_WCk", *(("valid_meas_k", "K") if calib else ())):
        is_mask = name.startswith("valid")
        interface = _interface(name, getattr(problem, name))
        shape, strides = interface["shape"], interface.get("strides")
        item = 1 if is_mask else 4
        if interface["typestr"] not in (("|b1",) if is_mask else ("<f4", "=f4")):
            raise ProblemError(name, f"has type {interface['typestr']}; without torch it must be {'|b1' if is_mask else '<f4'}")
        if strides is None:
            strides = (shape[1] * item, item)
        elif any(step % item for step in strides):
            raise ProblemError(name, f"has strides of {strides} bytes; they must be multiples of {item}")
        if name in ("T_WCf", "T_WCk", "K") and (strides[1] != item or (name == "K" and strides[0] != 3 * item)):
            raise ProblemError(name, "must be contiguous")
        if interface.get("stream") not in (None, 1):
            driver.call("cuStreamSynchronize", interface["stream"])
        at[name] = (interface["data"][0], tuple(step // item for step in strides))
    words = [problem.n_points]
    for name in ("Xf", target, "Qk"):
        words += [at[name][0], *at[name][1]]
    for name in ("valid_opt", "valid_meas_k"):
        words += [at[name][0], at[name][1][0]] if name in at else [0, 0]
    return [*words, at["T_WCf"][0], at["T_WCk"][0], at["K"][0] if calib else 0]


def _interface(name: str, array: Any) -> dict[str, Any]:
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise ProblemError(name, f"is a {type(array).__name__}; the cuda solver reads torch tensors and __cuda_array_interface__")
    found: dict[str, Any] = interface
    return found


@cache
def _float32() -> Any:
    import torch

    return torch.float32
