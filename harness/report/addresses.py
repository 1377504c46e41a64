"""The address of a finding, drawn: against the allocation next to it, and byte for byte against the multiples of 4, 8 and 16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.report.pictures.drawing import tag, text
from harness.report.text import shorten

_CELL, _CELLS, _TOP, _TALL = 12, 64, 78, 22
_WIDTH = _CELL * _CELLS
_ADDRESSES = 1 << 64


@dataclass(frozen=True)
class Access:
    """``size`` in bytes, None where it is not known; the allocation is (address, size), None where none is known."""

    address: int
    size: int | None
    direction: str
    allocation: tuple[int, int] | None

    @property
    def end(self) -> int:
        return self.address + (self.size or 1)

    @property
    def past_multiple(self) -> int:
        """Bytes past a multiple of its size; 0 when aligned, or when there is no such rule for the size."""
        return self.address % self.size if self.size and self.size & (self.size - 1) == 0 and self.size <= 128 else 0


def access_of(finding: Mapping[str, Any]) -> Access | None:
    """None where the finding has no address, or none that a machine has: outcomes may be of somebody's own making."""
    address, size, near = finding.get("address"), finding.get("size"), finding.get("nearest_allocation")
    if not isinstance(address, int) or not _is_count(address, least=0):
        return None
    allocation = None
    if isinstance(near, Mapping) and _is_count(near.get("address"), least=0) and _is_count(near.get("size"), least=1):
        allocation = (near["address"], near["size"])
    direction = str(finding.get("direction") or "access")
    return Access(address, size if _is_count(size, least=1) else None, shorten(direction, 20), allocation)


