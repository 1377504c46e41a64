"""Where a call's tensors lie: strides, alignment and what shares memory, as a case says it. Never the buffers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pydantic

from harness.case import TensorSpec
from harness.record.inputs import not_recordable

NEAR_BYTES = 64 << 10
"""Two tensors of one buffer that lie closer than this share a window, so that replay keeps their distance."""


@dataclass(frozen=True)
class Place:
    """One tensor in memory: addresses in bytes, strides and offset in elements."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    itemsize: int
    device: str
    address: int
    storage: int
    storage_offset: int

    @property
    def span(self) -> int:
        """Elements from its first to its last, both counted; 0 when it has none."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    @property
    def end(self) -> int:
        return self.address + self.span * self.itemsize

    def shares_with(self, other: Place) -> bool:
        """Whether both belong into one window: they overlap, or are neighbours in one buffer."""
        if self.device != other.device or not self.span or not other.span:
            return False
        apart = max(self.address, other.address) - min(self.end, other.end)
        return apart < 0 or (self.storage == other.storage and apart <= NEAR_BYTES)


def place_of(tensor: Any) -> Place:
    """Where a torch tensor lies."""
    return Place(
        str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), tuple(tensor.stride()), tensor.element_size(),
        str(tensor.device), tensor.data_ptr(), tensor.untyped_storage().data_ptr(), tensor.storage_offset(),
    )  # fmt: skip


def specs(places: Mapping[str, Place]) -> tuple[dict[str, TensorSpec], tuple[str, ...]]:
    """The spec of each tensor, and tags for what the case format has no words for.

    Raises ``NotRecordable`` for a dtype, a device or a size that no case can have.
    """
    tags = [f"address-rounded:{name}" for name, place in places.items() if place.address % place.itemsize]
    found: dict[str, TensorSpec] = {}
    shared = 0
    for names in _windows(places):
        base = _base([places[name] for name in names])
        alias = f"shared-{shared}" if len(names) > 1 else None
        shared += len(names) > 1
        for name in names:
            try:
                found[name] = _spec(places[name], base, alias)
            except pydantic.ValidationError as error:
                raise not_recordable(name, error) from None
    return {name: found[name] for name in places}, tuple(tags)


def _windows(places: Mapping[str, Place]) -> list[list[str]]:
    """Names by window: those that share with each other, also through a third."""
    groups = {name: [name] for name in places}
    for a, b in combinations(places, 2):
        if groups[a] is not groups[b] and places[a].shares_with(places[b]):
            groups[a].extend(groups[b])
            for name in groups[b]:
                groups[name] = groups[a]
    return list({id(group): group for group in groups.values()}.values())


def _base(places: Sequence[Place]) -> int:
    """The address where a window starts: near its tensors, and placed modulo 512 as the buffer they were cut from.

    What was offset in its buffer stays offset in its window, as code may look at that, but by less than 1024 bytes.
    """
    lowest = min(places, key=lambda place: place.address)
    inside = _rounded(lowest) - lowest.storage
    base = lowest.storage + max(inside // 512 - 1, 0) * 512 if inside >= 512 else lowest.storage
    if any((_rounded(place) - base) % place.itemsize for place in places):
        return _rounded(lowest) // 512 * 512  # types of different size, the buffer itself out of step with them
    return base


def _rounded(place: Place) -> int:
    return place.address // place.itemsize * place.itemsize


def _spec(place: Place, base: int, alias: str | None) -> TensorSpec:
    address = _rounded(place)
    offset = (address - base) // place.itemsize if place.span else 0
    return TensorSpec(
        dtype=place.dtype,  # type: ignore[arg-type]
        shape=place.shape,
        stride=place.stride,
        storage_offset=offset,
        data_ptr_mod_512=address % 512,
        device=place.device,
        alias_group=alias,
        original_storage_offset=place.storage_offset if place.storage_offset != offset else None,
    )
