"""Rules for solvers that live and give no pose, or a wrong one: what the values say, what the iterations say, what float32 says."""

from __future__ import annotations

import re
from typing import Any

from harness.diagnosis.evidence import SAID, Evidence, fact, find_line, frame_facts, input_fact, text_of
from harness.diagnosis.recorded import raised_line
from harness.diagnosis.rule import HOST, INPUT, LIKELY, MATHEMATICS, NOT_KNOWN, POSSIBLE, PROVEN, UNKNOWN, Match, Rule, present
from harness.diagnosis.updates import remedy_of
from harness.outcome import Fact, Kind

_CHOLESKY = re.compile(r"cholesky|not positive[- ]definite|leading minor|LinAlgError", re.IGNORECASE)
_SWALLOWED = re.compile(r"Cholesky failed", re.IGNORECASE)
_REACHED_ZERO = re.compile(r"max iters reached\s+0(\.0*)?(?![.\d])")
_ENOUGH_MORE = 6
_SMALL_TANGENT = (1e-9, 3e-2)
_NEAR_ZERO = " near 0"


def poisoned_by_masked_points(e: Evidence) -> Match | None:
    """Masked points hold NaN or lie at the origin, and the solver has no pose although the points that count are sound."""
    o = e.outcome
    no_pose = o.kind is Kind.SOLVER_STATUS and o.status in ("NON_FINITE", "NOT_POSITIVE_DEFINITE")
    failed = no_pose or (o.kind is Kind.RAISED and find_line(o, _CHOLESKY, SAID) is not None)
    poison = [name for name in ("masked_nonfinite", "masked_at_origin") if e.number(name)]
    if not failed or o.expected or not poison or not e.known("valid_nonfinite") or e.number("valid_nonfinite"):
        return None
    if e.oracle is not None and e.oracle.kind is not Kind.OK:
        return None
    oracle = [fact(e.oracle, "outcome", f"{e.oracle.kind.value} {e.oracle.status}")] if e.oracle else []
    finite = o.status == "NOT_POSITIVE_DEFINITE"  # by the solver's own word, which has another one for NaN
    return Match(
        MATHEMATICS,
        "points that are masked out poison the sums: valid * x is NaN when x is (a point at the origin gives 1/|X|)",
        LIKELY if oracle and not finite else POSSIBLE,
        (*(input_fact(e, name) for name in (*poison, "valid_nonfinite")), *_what_it_said(e), *oracle),
        "the same failure after the masked points are set to (0, 0, 1)",
        e.command("--solver reference"),
        "select with where(valid, x, 0) before the arithmetic, not with valid * x after it",
    )


def not_finite_input(e: Evidence) -> Match | None:
    """A point that counts, or a pose, is not finite, and the oracle says the same."""
    o = e.outcome
    if o.kind is not Kind.SOLVER_STATUS or o.expected or o.status != "NON_FINITE" or not e.number("valid_nonfinite"):
        return None
    return Match(
        INPUT,
        f"{e.number('valid_nonfinite')} points that count hold NaN or infinity; there is no pose for such an input",
        PROVEN,
        (input_fact(e, "valid_nonfinite"), *_what_it_said(e)),
        "the points in question are masked out",
        f"harness case show {o.case}",
        "mask out what the network did not see before the solve",
    )


def spawned_without_tensors(e: Evidence) -> Match | None:
    """No matches and every point zero: the process was spawned, not forked, and its tensors did not travel."""
    if e.outcome.input.get("all_zero") is not True or e.outcome.expected:
        return None
    if e.outcome.kind not in (Kind.SOLVER_STATUS, Kind.RAISED):
        return None
    told = [f"{name}: {value}" for name, value in _flat(e.documents.environment) + _flat(e.outcome.input.get("versions") or {})]
    spawn = next((line for line in told if re.search(r"windows|spawn", line, re.IGNORECASE)), None)
    return Match(
        HOST,
        "every point is zero: the tracker's process was spawned, not forked, and its tensors did not travel with it",
        LIKELY if spawn else POSSIBLE,
        (input_fact(e, "all_zero"), *_what_it_said(e), *([Fact(spawn, "environment")] if spawn else [])),
        "the points are zero in the process that made them, too",
        f"harness case show {e.outcome.case}",
        "share the buffers by torch.multiprocessing after the spawn, or fill them in the child",
    )


