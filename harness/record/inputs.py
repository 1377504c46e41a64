"""What a call of the tracker's solver was given: its tensors under upstream's names, and its options."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from harness.case import OptionsDocument
from harness.record.methods import KINDS
from sim3solve.problem import Options, field_shapes


class NotRecordable(Exception):
    """This call cannot be a case; the message says why."""


def not_recordable(what: str, error: pydantic.ValidationError) -> NotRecordable:
    """Why a document was refused, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join([what, *map(str, first["loc"])]).strip(".")
    return NotRecordable(f"{place}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": "))


@dataclass(frozen=True)
class Inputs:
    """``tensors``: torch tensors that share their memory with the tracker's own, without history or subclass."""

    kind: str
    tensors: Mapping[str, Any]
    options: OptionsDocument


def loaded_torch() -> Any:
    """The torch that the program itself imported. A recorder never imports it first: what is loaded when may be the bug."""
    torch = sys.modules.get("torch")
    if torch is None:
        raise NotRecordable("the program has not imported torch")
    return torch


def read_inputs(method: str, tracker: Any, arguments: tuple[Any, ...]) -> Inputs:
    """The inputs of one call, ``arguments`` in upstream's order without ``self``. Raises ``NotRecordable``."""
    kind = KINDS[method]
    names = tuple(field_shapes(kind, 0))
    wanted = len(names) + (kind == "calib")
    if len(arguments) < wanted:
        raise NotRecordable(f"{method} was called with {len(arguments)} arguments; upstream's has {wanted}")
    tensors = {name: tensor_of(name, value) for name, value in zip(names, arguments, strict=False)}
    return Inputs(kind, tensors, _options(getattr(tracker, "cfg", None), arguments[len(names)] if kind == "calib" else None))


def tensor_of(name: str, value: Any) -> Any:
    """A tensor as it lies in memory. Of a pose class, lietorch's or another, it is the tensor in ``.data``."""
    torch = loaded_torch()
    if name.startswith("T_") and type(value) is not torch.Tensor:
        value = getattr(value, "data", value)
    if not isinstance(value, torch.Tensor):
        raise NotRecordable(f"{name} is a {type(value).__name__}, not a tensor" + (" or a Sim3" if name.startswith("T_") else ""))
    return value.detach().as_subclass(torch.Tensor)


def _options(cfg: Any, img_size: Any) -> OptionsDocument:
    given = cfg if isinstance(cfg, Mapping) else {}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Options):
        if field.name in given and field.name != "img_size":
            try:
                values[field.name] = int(given[field.name]) if field.name == "max_iters" else float(given[field.name])
            except (TypeError, ValueError):
                raise NotRecordable(f"cfg[{field.name!r}] is no number: {given[field.name]!r:.100}") from None
    if img_size is not None:
        try:
            height, width = img_size
            values["img_size"] = (int(height), int(width))
        except (TypeError, ValueError):
            raise NotRecordable(f"img_size is not (height, width): {img_size!r:.100}") from None
    try:
        return OptionsDocument(**values)
    except pydantic.ValidationError as error:
        raise not_recordable("cfg", error) from None