def _is_count(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < _ADDRESSES


def address_drawing(finding: Mapping[str, Any]) -> Markup:
    """Empty where there is nothing to draw."""
    access = access_of(finding)
    if access is None:
        return Markup()
    base = max(0, access.address - access.address % 16 - 16)
    parts = [_overview(access, base) if access.allocation else Markup(), _bytes(access, base), _ticks(access, base)]
    top, bottom = (0, 170) if access.allocation else (56, 154)
    return tag(
        "svg", *parts, class_="address", viewBox=f"-4 {top} {_WIDTH + 8} {bottom - top}", role="img", aria_label=said(access)
    )


def said(access: Access) -> str:
    """The drawing in words."""
    words = f"{access.direction} of {access.size} bytes" if access.size else f"{access.direction} of unknown size"
    words += f" at 0x{access.address:x}"
    if access.past_multiple:
        words += f", {access.past_multiple} past a multiple of {access.size}"
    if access.allocation is None:
        return words + "; no allocation is known there"
    start, size = access.allocation
    return f"{words}; {_where(access)} the allocation of {size} bytes from 0x{start:x} to 0x{start + size:x}"


def _where(access: Access) -> str:
    assert access.allocation is not None
    start, size = access.allocation
    if access.address < start:
        return f"{start - access.address:,} bytes before the start of"
    if access.address == start + size:
        return "right after the end of"
    if access.address > start + size:
        return f"{access.address - start - size:,} bytes past the end of"
    inside = f"{access.address - start:,} bytes into"
    over = access.end - start - size
    return f"{inside}, and {over} bytes past the end of," if over > 0 else inside


def _overview(access: Access, base: int) -> Markup:
    """The whole allocation, to scale within itself; what lies outside it is beside it, at no scale."""
    assert access.allocation is not None
    start, size = access.allocation
    left, right = 110.0, _WIDTH - 110.0
    if access.address < start:
        at = left - 20
    elif access.address >= start + size:
        at = right + 20
    else:
        at = left + (right - left) * (access.address - start) / size
    zones = _hatched(0, 20, left, 14) + _hatched(right, 20, _WIDTH - right, 14)
    funnel = f"M{at:.1f} 36L{_x(access.address, base)} {_TOP - 2}M{at:.1f} 36L{_x(min(access.end, base + _CELLS), base)} {_TOP - 2}"
    return tag(
        "g",
        tag("path", d=f"M0 20h{left:g}v14H0zM{right:g} 20h{_WIDTH - right:g}v14h-{_WIDTH - right:g}z", class_="out"),
        tag("path", d=zones, class_="hatch"),
        tag("path", d=f"M{left:g} 20h{right - left:g}v14h-{right - left:g}z", class_="in"),
        tag("path", d=funnel, class_="funnel"),
        tag("path", d=f"M{at:.1f} 17v20", class_="at"),
        text(left, 13, f"allocation of {size:,} bytes at 0x{start:x}"),
        text(right, 13, f"ends at 0x{start + size:x}", text_anchor="end"),
        text(0, 13, "not its own"), text(_WIDTH, 13, "not its own", text_anchor="end"),
        text(left, 50, f"the access is {_where(access).rstrip(',')} it"),
    )  # fmt: skip


def _bytes(access: Access, base: int) -> Markup:
    """64 bytes around the address, a cell each."""
    start, size = access.allocation or (0, 0)
    own = [x for x in range(_CELLS) if start <= base + x < start + size]
    other = [x for x in range(_CELLS) if access.allocation and x not in own]
    cells = tag("path", d=f"M0 {_TOP}h{_WIDTH}v{_TALL}H0z", class_="plain")
    for among, name in ((own, "in"), (other, "out")):
        cells += (
            tag("path", d="".join(f"M{x * _CELL} {_TOP}h{_CELL}v{_TALL}h-{_CELL}z" for x in among), class_=name) if among else ""
        )
    cells += tag("path", d="".join(_hatched(x * _CELL, _TOP, _CELL, _TALL) for x in other), class_="hatch") if other else ""
    grid = "".join(f"M{x * _CELL} {_TOP}v{_TALL}" for x in range(_CELLS + 1))
    cells += tag("path", d=grid, class_="grid")
    if access.past_multiple and access.size:
        slot = _x(access.address - access.past_multiple, base)
        cells += tag("path", d=f"M{slot} {_TOP - 5}h{access.size * _CELL}v{_TALL + 10}h-{access.size * _CELL}z", class_="slot")
    x, last = _x(access.address, base), min(_x(access.end, base), _WIDTH)
    cells += tag("path", d=f"M{x} {_TOP}h{last - x}v{_TALL}h-{last - x}z", class_="access")
    words = f"{access.direction} of {access.size} bytes" if access.size else f"{access.direction}, size not known"
    words += " (goes on)" if _x(access.end, base) > _WIDTH else ""
    return cells + text(x, _TOP - 8, f"{words} at 0x{access.address:x}", class_="name")


def _ticks(access: Access, base: int) -> Markup:
    """Multiples of 16, 8 and 4, the longer the larger; the multiples of 16 by their address."""
    low = _TOP + _TALL
    drawn = Markup()
    for step, long in ((4, 5), (8, 10), (16, 17)):
        at = [x for x in range(0, _CELLS + 1, 4) if (base + x) % step == 0 and (step == 16 or (base + x) % (2 * step))]
        drawn += tag("path", d="".join(f"M{x * _CELL} {low}v{long}" for x in at), class_=f"tick t{step}")
    for x in range(0, _CELLS, 16):
        drawn += text(x * _CELL + 3, low + 29, f"0x{base + x:x}")
    words = "Ticks: multiples of 4, 8 and 16 (the longest, with their addresses)."
    if access.past_multiple:
        words += f" Dashed: the last multiple of {access.size}; the access is {access.past_multiple} past it."
    elif access.size:
        words += f" The access is on a multiple of its {access.size} bytes." if access.address % access.size == 0 else ""
    drawn += text(0, low + 47, words)
    return drawn + text(0, low + 62, "Hatched: memory that is not the allocation's.") if access.allocation else drawn


def _x(address: int, base: int) -> int:
    return (address - base) * _CELL


def _hatched(x: float, y: float, width: float, height: float) -> str:
    """Slanted lines: what is out of bounds is told apart without colour, too."""
    return "".join(f"M{x + at:g} {y + height:g}l{min(6, width - at):g}-{height:g}" for at in range(0, int(width), 6))
