"""From results to what they say: the failures put together by how and where, the first failing rung, and the likely cause.

Pure: no file, no process, no library. A cause is named only where the pattern of what fails *and of what does not* speaks for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.probe.rungs import (
    CRASH,
    ERROR,
    NEAR_ZERO,
    NOT_TRIED,
    NOTHING_CAME,
    OK,
    PRINTS,
    REFUSED_DTYPES,
    UNAVAILABLE,
    WRONG,
    Result,
    Rung,
    is_simpler,
)  # fmt: skip
from harness.probe.where import where as where


@dataclass(frozen=True)
class Finding:
    """Failures of one kind: what happens (``how``), to which calls (``where``); cause and fix are empty where none is known."""

    how: str
    where: str
    first: Result
    count: int
    cause: str = ""
    fix: str = ""

    def __str__(self) -> str:
        because = f": {self.cause}" if self.cause else ""
        return f"{self.where} {self.how} ({self.count} rungs){because}" + (f" ({self.fix})" if self.fix else "")


def first_failing(results: Sequence[Result]) -> Result | None:
    """The lowest rung that failed; the ladder goes from the plainest call to the oddest."""
    return next((result for result in results if result.failed), None)


def findings(results: Sequence[Result]) -> tuple[Finding, ...]:
    """Failures by kind, the lowest rung's first. A call that fails in its plain form is no new finding in an odd one or in half."""
    failing = [result for result in results if result.failed]
    by_size: dict[tuple[Any, ...], list[Result]] = {}
    for result in failing:
        by_size.setdefault(_call(result.rung), []).append(result)
    kinds: dict[str, list[Result]] = {}
    for result in failing:
        plainer = by_size[_call(result.rung)]
        if result.rung.dtype in REFUSED_DTYPES:
            plainer = by_size.get(_call(replace(result.rung, dtype="float32")), []) + plainer
        same = (r for r in plainer if r.result == result.result and is_simpler(r.rung, result.rung) and _no_worse(result, r))
        kinds.setdefault(_kind(next(same)), []).append(result)
    found: list[Finding] = []
    for failed in kinds.values():
        cause, fix = next(((cause, fix) for name, cause, fix in _CAUSES if name(failed, results)), ("", ""))
        found.append(Finding(_how(failed), where(failed, results), failed[0], len(failed), cause, fix))
    return tuple(found)


def _no_worse(odd: Result, plain: Result) -> bool:
    """Whether an odd form fails as its plain one does: numbers that are a little off do not explain that none came."""
    return _came(odd) or not _came(plain)


def _came(result: Result) -> bool:
    """Whether it is wrong numbers that came back, and not NaN or nothing."""
    return (result.error is None or math.isfinite(result.error)) and NOTHING_CAME not in result.detail


def _call(rung: Rung) -> tuple[Any, ...]:
    """What layout, stream and thread are forms of."""
    return (rung.op, rung.group, rung.dtype, rung.device, rung.batch)


def conclusion(target: str, results: Sequence[Result]) -> str:
    """What the ladder says, in sentences."""
    tried = [r for r in results if r.result != UNAVAILABLE]
    if not tried:
        return f"{target}: nothing could be tried."
    found = findings(results)
    devices = " and ".join(dict.fromkeys(r.rung.device for r in tried))
    if not found:
        return f"{target}: all {len(tried)} rungs are ok on {devices}."
    count = sum(r.failed for r in results)
    return f"{target}: {count} of {len(tried)} rungs fail on {devices}. " + " ".join(f"{finding}." for finding in found)


# --- how -------------------------------------------------------------------------------------------------------------------------


def _kind(result: Result) -> str:
    """What failures must share to be one finding."""
    rung = result.rung
    if result.result == CRASH:
        return f"{CRASH} {_death(result)} {rung.device}"
    if result.result == ERROR:
        return f"{ERROR} {re.sub(r'[0-9]+', 'N', result.detail)[:80]} {rung.device}"
    if rung.dtype in REFUSED_DTYPES:
        return f"{WRONG} for a refusal"
    if rung.batch == 0:
        return f"{WRONG} for nothing {rung.op}"
    if not rung.is_plain:
        return f"{WRONG} {rung.layout} {rung.stream} {rung.thread}"
    if result.error is None:
        return f"{WRONG} {rung.op} {re.sub(r'[0-9]+', 'N', result.detail)[:80]}"
    if not rung.near_zero:
        return f"{WRONG} {rung.op}"
    return f"{WRONG} {NEAR_ZERO} {'digits' if _came(result) else 'nothing' if NOTHING_CAME in result.detail else 'NaN'}"


def _death(result: Result) -> str:
    return result.detail.split(":")[0].split(",")[0] if result.exit is None else str(result.exit["name"])


def _how(failed: Sequence[Result]) -> str:
    first = failed[0]
    if first.result == CRASH:
        return {"hang": "hangs", PRINTS: PRINTS}.get(_death(first), f"dies of {_death(first)}")
    if first.result == ERROR and first.detail.startswith(NOT_TRIED):
        return first.detail[:160]
    if first.result == ERROR:
        return f"raises {first.detail[:160]}"
    errors = [r.error for r in failed if r.error is not None]
    if not errors or first.rung.dtype in REFUSED_DTYPES:
        return f"is wrong, {first.detail}"
    worst = max(errors)
    return "gives NaN" if worst == float("inf") else f"is wrong by up to {worst:.2g}"


# --- why -------------------------------------------------------------------------------------------------------------------------


def _all(failed: Sequence[Result], test: Callable[[Rung], bool]) -> bool:
    return all(test(r.rung) for r in failed)