def degenerate_input(e: Evidence) -> Match | None:
    """The solver has no pose, and the oracle says the same in float64."""
    o, oracle = e.outcome, e.oracle
    if o.kind is not Kind.SOLVER_STATUS or o.expected or oracle is None or oracle.kind is not Kind.SOLVER_STATUS:
        return None
    if oracle.status != o.status:
        return None
    words = {
        "TOO_FEW_MATCHES": "fewer than three points count",
        "NOT_POSITIVE_DEFINITE": "the points leave a direction of the pose open",
        "NON_FINITE": "a pose or a point that counts is not finite",
    }
    return Match(
        INPUT,
        f"{words.get(str(o.status), 'the input fixes no pose')}; the float64 oracle says the same",
        PROVEN,
        (fact(o, "status", o.status), fact(oracle, "status", oracle.status)),
        "another solver finds a pose that repeats from other starting points",
        e.command("--solver reference"),
        "do not track this frame by it: relocalize, or take another keyframe",
    )


def wrong_update(e: Evidence) -> Match | None:
    """The iterations are those of another update rule: on the right, or with SE(3)'s V where Sim(3)'s W is needed, for two."""
    told = (e.outcome.parity or {}).get("trace_cause")
    if isinstance(told, str) and told:
        remedy = remedy_of(told)
        return Match(
            MATHEMATICS, told.rstrip("."), LIKELY, (fact(e.outcome, "parity.trace_cause", told), *_iterations(e)), remedy.refute,
            e.command("--solver torch"), remedy.fix,
        )  # fmt: skip
    mine, theirs = e.outcome.iterations, e.oracle.iterations if e.oracle else None
    if e.outcome.kind is not Kind.OK or not e.off or not mine or not theirs or mine < 2 * theirs or mine < theirs + _ENOUGH_MORE:
        return None
    return Match(
        MATHEMATICS,
        f"it takes {mine} iterations where the oracle takes {theirs}, as an update on the wrong side or with SE(3)'s V does",
        POSSIBLE,
        _iterations(e),
        "the trace of its poses follows the oracle's",
        e.command("--solver torch"),
        "apply the update on the left: retr(a) = Exp(a) * X, with Sim(3)'s W in Exp; and record a trace, which would tell",
    )


def float32_cancellation(e: Evidence) -> Match | None:
    """An exponential is wrong for small arguments in float32 only: its closed forms cancel."""
    o = e.outcome
    error = _as_float((o.parity or {}).get("op_error"))
    largest = _as_float(o.input.get("max_tangent"))
    if not e.off or o.input.get("op") not in ("exp", "retr", "log") or o.input.get("dtypes") != ["float32"] or error is None:
        return None
    small = largest is not None and _SMALL_TANGENT[0] < largest < _SMALL_TANGENT[1]
    if not small or not 0 < error < 0.1:
        return None
    names = (o.input["op"], f"{o.input['op']}{_NEAR_ZERO}")
    single = [r for name in names for r in e.rungs(op=name, dtype="float32", result="wrong")]
    double = [r for name in names for r in e.rungs(op=name, dtype="float64")]
    if any(r.result == "wrong" for r in double):
        return None
    proof = (single[0], double[0]) if single and double and double[0].result == "ok" else ()
    return Match(
        MATHEMATICS,
        f"its closed forms cancel in float32: {o.input['op']} loses its digits where the angle or log scale is below about 1e-2",
        PROVEN if proof else LIKELY,
        (input_fact(e, "max_tangent"), fact(o, "parity.op_error", error), *(Fact(r.words, r.where) for r in proof)),
        "the same error in float64, or with arguments near 1",
        "harness probe",
        "use the power series below about 1e-2, or an integral without division; a threshold of 1e-6 is far too small for float32",
    )


def swallowed_exception(e: Evidence) -> Match | None:
    """The tracker prints "Cholesky failed" for whatever was raised; here is what it was, or that it is not known."""
    printed = find_line(e.outcome, _SWALLOWED)
    if printed is None or e.outcome.kind in (Kind.CRASHED, Kind.CUDA_ERROR, Kind.TIMEOUT):
        return None
    original = [line for line in _originals(e) if not _CHOLESKY.search(line.quote)]
    if original:
        claim, confidence = (
            f"not the Cholesky: the tracker hides every exception behind that word, and this one was {original[0].quote}",
            PROVEN,
        )
    elif any(_CHOLESKY.search(line.quote) and not _SWALLOWED.search(line.quote) for line in _originals(e)):
        return None  # it did fail
    else:
        claim = 'the tracker prints "Cholesky failed" for whatever was raised, CUDA errors included; what it was is not recorded'
        confidence = POSSIBLE
    return Match(
        HOST,
        claim,
        confidence,
        (printed, *original),
        "the recorded exception is one of a Cholesky decomposition",
        "harness record --out DIR -- python main.py ...",
        "read the recorded exception instead; in the tracker catch only torch.linalg.LinAlgError",
    )


