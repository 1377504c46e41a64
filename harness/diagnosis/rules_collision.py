"""The symbol collision: the GPU path of an operation runs the CPU function of the same name, and the process vanishes."""

from __future__ import annotations

from dataclasses import dataclass

from harness.diagnosis import faultclass
from harness.diagnosis.documents import Collision, Rung
from harness.diagnosis.evidence import GROUP, RECORDED_SOLVER, Evidence, exit_facts, frame_facts
from harness.diagnosis.hostfacts import alignment_decides, device_findings, probe_denies, supports
from harness.diagnosis.libraries import LIETORCH, has_frame
from harness.diagnosis.rule import HOST, LIKELY, POSSIBLE, PROVEN, Match, Rule
from harness.diagnosis.symbols import Call, Named, nearest
from harness.outcome import Fact, Kind

_COMMON_NAMES = ("forward", "backward", "apply_op", "solve", "call", "run", "<lambda>", "<module>")
_WRITTEN_OUT = {"inv": ("inverse",), "mul": ("compose",)}
"""How else a function may be named after an operation."""
_TRACKERS_OPS = ("inv", "mul", "act", "retr")
"""What the tracker's solve calls, on tensors that are on the GPU."""
_ACCESS_NAMES = ("SIGSEGV", "STATUS_ACCESS_VIOLATION")
_TORCH_ALONE = "identity"
"""The operation that calls nothing of the extension."""


@dataclass(frozen=True)
class _Way:
    """How the collision may have been met. ``sure`` that the call is of the library that it is looked for in; ``died``: rungs of
    the probe that die in it."""

    call: Call
    op: str
    sure: bool
    died: tuple[Rung, ...] = ()


def host_symbol_collision(e: Evidence) -> Match | None:
    """The process died of a memory access in a Lie-group operation on a GPU, where CPU and CUDA code define one symbol."""
    if not e.on_gpu and not e.documents.planted:  # in a specimen guarded pages stand for the GPU's memory
        return None
    audits = e.documents.audits
    collisions = [collision for audit in audits for collision in audit.collisions]
    if not collisions and any(audit.clean_of_collisions for audit in audits):
        return None
    seen_dying = e.fault == faultclass.ACCESS_VIOLATION and e.in_the_solve
    way = (_in_an_operation(e) or _in_a_namesake(e, collisions)) if seen_dying else _vanished(e)
    if way is None:
        return None
    denied = probe_denies(e.rungs(op=e.op, device="cuda")) if e.op else ()
    against = (*device_findings(e), *denied, *alignment_decides(e))
    if against and not collisions:
        return None
    named = nearest(collisions, way.call)
    best = [near.collision for near in named if len(near.apart) == len(named[0].apart)]
    hints = [hint for audit in audits for hint in audit.about("linked", "fail")]
    doubts = [hint for audit in audits for hint in audit.about("linked", "ok")]
    both = f"{len(collisions)} kernels have a namesake" if len(collisions) > 1 else "a kernel has a namesake"
    return Match(
        HOST,
        f"the GPU path of {way.op} runs the CPU function of the same name on device pointers, because a linker took the two for "
        f"one (a symbol collision{': ' + both + ' among the CPU functions' if collisions else ''})",
        _confidence(way, named, seen_dying=seen_dying, any_collision=bool(collisions), doubted=bool(doubts)),
        (
            *exit_facts(e.outcome),
            *frame_facts(e),
            *supports(e, way.died),
            *(_collision_fact(it) for it in (best or collisions)[:2]),
            *(Fact(it.what, it.where) for it in (*hints[:1], *doubts[:1])),
        ),
        "the same death after a rebuild without the collision, or a device finding that names a kernel and an address"
        if collisions
        else "an audit that compares the objects and finds no collision, or a device finding that names a kernel and an address",
        f'harness audit "build/temp*/**/*.{"obj" if _on_windows(e) else "o"}" (the object files of the extension; a linked .so or '
        ".pyd gives only hints)",
        "rebuild the extension with nvcc -static-global-template-stub=true (12.8 or newer; the default from CUDA 13), or put the "
        "CPU templates into an anonymous namespace, or use sim3solve in place of it",
        against,
    )


def _confidence(way: _Way, named: tuple[Named, ...], *, seen_dying: bool, any_collision: bool, doubted: bool) -> str:
    """Proven by the very symbol of the call that was seen to die. Where only the name fits, another function's may be the one."""
    if seen_dying and way.sure and any(it.exact for it in named):
        return PROVEN
    return POSSIBLE if not any_collision and (doubted or not way.sure) else LIKELY


def _in_an_operation(e: Evidence) -> _Way | None:
    """lietorch's own frame is the innermost and an operation's among them, or without a stack the solver is lietorch and the solve
    has just begun: an operation that has worked in an iteration before does not run the wrong function in the next."""
    if e.op == _TORCH_ALONE:
        return None
    if e.frames:
        within = e.op_was_called and has_frame(LIETORCH, e.innermost)
    else:
        within = e.outcome.stage == "solving" and e.may_have_run(LIETORCH)
    if not within:
        return None
    backward = any(frame.function == "backward" for frame in e.frames)
    call = Call((e.op,) if e.op else (), GROUP, e.dtypes, backward)
    return _Way(call, e.op or "the operation", sure=e.ran(LIETORCH), died=_dying(e, e.op) if e.op else ())


def _in_a_namesake(e: Evidence, collisions: list[Collision]) -> _Way | None:
    """Any extension: the function at the top of the stack, or the caller of a wrapper there, has the name of one that collides."""
    telling = [frame.function for frame in e.frames[:2] if frame.function.strip("_") not in _COMMON_NAMES][:1]
    names = tuple(name for function in telling for name in (function, *_WRITTEN_OUT.get(function, ())))
    call = Call(names, GROUP, e.dtypes)
    named = nearest(collisions, call)
    return _Way(call, names[0], sure=any(it.exact and it.whole for it in named)) if named else None


def _vanished(e: Evidence) -> _Way | None:
    """A recorded call that never came back, of a program with a library whose operations die on the GPU when the probe tries."""
    if e.outcome.solver != RECORDED_SOLVER or e.outcome.kind is not Kind.INCONCLUSIVE:
        return None
    died = tuple(rung for op in _TRACKERS_OPS for rung in _dying(e, op))
    if not died:
        return None
    return _Way(Call((died[0].op,), died[0].group, (died[0].dtype,)), died[0].op, sure=True, died=died)


def _dying(e: Evidence, op: str) -> tuple[Rung, ...]:
    return tuple(rung for rung in e.rungs(op=op, device="cuda", result="crash") if rung.exit_name in _ACCESS_NAMES)


def _collision_fact(collision: Collision) -> Fact:
    return Fact(f"{collision.demangled or collision.symbol} ({collision.host_file}, {collision.cuda_file})", collision.where)


def _on_windows(e: Evidence) -> bool:
    versions = e.outcome.input.get("versions")
    told = str(versions.get("os", "")) if isinstance(versions, dict) else ""
    return "windows" in told.lower() or (e.outcome.exit is not None and e.outcome.exit.name.startswith("STATUS_"))


RULES = (Rule("host-symbol-collision", host_symbol_collision),)
