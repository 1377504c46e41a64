"""One line of the doctor's answer, and the text in it: on one line, printable, of a bounded length."""

from __future__ import annotations

from dataclasses import dataclass

STATES = ("ok", "warn", "fail", "skip")
_LONGEST = 700


@dataclass(frozen=True)
class Check:
    """``state`` is one of ``STATES``; ``fix`` says what to do and is never empty for ``warn`` and ``fail``.

    ``skip`` is for what does not apply here or could not be looked at; ``detail`` says which.
    """

    name: str
    state: str
    detail: str
    fix: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"{self.name}: {self.state!r} is none of {', '.join(STATES)}")
        if self.state in ("warn", "fail") and not self.fix:
            raise ValueError(f"{self.name}: {self.state} without a fix")

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "state": self.state, "detail": self.detail, "fix": self.fix}


def ok(name: str, detail: str) -> Check:
    return Check(name, "ok", detail)


def warn(name: str, detail: str, fix: str) -> Check:
    return Check(name, "warn", detail, fix)


def fail(name: str, detail: str, fix: str) -> Check:
    return Check(name, "fail", detail, fix)


def skip(name: str, detail: str, fix: str = "") -> Check:
    return Check(name, "skip", detail, fix)


def worst(name: str, judged: list[Check], fine: str, otherwise: str = "ok") -> Check:
    """One line of several: the worst state, with details and fixes of all that are warn or fail; without any, ``fine``."""
    bad = [check for state in ("fail", "warn") for check in judged if check.state == state]
    if not bad:
        return Check(name, otherwise, fine)
    fixes = dict.fromkeys(check.fix for check in bad)
    return Check(name, bad[0].state, "; ".join(check.detail for check in bad), "; ".join(fixes))


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Text that a stranger's program wrote, fit to be printed: no line ends, no terminal escapes, the middle of much left out."""
    clipped = text if len(text) <= 4 * longest else f"{text[: 2 * longest]} ... {text[-2 * longest :]}"
    words = " ".join(clipped.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in words)
    return shown if len(shown) <= longest else f"{shown[: longest // 2]} ... {shown[-longest // 2 :]}"
