"""What mends each wrong update that ``harness.divergence`` knows, and what would show that it was not that one. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    fix: str
    refute: str


_LEFT = "apply the step on the left, the side that its Jacobians are for: T = Exp(delta) * T, as lietorch's retr does"
_W = "in Exp multiply the translation by Sim(3)'s W(omega, sigma)"
_ON_THE_LEFT = "its source has the step on the left"
_COST_FALLS = "the cost falls from iteration to iteration: against the step it would rise"

# fmt: off
REMEDIES: Mapping[str, Remedy] = {
    "right-multiplied update": Remedy(_LEFT, _ON_THE_LEFT),
    "right-multiplied update with SE(3)'s V": Remedy(f"{_LEFT}; and {_W}, not by SE(3)'s V(omega)", _ON_THE_LEFT),
    "SE(3)'s V where Sim(3)'s W belongs": Remedy(
        f"{_W}, not by SE(3)'s V(omega)", "steps that leave the scale as it is are off as well: V and W are one there"),
    "no W at all": Remedy(
        f"{_W}: t = W tau, not tau", "steps without rotation and change of scale are off as well: W is the identity there"),
    "right-multiplied update without W": Remedy(f"{_LEFT}; and {_W}: t = W tau, not tau", _ON_THE_LEFT),
    "translation, rotation and scale updated apart": Remedy(
        "update the pose as one, T = Exp(delta) * T: the step's rotation and scale move the translation too, t <- s R t + W tau",
        "steps without rotation and change of scale are off as well: there is no difference there"),
    "step with the wrong sign": Remedy(
        "solve H delta = -g: the sign of the gradient, of the residual or of the step is the other way round", _COST_FALLS),
    "right-multiplied step with the wrong sign": Remedy(
        f"solve H delta = -g, the sign is the other way round; and {_LEFT}", _COST_FALLS),
    "no update": Remedy(
        "keep what the update returns, T = T.retr(delta): it changes no pose in place", "two poses of its trace differ"),
    "stale step": Remedy(
        "compute the step from the residuals of this iteration, and apply it in this one; a buffer that is read before the work on "
        "it is done gives the step of the iteration before as well", "its source computes and applies the step in one iteration"),
    "step taken twice": Remedy(
        "apply the step once: look for one that is applied in place and assigned as well",
        "with half the step its trace is still not the oracle's"),
    "half a step": Remedy(
        "take the whole step: look for a damping of 0.5, and for a factor 1/2 that is in the gradient and not in the Hessian",
        "with twice the step its trace is still not the oracle's"),
    "scale never updated": Remedy(
        "hand the seventh number of the step, the log scale, to Exp, and keep the scale in the product of poses",
        "the scale changes in its trace"),
    "rotation never updated": Remedy(
        "hand numbers four to six of the step, the rotation, to Exp: a step is [tau omega sigma]",
        "the rotation changes in its trace"),
    "translation never updated": Remedy(
        "hand the first three numbers of the step, the translation, to Exp: a step is [tau omega sigma]",
        "steps without rotation and change of scale move its pose"),
    "no Huber weights": Remedy(
        "weight each whitened residual r by Huber's weight, min(1, huber / |r|), in Hessian and gradient",
        "on a case without outliers, where every weight is 1, it is off as well"),
}
# fmt: on

UNKNOWN_UPDATE = Remedy(
    "compare the solver's update with T <- Exp(delta) T, Exp with Sim(3)'s W",
    "the same trace from a solver whose update is T <- Exp(delta) T with Sim(3)'s W",
)


def remedy_of(told: str) -> Remedy:
    """For what a trace was told to be: the update's name and a colon begin it."""
    return REMEDIES.get(told.partition(": ")[0], UNKNOWN_UPDATE)