def last_error_not_updated(e: Evidence) -> Match | None:
    """The tracker's "max iters reached 0" says nothing: the number is never updated."""
    printed = find_line(e.outcome, _REACHED_ZERO, ("stdout", "stderr"))
    if printed is None or e.outcome.expected:
        return None
    costs = (
        [fact(e.outcome, "trace[-1].cost", e.outcome.trace[-1].cost)] if e.outcome.trace and e.outcome.trace[-1].cost > 0 else []
    )
    return Match(
        HOST,
        'the 0 in "max iters reached 0" is no error: the tracker never updates the number that it prints',
        PROVEN if costs else LIKELY,
        (printed, *costs),
        "a run that prints another number",
        e.command(),
        "look at the cost of the last iteration instead; the solve did use all its iterations",
    )


def wrong_pose(e: Evidence) -> Match | None:
    """The pose is not the oracle's, and nothing known explains it."""
    if not e.off or e.outcome.expected:
        return None
    parity = e.outcome.parity or {}
    first = parity.get("first_divergence")
    since = f", from iteration {first} on" if isinstance(first, int) else ""
    return Match(
        UNKNOWN, f"its result is not the oracle's{since}", NOT_KNOWN,
        (fact(e.outcome, "parity.why", parity.get("why")), *_iterations(e)), "nothing is claimed that could be refuted",
        e.command("--memory poison"), "compare its iterations with the oracle's in the report, and run it in poisoned memory",
    )  # fmt: skip


def no_pose(e: Evidence) -> Match | None:
    """The solver gives no pose where the oracle has one, and nothing known explains it."""
    if e.outcome.kind is not Kind.SOLVER_STATUS or e.outcome.expected:
        return None
    oracle = f"; the oracle: {e.oracle.kind.value} {e.oracle.status}" if e.oracle else ""
    return Match(
        UNKNOWN, f"it says {e.outcome.status}{oracle}", NOT_KNOWN, _what_it_said(e), "nothing is claimed that could be refuted",
        e.command("--memory poison"), "compare with the other solvers on this case",
    )  # fmt: skip


def _originals(e: Evidence) -> list[Fact]:
    """What was raised before anyone hid it: in this process, or as the recording has it."""
    recorded = e.outcome.input.get("recorded")
    text = recorded.get("exception") if isinstance(recorded, dict) else None
    found = [fact(e.outcome, "input.recorded.exception", raised_line(text))] if isinstance(text, str) and text.strip() else []
    if e.exception is not None and not _SWALLOWED.search(e.exception.message):
        found.append(fact(e.outcome, "exception", f"{e.exception.type}: {e.exception.message.partition(chr(10))[0]}"))
    return found


def _what_it_said(e: Evidence) -> tuple[Fact, ...]:
    status = [fact(e.outcome, "status", e.outcome.status)] if e.outcome.status else []
    said = find_line(e.outcome, re.compile(r"\S"), ("exception.message",)) if text_of(e.outcome, "exception.message") else None
    return (*status, *present(said), *frame_facts(e)[:1])


def _iterations(e: Evidence) -> tuple[Fact, ...]:
    mine = [fact(e.outcome, "iterations", e.outcome.iterations)] if e.outcome.iterations is not None else []
    theirs = [fact(e.oracle, "iterations", e.oracle.iterations)] if e.oracle is not None and e.oracle.iterations is not None else []
    return (*mine, *theirs)


def _flat(value: Any) -> list[tuple[str, str]]:
    return [(str(name), str(item)) for name, item in value.items()] if hasattr(value, "items") else []


def _as_float(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


RULES = (
    Rule("swallowed-exception", swallowed_exception),
    Rule("poisoned-by-masked-points", poisoned_by_masked_points),
    Rule("spawned-without-tensors", spawned_without_tensors),
    Rule("not-finite-input", not_finite_input),
    Rule("degenerate-input", degenerate_input),
    Rule("wrong-update", wrong_update),
    Rule("float32-cancellation", float32_cancellation),
    Rule("last-error-not-updated", last_error_not_updated),
)
LAST = (Rule("wrong-pose", wrong_pose), Rule("no-pose", no_pose))
