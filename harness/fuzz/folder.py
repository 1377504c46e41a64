"""The folder of a campaign: what is asked for, what is done and what was found, read with suspicion and written a line at a time.

It holds ``campaign.json`` (what is asked for), ``chunks.jsonl`` (a line per finished chunk) and ``finds/``: a folder per signature
with the case and ``find.json``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import jsonfile
from harness.errors import HarnessError, UsageError
from harness.fuzz.chunk import Chunk
from harness.runfolder import is_alive

CAMPAIGN, CHUNKS, FINDS, FIND = "campaign.json", "chunks.jsonl", "finds", "find.json"


@dataclass(frozen=True)
class Find:
    """One fault, once. ``rate`` of the confirming runs showed it again; ``count`` mutants had its signature."""

    signature: str
    what: str
    case: str
    rate: float
    count: int
    repeat: str
    minimized: str = ""


@dataclass(frozen=True)
class State:
    """How far a campaign is."""

    executions: int
    seconds: float
    finds: tuple[Find, ...]
    wanted: int


def open_folder(folder: Path, what: Mapping[str, Any], executions: int) -> None:
    """The folder, or the one that is there when it is of the same campaign: only the number of executions may be another."""
    file = folder / CAMPAIGN
    if file.exists():
        there = _asked(file)
        different = sorted(k for k in what if there.get(k) != what[k])
        if different:
            raise UsageError(f"{file}: another campaign is there ({', '.join(different)} differ); give another --out")
        if is_alive(folder):
            raise UsageError(f"{folder}: a process is at work on this campaign")
    try:
        (folder / FINDS).mkdir(parents=True, exist_ok=True)
        jsonfile.write_json(file, {**what, "executions": executions})
        _end_line(folder / CHUNKS)
    except OSError as error:
        raise HarnessError(f"{folder}: cannot write a campaign there: {error.strerror}") from error


def add_chunk(folder: Path, chunk: Chunk, executions: int) -> None:
    line = {"chunk": chunk.number, "executions": executions, "seconds": chunk.seconds, "signatures": chunk.signatures}
    with open(folder / CHUNKS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def add_find(place: Path, find: Find) -> None:
    jsonfile.write_json(place / FIND, dataclasses.asdict(find))


def chunks(folder: Path) -> Iterator[dict[str, Any]]:
    """Whatever is no whole line of a finished chunk was cut short by the end of its process: that chunk is done again."""
    file = folder / CHUNKS
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        try:
            line = json.loads(text)
            yield {
                "chunk": int(line["chunk"]), "executions": int(line["executions"]), "seconds": float(line["seconds"]),
                "signatures": tuple(map(str, line["signatures"])),
            }  # fmt: skip
        except (ValueError, KeyError, TypeError):
            continue


def read_state(folder: Path) -> State:
    """A campaign from its files. Raises ``UsageError`` where there is none, or a file is damaged."""
    asked = _asked(folder / CAMPAIGN)
    done = list(chunks(folder))
    counts: dict[str, int] = {}
    for chunk in done:
        for each in chunk["signatures"]:
            counts[each] = counts.get(each, 0) + 1
    finds = [_find(file, counts) for file in sorted((folder / FINDS).glob(f"*/{FIND}"))]
    return State(sum(c["executions"] for c in done), sum(c["seconds"] for c in done), tuple(finds), asked["executions"])


def _asked(file: Path) -> dict[str, Any]:
    try:
        asked = jsonfile.parse(file.read_bytes())
        if not isinstance(asked, dict) or not isinstance(asked.get("executions"), int):
            raise ValueError("it says nothing of executions")
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: no campaign: {error}; give another --out, or delete the folder") from None
    return asked


def _find(file: Path, counts: Mapping[str, int]) -> Find:
    try:
        document = jsonfile.parse(file.read_bytes())
        return Find(**document | {"count": counts.get(document["signature"], 1)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: damaged: {error}; delete {file.parent}, and it is found again with another --out") from None


def _end_line(file: Path) -> None:
    """What is written next must not become part of a line that was cut short."""
    if file.exists() and (data := file.read_bytes()) and not data.endswith(b"\n"):
        with open(file, "ab") as end:
            end.write(b"\n")
