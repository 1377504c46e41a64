"""README.txt of a bundle: what happened, how to repeat it on POSIX and in PowerShell, what is in the zip and what is not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.text import clean


@dataclass(frozen=True)
class Contents:
    name: str
    bytes: int
    what: str


@dataclass(frozen=True)
class Repeat:
    """The command that repeats an outcome, as words and as each shell wants it."""

    words: tuple[str, ...]

    @property
    def posix(self) -> str:
        return shlex.join(self.words)

    @property
    def powershell(self) -> str:
        return " ".join(_powershell(word) for word in self.words)


def readme(
    outcome: Mapping[str, Any], repeat: Repeat, contents: Sequence[Contents], taken_out: Mapping[str, int], archive: str, *,
    has_solver: bool,
) -> str:  # fmt: skip
    """``outcome`` is the scrubbed document of the outcome that is sent. Lines end with CR LF: any Windows shows them."""
    diagnosis = outcome.get("diagnosis") or {}
    stem = archive.removesuffix(".zip") or "crash"
    said = (("cause", "sentence"), ("sure", "confidence"), ("fix", "fix"))
    lines = [
        "WHAT HAPPENED", "",
        f"  {outcome['outcome']}: {outcome.get('verdict') or outcome.get('reason') or ''}",
        *[f"  {name:10} {diagnosis[key]}" for name, key in said if key in diagnosis],
        f"  signature  {outcome.get('signature') or 'none'}", "",
        "HOW TO REPEAT IT", "",
        "Python 3.11 or newer, and sim3solve with its harness installed (python -m pip install -e . in a clone).", "",
        "Linux, macOS:", "",
        f"  unzip {shlex.quote(archive)} -d {shlex.quote(stem)} && cd {shlex.quote(stem)}",
        f"  {repeat.posix}", "",
        "Windows PowerShell:", "",
        f"  Expand-Archive {_powershell(archive)} -DestinationPath {_powershell(stem)}; cd {_powershell(stem)}",
        f"  {repeat.powershell}", "",
        *[line for need in needs(repeat, has_solver=has_solver) for line in (need, "")],
        f"It is repeated when the outcome is {_end(outcome)} with the signature above (harness diagnose reports/latest).", "",
        "WHAT IS IN HERE", "",
        *[f"  {it.name:40} {it.bytes:10} bytes  {it.what}" for it in contents], "",
        "WHAT WAS TAKEN OUT", "",
        f"  {taken_out_words(taken_out)}.",
        "  Names, paths, addresses and keys are shown as <user>, <host>, <path>, <ip>, <mac>, <email>, <uuid>, <secret>; <ip> may",
        "  also stand for a version number of four parts. The numbers of the case are what the solver was given, unchanged.",
    ]  # fmt: skip
    return "\r\n".join(clean(line).replace("\n", " ") for line in lines) + "\r\n"


def taken_out_words(taken_out: Mapping[str, int]) -> str:
    """``2 paths, 1 user name``."""
    plural = {"MAC address": "MAC addresses", "IP address": "IP addresses", "e-mail address": "e-mail addresses"}
    words = [f"{count} {what if count == 1 else plural.get(what, what + 's')}" for what, count in taken_out.items()]
    return ", ".join(words) or "nothing was found that had to be"


def needs(repeat: Repeat, *, has_solver: bool) -> list[str]:
    """What whoever repeats it must have besides the bundle, a sentence each."""
    solver = repeat.words[repeat.words.index("--solver") + 1]
    if solver.startswith("mast3r-slam:"):
        return ["The solver is the tracker of a checkout of MASt3R-SLAM: put its folder in the place of PATH-OF-YOUR-CHECKOUT."]
    if ".py:" in solver and not has_solver:
        file = solver.partition(":")[0]
        return [f"The solver is a file that is not in here: ask for {file} (harness bundle --solver-file adds it)."]
    return []


def _end(outcome: Mapping[str, Any]) -> str:
    wrong = outcome["outcome"] == "OK" and outcome.get("expected") is False
    return "OK, the pose wrong," if wrong else str(outcome["outcome"])


def _powershell(word: str) -> str:
    plain = word and all(c.isalnum() or c in "-_./:\\=+" for c in word) and word.isascii()
    return word if plain else "'" + word.replace("'", "''") + "'"
