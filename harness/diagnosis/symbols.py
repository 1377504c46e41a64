"""Whether a symbol is the function that was called: by its name, and by the group, number type and direction in the name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.diagnosis.documents import Collision

_GROUPS = ("SO3", "RxSO3", "SE3", "Sim3")
_NUMBERS = {"float": "float32", "double": "float64", "Half": "float16", "BFloat16": "bfloat16"}
_HEAD = re.compile(r"(?:[\w:~]+[ *&]+)*([\w:~]+)\s*(?:<|\(|$)")


@dataclass(frozen=True)
class Call:
    """``names`` of the operation or function; ``dtypes`` of its operands, empty where they are not known."""

    names: tuple[str, ...]
    group: str
    dtypes: tuple[str, ...]
    backward: bool = False


@dataclass(frozen=True)
class Named:
    """A collision whose function has the call's name. ``apart`` is what else in its name is another's, or cannot be told."""

    collision: Collision
    whole: bool
    apart: tuple[str, ...]

    @property
    def exact(self) -> bool:
        return not self.apart


def nearest(collisions: Iterable[Collision], call: Call) -> tuple[Named, ...]:
    """Those named as the call is, the nearest first."""
    named = [it for collision in collisions if (it := _named(collision, call)) is not None]
    return tuple(sorted(named, key=lambda it: len(it.apart)))


def _named(collision: Collision, call: Call) -> Named | None:
    readable = collision.demangled
    if not readable or readable == collision.symbol:
        if not any(_has_word(collision.symbol, name) for name in call.names):
            return None
        plain = re.fullmatch(r"[A-Za-z_]\w*", readable) is not None and not readable.startswith("_Z")  # extern "C"
        return Named(collision, collision.symbol in call.names, () if plain else ("mangled",))
    head = _HEAD.match(readable)
    function = head[1].rpartition("::")[2] if head else readable
    if not any(_has_word(function, name) for name in call.names):
        return None
    arguments = _template_arguments(readable)
    groups = [group for group in _GROUPS if re.search(rf"\b{group}\b", arguments)]
    numbers = {dtype for word, dtype in _NUMBERS.items() if re.search(rf"\b{word}\b", arguments)}
    way = "backward" if call.backward else "forward"
    apart = {
        "group": bool(groups) and call.group not in groups,
        "number type": bool(numbers) and not (call.dtypes and numbers <= set(call.dtypes)),
        "direction": any(_has_word(function, word) for word in {"forward", "backward"} - {way}),
    }
    return Named(collision, function in call.names, tuple(what for what, is_so in apart.items() if is_so))


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z0-9])", name) is not None


def _template_arguments(readable: str) -> str:
    """What stands between the first < and its >; empty for a function that is no template."""
    start = readable.partition("(")[0].find("<")
    depth = 0
    for at in range(start, len(readable) if start >= 0 else start):
        depth += {"<": 1, ">": -1}.get(readable[at], 0)
        if depth == 0:
            return readable[start + 1 : at]
    return ""
