"""Sees a foreign tracker's iterations without a change to it: wraps its ``solve`` and its poses' ``retr`` while it runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch

from sim3solve.problem import Iteration, Options, Solution, Status

Observe = Callable[[int, Iteration], None]


class Iterations:
    """A context in which a tracker's steps are observed.

    ``solve`` gives (step, cost). The pose after it is what ``retr`` returns, or, in a tracker that updates in another way, what
    its local variable ``T_CkCf`` holds at the next call of ``solve``, or what it returns in the end. Each step is observed as soon
    as its pose is known.
    """

    def __init__(self, tracker: Any, pose: Any, valid: torch.Tensor, observe: Observe) -> None:
        self._tracker, self._pose, self._observe = tracker, pose, observe
        self._n_valid = int(valid.sum())
        self._waiting: tuple[float, float, int] | None = None  # cost, length of the step, points: of a step without a pose yet
        self._undo: list[Callable[[], None]] = []
        self.trace: list[Iteration] = []

    def __enter__(self) -> Iterations:
        if callable(getattr(self._tracker, "solve", None)):
            self._wrap(self._tracker, "solve", self._seen_solve)
        if callable(getattr(self._pose, "retr", None)):
            self._wrap(self._pose, "retr", self._seen_retr)
        return self

    def __exit__(self, *_: object) -> None:
        for undo in reversed(self._undo):
            undo()

    def solution(self, T_WCf: Any, T_CkCf: Any, options: Options) -> Solution:
        """What the tracker returned. It says nothing of how it ended: the rule that it has is applied to the last two steps."""
        self._complete(T_CkCf)
        steps = self.trace
        cost = steps[-1].cost if steps else math.nan
        before = steps[-2].cost if len(steps) > 1 else math.inf
        cut_off = len(steps) >= options.max_iters and not options.stops(before, cost, steps[-1].delta_norm)
        status = Status.MAX_ITERATIONS if cut_off else Status.CONVERGED
        return Solution(status, _tensor(T_WCf), _tensor(T_CkCf), len(steps), cost, tuple(steps))

    def _wrap(self, owner: Any, name: str, seen: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        own = vars(owner).get(name)
        original = own if isinstance(owner, type) and own is not None else getattr(owner, name)
        try:
            setattr(owner, name, seen(original))
        except (AttributeError, TypeError):
            return  # a class that cannot be changed: the other way must do
        self._undo.append(lambda: setattr(owner, name, own) if own is not None else delattr(owner, name))

    def _seen_solve(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def solve(*arguments: Any, **named: Any) -> Any:
            self._complete(sys._getframe(1).f_locals.get("T_CkCf"))
            returned = original(*arguments, **named)
            if isinstance(returned, tuple) and len(returned) == 2:
                step, cost = returned
                self._waiting = (float(cost), float(torch.linalg.norm(step)), self._count(*arguments, *named.values()))
            return returned

        return solve

    def _seen_retr(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def retr(this: Any, a: torch.Tensor, *more: Any, **named: Any) -> Any:
            moved = original(this, a, *more, **named)
            if self._waiting is None:  # no solve to be seen: the step is all there is
                self._waiting = (math.nan, float(torch.linalg.norm(a)), self._n_valid)
            self._complete(moved)
            return moved

        return retr

    def _count(self, *arguments: Any) -> int:
        """How many points have a weight: upstream's first argument is the square root of the information, (N, 3) or (N, 4)."""
        weights = arguments[0] if arguments else None
        if isinstance(weights, torch.Tensor) and weights.ndim == 2:
            return int((weights > 0).any(1).sum())
        return self._n_valid

    def _complete(self, T_CkCf: Any) -> None:
        if self._waiting is None or T_CkCf is None:
            return
        cost, length, count = self._waiting
        self._waiting = None
        pose = _tensor(T_CkCf).detach().reshape(-1).tolist()
        if len(pose) != 8:
            return
        self.trace.append(Iteration(cost, length, count, tuple(pose)))
        self._observe(len(self.trace) - 1, self.trace[-1])


def _tensor(pose: Any) -> Any:
    return pose if isinstance(pose, torch.Tensor) else pose.data
