"""Words for a recorded call: where it comes from, and what it did."""

from __future__ import annotations

import functools
import importlib.metadata
import math
import os
import platform
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from harness import cudaerror
from harness.case import Provenance, Recorded
from harness.record.inputs import NotRecordable, loaded_torch, tensor_of

_EXCEPTION_LIMIT = 20_000
_PACKAGES = ("torch", "lietorch", "numpy", "sim3solve", "pypose")


def exception_text(error: BaseException) -> str:
    """Type, message and traceback, from the solver's own frame on. Too long a one loses its middle."""
    frames = error.__traceback__
    if frames is not None and frames.tb_next is not None:
        frames = frames.tb_next  # the first is the recorder's
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception as second:  # noqa: BLE001  an exception whose own words raise is the program's, and may raise anything
        text = f"{type(error).__name__} (its message cannot be read: {type(second).__name__})"
    text = text.rstrip().encode("utf-8", "backslashreplace").decode()
    if len(text) > _EXCEPTION_LIMIT:
        text = f"{text[:2000]}\n ... \n{text[-(_EXCEPTION_LIMIT - 2100) :]}"
    return text


def recorded_result(value: Any) -> tuple[Recorded, bool]:
    """What a call returned, and whether that is two finite poses. Waits for the device they are on."""
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        return Recorded(event="returned", exception=f"returned a {type(value).__name__}, not (T_WCf, T_CkCf)"), False
    try:
        poses = {name: _pose(name, T) for name, T in zip(("T_WCf", "T_CkCf"), value, strict=False)}
    except NotRecordable as error:
        return Recorded(event="returned", exception=f"returned no two poses: {error}"), False
    except RuntimeError as error:
        return Recorded(event="returned", exception=_unreadable(error)), False
    finite = {name: pose for name, pose in poses.items() if all(math.isfinite(x) for x in pose)}
    strange = "; ".join(f"{name} = {list(pose)}" for name, pose in poses.items() if name not in finite)
    words = f"returned a pose that is not finite: {strange}" if strange else ""
    return Recorded(event="returned", exception=words, **finite), not strange  # type: ignore[arg-type]


def _pose(name: str, T: Any) -> tuple[float, ...]:
    tensor = tensor_of(name, T)
    if tensor.numel() != 8:
        raise NotRecordable(f"{name} has {tensor.numel()} numbers, a pose has 8")
    return tuple(float(x) for x in tensor.cpu().double().reshape(8).tolist())


def _unreadable(error: RuntimeError) -> str:
    text = f"returned, but its poses cannot be read: {error}"
    cuda = cudaerror.find(str(error))
    if cuda is not None and cuda.sticky:
        text += (
            f"\n{cuda.name} ({cuda.code}): {cuda.meaning}. The GPU could be read just before this call, so it died during it: "
            "of what the call launched, or of another thread's work."
        )
    return text[:_EXCEPTION_LIMIT]


def tracker_file(tracker: Any, method: str) -> str:
    """The file of the function that was called, without the recorder round it; empty where it is no Python."""
    function = getattr(tracker, method, None)
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return _printable(os.path.abspath(code.co_filename)) if code is not None else ""  # noqa: PTH100  Path takes links away


def provenance(tracker: Any, method: str, devices: Iterable[Any]) -> Provenance:
    """Who recorded what, of which program, with which versions."""
    owner = tracker if isinstance(tracker, type) else type(tracker)
    where = f"{owner.__module__}.{owner.__qualname__}.{method}"
    program = " ".join(getattr(sys, "orig_argv", sys.argv))
    return Provenance(
        source=_printable(f"recorded by harness record from {where} of: {program}"),
        licence="not stated: recorded from a running program",
        versions=_versions() | {f"gpu {device}": _gpu(device) for device in devices if device.type == "cuda"},
    )


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "os": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    torch = loaded_torch()
    return found | {"torch": str(torch.__version__)} | ({"cuda": torch.version.cuda} if torch.version.cuda else {})


@functools.cache
def _gpu(device: Any) -> str:
    return str(loaded_torch().cuda.get_device_name(device))


def _printable(text: str) -> str:
    clipped = text if len(text) <= 1900 else text[:1900] + " ..."
    return "".join(c if c.isprintable() else " " for c in clipped)
