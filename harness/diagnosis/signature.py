"""A name for a bug that is the same on every machine: kind, where (operation, kernel, source line, top frames), size, alignment.

A hang is named by the stage and the function that was called: what that was at when its time was up is another thing each time.
So is a CUDA error that a kernel left behind, which whoever calls CUDA next is told, one line after the launch or ten.
No path, no line number of a Python frame, no address, no exit code of one system: Windows' 0xC0000005 and Linux' SIGSEGV in the
same call have one signature. Two outcomes of one signature are taken for one bug.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness import cudaerror
from harness.diagnosis.evidence import Evidence
from harness.diagnosis.faultclass import fault_class
from harness.outcome import Kind, Outcome

MAX_LENGTH = 300
GRAVITY = (
    "misaligned", "wrong-device", "out-of-bounds", "use-after-free", "host-dereference", "stack-overflow", "race", "barrier",
    "uninitialized", "undefined",
)  # fmt: skip
"""Which of several findings an outcome is named after: what corrupts first, what follows from it later."""

_LONGEST_NAME = 2000
_VARIABLE = re.compile(r"0x[0-9a-f]+|(?<![A-Za-z_])\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\s\\/'\":,()]+){1,}[\\/]([^\s\\/'\":,()]+)")


def signature(outcome: Outcome) -> str:
    """The signature of an outcome, that of its gravest finding where it has several. Empty where nothing went wrong."""
    return next(iter(signatures(outcome)), "")


def signatures(outcome: Outcome) -> tuple[str, ...]:
    """One per distinct bug that the outcome shows: several for a sanitizer that found several."""
    if outcome.kind is Kind.FINDINGS:
        ordered = sorted(outcome.findings, key=_gravity)
        return tuple(dict.fromkeys(finding_signature(finding) for finding in ordered))
    e = Evidence(outcome)
    words = _words(e)
    return (_join(*words, *_size(outcome)),) if words else ()


def finding_signature(finding: Mapping[str, Any]) -> str:
    """The signature of one finding of a sanitizer; what a finding does not say is left out."""
    size = finding.get("size")
    offset = finding.get("address_mod_size")
    aligned = "" if not isinstance(offset, int) else "aligned" if offset == 0 else "misaligned"
    access = [str(finding.get(name) or "") for name in ("space", "direction")] + [f"{size}B" if isinstance(size, int) else ""]
    return _join("finding", finding.get("kind") or "?", " ".join(filter(None, access)), aligned,
                 kernel_word(str(finding.get("kernel") or "")), source_word(finding))  # fmt: skip


def kernel_word(name: str) -> str:
    """A kernel's name without return type, template arguments and parameters, which compilers spell differently."""
    name = name[:_LONGEST_NAME].replace("(anonymous namespace)::", "").replace("`anonymous namespace'::", "")
    name = re.sub(r"^\S*\bvoid ", "", name).partition("(")[0]
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return name.strip()


def source_word(finding: Mapping[str, Any]) -> str:
    """The text of the source line, which survives edits above it; without it file:line; without a line the host's top frames."""
    where = finding.get("where")
    if isinstance(where, Mapping) and where.get("path"):
        for row in where.get("snippet") or ():
            if isinstance(row, (list, tuple)) and len(row) == 2 and row[0] == where.get("line") and str(row[1]).strip():
                return str(row[1]).strip()
        return f"{_file_name(str(where['path']))}:{where.get('line')}"
    stack = finding.get("host_stack")
    calls = [frame for frame in stack if isinstance(frame, Mapping)] if isinstance(stack, (list, tuple)) else []
    names = [kernel_word(str(frame.get("function") or "")) for frame in calls]
    return " < ".join([name for name in names if name][:3])


def normal(text: str) -> str:
    """A message without numbers, addresses and folders."""
    return _VARIABLE.sub("#", _PATH.sub(r"\1", text[:_LONGEST_NAME]))


def solver_word(name: str) -> str:
    """A solver's name without revision and folders: ``cuda@REV`` is cuda, ``/my/file.py:make`` is file.py:make."""
    return _file_name(name.partition("@")[0]) if not name.startswith("mast3r-slam:") else "mast3r-slam"


def _words(e: Evidence) -> tuple[str, ...]:
    o = e.outcome
    no_frame = f"{_stage(o.stage)} of {solver_word(o.solver)}"
    where = " < ".join(frame.word for frame in e.frames) or no_frame
    match o.kind:
        case Kind.CRASHED:
            return ("crash", fault_class(o), where)
        case Kind.CUDA_ERROR:
            code = o.cuda.code if o.cuda else 0
            if o.cuda and o.cuda.sticky and e.called:
                where = e.called.word
            return ("cuda", f"{code} {cudaerror.by_code(code).name}" if code else "unnamed", where)
        case Kind.RAISED:
            info = o.exception
            message = normal(info.message.partition("\n")[0])[:120] if info and ("Import" in info.type or not e.frames) else ""
            return ("raised", info.type if info else "?", where, message)
        case Kind.TIMEOUT:
            return ("timeout", _stage(o.stage), e.called.word if e.called else no_frame)
        case Kind.SOLVER_STATUS:
            return () if o.expected else ("status", str(o.status), solver_word(o.solver))
        case Kind.OK:
            if not e.off or o.expected:
                return ()
            what = f"wrong-value {e.op}" if o.input.get("op") or o.values.get("op_value") else "wrong-pose"
            return (what, solver_word(o.solver))
        case _:
            return (o.kind.value.lower(), normal(o.reason or "")[:160], solver_word(o.solver))


def _size(outcome: Outcome) -> tuple[str, ...]:
    """An empty input is a class of its own: it breaks launches that no other input does."""
    counts = [outcome.input.get("batch"), outcome.input.get("n_points") if outcome.input.get("kind") != "op" else None]
    return ("empty",) if any(count == 0 and count is not False for count in counts) else ()


def _stage(stage: str) -> str:
    return "iteration" if stage.startswith("iteration") else stage or "none"


def _gravity(finding: Mapping[str, Any]) -> int:
    kind = finding.get("kind")
    return GRAVITY.index(kind) if kind in GRAVITY else len(GRAVITY)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _join(*parts: Any) -> str:
    words = (" ".join(str(part).split()) for part in parts)
    text = " | ".join(word for word in words if word)
    return "".join(c if c.isprintable() else "?" for c in text)[:MAX_LENGTH]
