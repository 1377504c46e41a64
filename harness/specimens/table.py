"""What must be found in each specimen, read from ``tests/specimens/table.toml``. Data only."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import BeforeValidator, Field

from harness.errors import SpecimenError
from harness.outcome import MEMORY_MODES, POOL, Kind
from harness.outcome import how as how_word

FILE = Path(__file__).resolve().parent.parent.parent / "tests" / "specimens" / "table.toml"
HOST_HOWS = ("none", "none+exact", "none+poison", "asan", "ubsan")
GPU_HOWS = ("none", "memcheck", "racecheck", "initcheck", "synccheck")
"""The tools and memory modes that a specimen may be looked at with; the second for those on a GPU."""
AUDIT_HOW = "audit"
"""The other way: its objects are audited, and nothing is run."""

TIMEOUT_S = 120.0
"""Longer than a replay's: a tool slows what it watches, and many run at once. What must hang has a limit of its own."""


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _kinds(value: object) -> object:
    words = _several(value)
    return tuple(Kind(word) for word in words) if isinstance(words, tuple) else words


def _is_how(how: str) -> str:
    split_how(how)
    return how


def split_how(how: str) -> tuple[str, str]:
    """(tool, memory mode) of ``memcheck+exact``. Raises ValueError."""
    tool, _, memory = how.partition("+")
    memory = memory or POOL
    if memory not in MEMORY_MODES or how_word(tool, memory) != how:
        raise ValueError(f"{how!r} is no tool and memory mode")
    return tool, memory


Words = Annotated[tuple[str, ...], BeforeValidator(_several)]
Outcomes = Annotated[tuple[Kind, ...], BeforeValidator(_kinds), Field(min_length=1)]
How = Annotated[str, pydantic.AfterValidator(_is_how)]


class Sight(_Document):
    """One way to look at a specimen, and what must be seen. What is empty or None is not looked at.

    ``kind``, ``space``, ``direction`` and ``size`` are those of one finding; ``says`` are words of an exception. ``cause`` is what
    the diagnosis must name.
    """

    how: How
    on: tuple[Literal["linux", "darwin", "win32"], ...] = ("linux", "darwin", "win32")
    environment: dict[str, str] = {}
    outcome: Outcomes
    signal: Words = ()
    cuda: tuple[int, ...] = ()
    status: Words = ()
    says: Words = ()
    pose: Literal["right", "wrong"] | None = None
    kind: Words = ()
    space: str | None = None
    direction: str | None = None
    size: int | None = None
    cause: str | None = None


class Audit(_Document):
    """Objects that an audit must name the fault in: a launch stub that collides, or a kernel that takes a ``long``.

    ``build`` is a script beside the table and its words; it gets a folder as last word, and leaves the objects there. ``symbols``
    are parts of the readable names that must be found. Nothing else may be.
    """

    build: Annotated[Words, Field(min_length=1)]
    check: Literal["collisions", "long"]
    symbols: Annotated[Words, Field(min_length=1)]


class Specimen(_Document):
    """A known-bad solver: what is wrong with it, what must be found, and what mends it.

    ``solver`` is FILE.py:FACTORY beside the table; ``gpus`` how many it needs; ``elsewhere`` what else may be seen under tools that
    no sight names: an outcome, for FINDINGS followed by the kind of finding.
    """

    name: str
    what: str
    solver: str
    cure: str
    sight: Annotated[tuple[Sight, ...], Field(min_length=1)]
    elsewhere: tuple[str, ...] = ()
    audit: Audit | None = None
    gpus: int = 0
    device: str = "auto"
    timeout_s: float = TIMEOUT_S

    @pydantic.field_validator("elsewhere")
    @classmethod
    def _known_outcomes(cls, elsewhere: tuple[str, ...]) -> tuple[str, ...]:
        for words in elsewhere:
            Kind(words.partition(" ")[0])
        return elsewhere


class Clean(_Document):
    """A solver without a fault, in which nothing may be found under the same settings."""

    solver: str
    how: tuple[How, ...]
    gpus: int = 0


class Table(_Document):
    """``case`` is a folder, from the repository's root."""

    case: str
    specimen: tuple[Specimen, ...]
    clean: tuple[Clean, ...] = ()

    @pydantic.field_validator("specimen")
    @classmethod
    def _names_differ(cls, specimens: tuple[Specimen, ...]) -> tuple[Specimen, ...]:
        names = [specimen.name for specimen in specimens]
        if len(set(names)) != len(names):
            raise ValueError("two specimens have one name")
        return specimens


def read_table(file: Path = FILE) -> Table:
    """Raises ``SpecimenError`` naming file and field."""
    try:
        text = file.read_text(encoding="utf-8")
        return Table.model_validate_json(json.dumps(tomllib.loads(text)))
    except OSError as error:
        raise SpecimenError(file, "file", error.strerror or str(error)) from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise SpecimenError(file, ".".join(map(str, first["loc"])) or "table", first["msg"]) from None
    except (ValueError, TypeError, RecursionError) as error:  # no TOML, no UTF-8, or a date where JSON has none
        raise SpecimenError(file, "toml", str(error)) from None