def _is_cuda_path(failed: Sequence[Result], results: Sequence[Result]) -> bool:
    """Every op of the extension dies on a GPU, whatever the group and dtype, and the same calls are right on the CPU."""
    if failed[0].result != CRASH or not _all(failed, lambda rung: rung.device.startswith("cuda")):
        return False
    dead = {(r.rung.op, r.rung.group) for r in failed}
    on_cuda, on_cpu = ([r for r in results if r.rung.device.startswith(device)] for device in ("cuda", "cpu"))
    tried = {(r.rung.op, r.rung.group) for r in on_cuda if r.rung.name not in ("Identity", "matrix")}
    fine = {(r.rung.op, r.rung.group) for r in on_cpu if r.result == OK and r.rung.is_plain and r.rung.batch}
    memory = any(_death(r) in ("SIGSEGV", "SIGBUS", "STATUS_ACCESS_VIOLATION") for r in failed)
    return memory and len(tried) > 1 and dead >= tried and len(dead & fine) == len(dead)


def _is_cpu_path(failed: Sequence[Result], results: Sequence[Result]) -> bool:
    """Calls on the CPU do nothing at all, of every op that is not Python, and the same calls are right on a GPU."""
    plain = [r for r in failed if r.rung.dtype not in REFUSED_DTYPES]
    if not plain or not _all(failed, lambda rung: rung.device == "cpu") or not all(NOTHING_CAME in r.detail for r in plain):
        return False
    own = [r for r in results if r.rung.name not in ("Identity", "matrix") and r.rung.dtype not in REFUSED_DTYPES]
    own = [r for r in own if not r.rung.near_zero]  # there zeros may be right
    on_cpu = [r for r in own if r.rung.device == "cpu" and r.rung.batch]
    silent, right = (
        {r.rung.op for r in on_cpu if test(r)} for test in (lambda r: NOTHING_CAME in r.detail, lambda r: r.result == OK)
    )
    on_cuda = {(r.rung.op, r.rung.group) for r in results if r.rung.device.startswith("cuda") and r.result == OK and r.rung.batch}
    return len(silent) > 1 and not right and {(r.rung.op, r.rung.group) for r in failed} <= on_cuda


def _is_empty_launch(failed: Sequence[Result], results: Sequence[Result]) -> bool:
    """An error of a launch at batch 0, or at the next call, where one that nobody looked at comes up."""
    batches = {r.rung.batch for r in failed}
    words = ("invalid configuration", "(9)", "invalid argument")
    return 0 in batches and batches <= {0, 1} and any(word in failed[0].detail for word in words)


def _loses_digits(failed: Sequence[Result], results: Sequence[Result]) -> bool:
    """Near zero the result is a number, and not the right one. NaN, and what was never written, have other causes."""
    return _all(failed, lambda rung: rung.near_zero) and all(r.error is not None and _came(r) for r in failed)


def _only(dimension: str, value: object) -> Callable[[Sequence[Result], Sequence[Result]], bool]:
    """All failures have this value, and the same calls with another are right."""

    def test(failed: Sequence[Result], results: Sequence[Result]) -> bool:
        if not _all(failed, lambda rung: getattr(rung, dimension) == value):
            return False
        calls = {(r.rung.op, r.rung.group, r.rung.device) for r in failed}
        fine = {(r.rung.op, r.rung.group, r.rung.device) for r in results if r.result == OK and getattr(r.rung, dimension) != value}
        return calls <= fine

    return test


def _says(*words: str) -> Callable[[Sequence[Result], Sequence[Result]], bool]:
    return lambda failed, results: any(word in failed[0].detail for word in words)


_CAUSES: tuple[tuple[Callable[[Sequence[Result], Sequence[Result]], bool], str, str], ...] = (
    (
        _is_cuda_path,
        "the same calls are right on the CPU, and no single op, group or size is to blame, so this is the CUDA path itself running "
        "host code on device pointers: a host symbol collision, two functions of one name in the CPU and the GPU file that the "
        "linker took for one",
        "confirm it with harness audit on the extension and its objects; rebuild with nvcc -static-global-template-stub=true, the "
        "default from CUDA 13, or use sim3solve, which does not call it",
    ),
    (_says("no kernel image", "(209)"), "the extension holds no code for this GPU", "rebuild it, with TORCH_CUDA_ARCH_LIST"),
    (_says("unsupported toolchain", "(222)"), "its PTX is newer than the driver", "update the driver, or ship cubin"),
    (
        _is_cpu_path,
        "the same calls are right on a GPU, so the CPU path launches kernels on host memory: a host symbol collision, in which the "
        "linker took the launch stubs of the GPU file for the functions of the CPU file",
        "confirm it with harness audit on the objects; rebuild with nvcc -static-global-template-stub=true, the default "
        "from CUDA 13",
    ),
    (_is_empty_launch, "an empty batch is a launch of 0 blocks, and nobody looked", "return early for an empty batch"),
    (
        lambda failed, results: _all(failed, lambda rung: rung.dtype in REFUSED_DTYPES) and failed[0].result == WRONG,
        "its dispatch passes over dtypes it does not know", "refuse them: default: TORCH_CHECK(false)",
    ),
    (
        _only("stream", "side"),
        "it works on another stream than the current one, so it reads operands before they are written",
        "launch on at::cuda::getCurrentCUDAStream()",
    ),
    (_only("layout", "strided"), "it takes operands for contiguous that are not", "call contiguous() or read the strides"),
    (_only("layout", "offset"), "it needs operands aligned to more than their element", "load elements, or check the address"),
    (_only("thread", "other"), "it depends on the thread it is called on", ""),
    (
        _loses_digits,
        "closed forms such as (1 - cos x) / x^2 cancel there; its threshold for the series is too small",
        "switch to the series below about 1e-2 in float32",
    ),
)  # fmt: skip
