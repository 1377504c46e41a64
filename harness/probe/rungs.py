"""The rungs of the ladder, and the order they are climbed in: from the plainest call to the oddest. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

OPERANDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Identity": (), "inv": ("X",), "mul": ("X", "Y"), "act": ("X", "p"), "act4": ("X", "p"), "retr": ("X", "a"), "exp": ("a",),
        "log": ("X",), "adj": ("X", "a"), "adjT": ("X", "a"), "matrix": ("X",),
    }
)  # fmt: skip
"""Every operation and its operands: elements X and Y, a tangent a, points p."""
NOTHING_CAME = "nothing but zeros or NaN came back"
NEAR_ZERO = " near 0"
NEAR_ZERO_OPS = tuple(f"{op}{NEAR_ZERO}" for op in ("exp", "log", "retr"))
"""The same with rotations and log scales of 1e-6 to 1e-2, where closed forms cancel."""
ALL_OPS = (*OPERANDS, *NEAR_ZERO_OPS)

GROUP_NAMES = ("SO3", "RxSO3", "SE3", "Sim3")
DTYPES = ("float32", "float64")
REFUSED_DTYPES = ("float16", "bfloat16")
BATCHES = (1, 7, 4097, 0)
LAYOUTS = ("contiguous", "strided", "offset")
STREAMS = ("default", "side")
THREADS = ("main", "other")

OK, WRONG, CRASH, ERROR, UNAVAILABLE = "ok", "wrong", "crash", "error", "unavailable"
FAILURES = (WRONG, CRASH, ERROR)


@dataclass(frozen=True)
class Rung:
    """One call. ``offset`` starts one element into its storage: with float32 that is 4 bytes off every alignment."""

    op: str
    group: str
    dtype: str
    device: str
    batch: int
    layout: str = "contiguous"
    stream: str = "default"
    thread: str = "main"

    @property
    def name(self) -> str:
        return self.op.removesuffix(NEAR_ZERO)

    @property
    def near_zero(self) -> bool:
        return self.op.endswith(NEAR_ZERO)

    @property
    def is_plain(self) -> bool:
        return (self.layout, self.stream, self.thread) == ("contiguous", "default", "main")

    def __str__(self) -> str:
        words = (self.layout, f"{self.stream} stream", f"{self.thread} thread")
        odd = [word for word in words if word not in ("contiguous", "default stream", "main thread")]
        return ", ".join([f"{self.group}.{self.op} on {self.device} in {self.dtype}, batch {self.batch}", *odd])


@dataclass(frozen=True)
class Result:
    """How a rung went. ``error`` is the largest error over max(1, |expected|); ``exit`` how the process ended when it died."""

    rung: Rung
    result: str
    error: float | None = None
    detail: str = ""
    exit: Mapping[str, Any] | None = None

    @property
    def failed(self) -> bool:
        return self.result in FAILURES

    @property
    def not_climbed(self) -> bool:
        """Left out because a rung below it killed the process."""
        return self.result == UNAVAILABLE and self.detail.startswith(NOT_CLIMBED)

    def to_json(self) -> dict[str, Any]:
        exit = None if self.exit is None else dict(self.exit)
        return asdict(self.rung) | {"result": self.result, "error": self.error, "detail": self.detail, "exit": exit}


NOT_CLIMBED = "not climbed: "
NOT_TRIED = "could not be tried: "
PRINTS = "prints without end"


def ladder(devices: Sequence[str], groups: Sequence[str] = GROUP_NAMES) -> tuple[Rung, ...]:
    """Every rung, plain ones first. Streams are a GPU's; other dtypes must be refused, or computed, once each."""
    rungs: list[Rung] = []
    for device in devices:
        streams = STREAMS if device.startswith("cuda") else STREAMS[:1]
        for op in ALL_OPS:
            for group in groups:
                layouts = LAYOUTS if OPERANDS[op.removesuffix(NEAR_ZERO)] else LAYOUTS[:1]
                rungs += [
                    Rung(op, group, dtype, device, batch, layout, stream, thread)
                    for dtype in DTYPES
                    for batch in BATCHES
                    for layout in layouts
                    for stream in streams
                    for thread in THREADS
                ]
                if not op.endswith(NEAR_ZERO):
                    rungs += [Rung(op, group, dtype, device, 7) for dtype in REFUSED_DTYPES]
    return tuple(sorted(rungs, key=_height))


def _height(rung: Rung) -> tuple[int, ...]:
    oddness = (rung.layout != "contiguous") + (rung.stream != "default") + (rung.thread != "main")
    return (
        not rung.device.startswith("cpu"), rung.dtype in REFUSED_DTYPES, rung.near_zero, oddness, LAYOUTS.index(rung.layout),
        BATCHES.index(rung.batch), (*DTYPES, *REFUSED_DTYPES).index(rung.dtype), ALL_OPS.index(rung.op),
        GROUP_NAMES.index(rung.group),
    )  # fmt: skip


def below_a_death(rung: Rung, deaths: Sequence[Rung]) -> str | None:
    """Why ``rung`` need not be climbed after ``deaths``, or None.

    A call that dies in its plain form dies in its odd forms too, and one that dies at two sizes dies by its nature: each of
    them would cost a process and say nothing new. Another size is always tried until two have died.
    """
    same_call = [d for d in deaths if (d.op, d.group, d.dtype, d.device) == (rung.op, rung.group, rung.dtype, rung.device)]
    for death in same_call:
        if death.batch == rung.batch and is_simpler(death, rung):
            return f"{NOT_CLIMBED}{death} dies already"
    sizes = sorted({d.batch for d in same_call})
    if len(sizes) > 1 and rung.batch:  # nothing is another matter: there may be no call at all
        return f"{NOT_CLIMBED}it dies at batch {sizes[0]} and {sizes[1]} already"
    return None


def is_simpler(a: Rung, b: Rung) -> bool:
    """Whether ``a`` is as odd as ``b`` or less, in each of layout, stream and thread."""
    pairs = ((a.layout, b.layout, "contiguous"), (a.stream, b.stream, "default"), (a.thread, b.thread, "main"))
    return all(x in (y, plain) for x, y, plain in pairs)
