"""The tracker's methods with a recorder round them: what goes in is saved before the call, what comes out after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from harness.errors import UsageError

KINDS: Mapping[str, str] = {"opt_pose_ray_dist_sim3": "ray_dist", "opt_pose_calib_sim3": "calib"}
"""The kind of case that each method of the tracker solves."""

_MARK = "_harness_recorded"


class Observer(Protocol):
    """Sees a call begin and end. None of the three may raise, but for what interrupts the program itself, as Ctrl-C does."""

    def before(self, method: str, tracker: Any, arguments: tuple[Any, ...]) -> Any: ...

    def returned(self, call: Any, value: Any) -> None: ...

    def raised(self, call: Any, error: BaseException) -> None: ...


class Recording:
    """A tracker being recorded, until ``stop()`` or the end of the ``with`` block."""

    def __init__(self, tracker: Any, undo: dict[str, Callable[[], None]]) -> None:
        self.tracker = tracker
        self.methods = tuple(undo)
        self._undo = undo

    def stop(self) -> None:
        """Give the tracker its own methods back. Does nothing the second time."""
        while self._undo:
            self._undo.popitem()[1]()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def attach(tracker: Any, observer: Observer) -> Recording:
    """Put ``observer`` round the solver methods of a tracker class or of one tracker. Raises ``UsageError`` when it has none."""
    undo: dict[str, Callable[[], None]] = {}
    for name in KINDS:
        original = getattr(tracker, name, None)
        if callable(original) and not hasattr(original, _MARK):
            undo[name] = _replace(tracker, name, original, observer)
    if not undo:
        done = any(hasattr(getattr(tracker, name, None), _MARK) for name in KINDS)
        reason = "is recorded already" if done else f"has no {' and no '.join(KINDS)}: it is not a MASt3R-SLAM tracker"
        raise UsageError(f"{tracker!r} {reason}")
    return Recording(tracker, undo)


def _replace(tracker: Any, name: str, original: Callable[..., Any], observer: Observer) -> Callable[[], None]:
    own = vars(tracker).get(name)  # a static method, say, must come back as what it was
    setattr(tracker, name, _observed(original, name, observer, owner=None if isinstance(tracker, type) else tracker))

    def undo() -> None:
        if own is None:
            delattr(tracker, name)
        else:
            setattr(tracker, name, own)

    return undo


def _observed(original: Callable[..., Any], name: str, observer: Observer, owner: Any) -> Callable[..., Any]:
    """``original``, observed. With an ``owner`` it is bound already; without, its first argument is the tracker."""
    signature = _signature(original)

    @functools.wraps(original)
    def method(*arguments: Any, **named: Any) -> Any:
        tracker = owner if owner is not None else arguments[0] if arguments else None
        in_order = _in_order(signature, arguments, named)
        call = observer.before(name, tracker, in_order if owner is not None else in_order[1:])
        if call is None:
            return original(*arguments, **named)
        try:
            value = original(*arguments, **named)
        except BaseException as error:
            observer.raised(call, error)
            raise
        observer.returned(call, value)
        return value

    setattr(method, _MARK, True)
    return method


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):  # a compiled one may have none
        return None


def _in_order(signature: inspect.Signature | None, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments by position, as the method's own signature has them: a port may call them what it likes."""
    if signature is not None:
        try:
            bound = signature.bind(*arguments, **named)
        except TypeError:  # the call itself will say so
            return arguments
        return (*bound.args, *bound.kwargs.values())
    return (*arguments, *named.values())
