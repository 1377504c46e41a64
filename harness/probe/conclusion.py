"""From results to what they say: the failures put together by how and where, the first failing rung, and the likely cause.

Pure: no file, no process, no library. A cause is named only where the pattern of what fails *and of what does not* speaks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.probe.rungs import (
    ALL_OPS,
    CRASH,
    ERROR,
    GROUP_NAMES,
    NEAR_ZERO,
    NOTHING_CAME,
    OK,
    REFUSED_DTYPES,
    UNAVAILABLE,
    WRONG,
    Result,
    Rung,
    is_simpler,
)  # fmt: skip

_DIMENSIONS = ("device", "group", "op", "dtype", "batch", "layout", "stream", "thread")


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
        same = (r for r in plainer if r.result == result.result and is_simpler(r.rung, result.rung))
        kinds.setdefault(_kind(next(same)), []).append(result)
    found: list[Finding] = []
    for failed in kinds.values():
        cause, fix = next(((cause, fix) for name, cause, fix in _CAUSES if name(failed, results)), ("", ""))
        found.append(Finding(_how(failed), where(failed, results), failed[0], len(failed), cause, fix))
    return tuple(found)


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


# --- where -----------------------------------------------------------------------------------------------------------------------


def where(failed: Sequence[Result], results: Sequence[Result]) -> str:
    """In which calls: a dimension is named where some of its values that were tried do not fail."""
    failing = {r.rung for r in failed}
    if failed[0].result == CRASH:  # what was left out after a death counts with it
        dead = {(rung.op, rung.group, rung.dtype, rung.device) for rung in failing}
        failing |= {r.rung for r in results if r.not_climbed and (r.rung.op, r.rung.group, r.rung.dtype, r.rung.device) in dead}
    near_zero, refused = all(rung.near_zero for rung in failing), all(rung.dtype in REFUSED_DTYPES for rung in failing)
    if not refused:
        failing = {rung for rung in failing if rung.dtype not in REFUSED_DTYPES}
    alike = [r.rung for r in results if r.result != UNAVAILABLE and (r.rung.dtype in REFUSED_DTYPES) == refused]
    if not near_zero:
        failing = {rung for rung in failing if not rung.near_zero}
    tried = failing.union(rung for rung in alike if rung.near_zero == near_zero)
    named: dict[str, str] = {}
    for dimension in _DIMENSIONS:
        # Only a GPU has streams: on the devices that fail, is there another that does not?
        peers = tried if dimension != "stream" else {r for r in tried if r.device in {f.device for f in failing}}
        values, all_values = ({getattr(rung, dimension) for rung in rungs} for rungs in (failing, peers))
        if values != all_values or (dimension in ("op", "group") and len(values) == 1):
            named[dimension] = _some(values, all_values)
    op, group = named.pop("op", ""), named.pop("group", "")
    if near_zero and not op:
        op = "exp, log and retr near 0"
    if op and group and " " not in op + group:
        words = [f"{group}.{op}"]
    else:
        words = [op or "every op", *([f"of {group}"] if group else [])]
    phrases = {
        "device": "on {}", "dtype": "in {}", "batch": "at batch {}", "layout": "with {} operands", "stream": "on a {} stream",
        "thread": "on the {} thread",
    }  # fmt: skip
    words += [phrases[name].format(value) for name, value in named.items()]
    return " ".join(words).replace("at batch every batch", "at every batch")


def _some(values: set[Any], all_values: set[Any]) -> str:
    missing = all_values - values
    if len(missing) <= 2 < len(values):
        kind = "batch" if isinstance(next(iter(values)), int) else "op" if values & set(ALL_OPS) else "one"
        return f"every {kind} but {_list(missing)}"
    return _list(values)


def _list(values: Iterable[Any]) -> str:
    texts = [str(value) for value in sorted(values, key=_in_order)]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _in_order(value: Any) -> tuple[int, Any]:
    orders = (ALL_OPS, GROUP_NAMES)
    return next(((order.index(value), "") for order in orders if value in order), (0, value))


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
    return f"{WRONG} {NEAR_ZERO if rung.near_zero else rung.op}"


def _death(result: Result) -> str:
    return result.detail.split(":")[0].split(",")[0] if result.exit is None else str(result.exit["name"])


def _how(failed: Sequence[Result]) -> str:
    first = failed[0]
    if first.result == CRASH:
        return "hangs" if first.exit is None and first.detail.startswith("hang") else f"dies of {_death(first)}"
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
        lambda failed, results: failed[0].result == WRONG and _all(failed, lambda rung: rung.near_zero),
        "closed forms such as (1 - cos x) / x^2 cancel there; its threshold for the series is too small",
        "switch to the series below about 1e-2 in float32",
    ),
)  # fmt: skip
