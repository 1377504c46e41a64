"""Mutants of a real case: sizes, degeneracies, values, options and layouts that people's data has once in a thousand frames.

A mutant follows from (values of the base, seed, index) alone. Its name lists what was done, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.case import Case, Expectation, Provenance, TensorSpec
from harness.importers.assemble import make_case
from harness.relayout import ALIASED, ALIGNED, CONTIGUOUS, OFFSET, ROWS, STRIDED, TRANSPOSED, relayout
from sim3solve.problem import MASKS, Options

SIZES = (0, 1, 2, 3, 6, 7, 8, 9, 31, 32, 33, 100, 255, 256, 257, 383, 384, 385, 767, 768, 769, 1023, 1024, 1025, 3071, 3073)
LAYOUTS = (CONTIGUOUS, "shift-4", "shift-8", "shift-12", "shift-20", ALIGNED, STRIDED, ALIASED, TRANSPOSED, ROWS, OFFSET)
WORST = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-40, 1e-20, 1e20, 3.4e38, -3.4e38], dtype=np.float32)
MOST = 4


@dataclass
class Draft:
    """What mutations change. ``layout`` is a name as ``harness.relayout`` has it; empty for C order."""

    kind: str
    values: dict[str, np.ndarray]
    options: dict[str, Any]
    rng: np.random.Generator
    layout: str = ""
    dtypes: dict[str, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return len(self.values["Xf"])

    def some(self, share: float | None = None) -> np.ndarray:
        """A few rows, or a share of them; none of none."""
        if not self.n:
            return np.empty(0, dtype=int)
        count = max(1, int(self.n * share)) if share is not None else int(self.rng.integers(1, 4))
        return self.rng.choice(self.n, size=min(count, self.n), replace=False)

    @property
    def points(self) -> str:
        names = ("Xf", "Xk") if self.kind == "ray_dist" else ("Xf", "meas_k")
        return str(self.rng.choice(names))

    @property
    def mask(self) -> np.ndarray:
        return self.values["valid_meas_k" if self.kind == "calib" and self.rng.random() < 0.5 else "valid_opt"]


def _bad_value(d: Draft, *, valid: bool | None) -> str:
    rows, name = d.some(), str(d.rng.choice((d.points, "Qk")))
    word = WORST[d.rng.integers(len(WORST))]
    column = d.rng.integers(d.values[name].shape[1]) if d.rng.random() < 0.7 else slice(None)
    d.values[name][rows, column] = word
    if valid is not None:
        d.values["valid_opt"][rows] = valid
    return f"{name} {word:g} in {len(rows)} rows" + ("" if valid is None else " that count" if valid else " that are masked out")


def _masked(d: Draft) -> str:
    share = float(d.rng.choice((0.0, 0.5, 0.99, 1.0)))
    mask = d.mask
    mask[:] = (d.rng.random(d.n) >= share)[:, None]
    return f"{share:g} of the rows masked out"


def _few(d: Draft) -> str:
    count = int(d.rng.integers(0, 9))
    d.values["valid_opt"][:] = False
    d.values["valid_opt"][d.rng.permutation(d.n)[:count]] = True
    return f"{count} rows left"


def _flat(d: Draft) -> str:
    rank = int(d.rng.integers(0, 3))
    for name in ("Xf", "Xk"):
        X = d.values[name]
        if len(X):
            start, along = X[0].astype(np.float64), d.rng.normal(size=(rank, 3))
            with np.errstate(all="ignore"):
                X[:] = start + d.rng.normal(size=(len(X), rank)) @ along
    return ("all in one point", "on a line", "on a plane")[rank]


def _centre(d: Draft) -> str:
    name, rows = str(d.rng.choice(("Xf", "Xk"))), d.some(float(d.rng.choice((0.0, 0.01, 0.5, 1.0))))
    d.values[name][rows] = 0
    return f"{len(rows)} rows of {name} at the camera's centre"


def _behind(d: Draft) -> str:
    rows = d.some(float(d.rng.choice((0.01, 0.5, 1.0))))
    for name in ("Xf", "Xk"):
        d.values[name][rows, 2] *= -1
    return f"{len(rows)} rows behind the camera"


def _outliers(d: Draft) -> str:
    rows = d.some(float(d.rng.choice((0.01, 0.1, 0.3))))
    d.values[d.points][rows] += d.rng.normal(size=(len(rows), 3)).astype(np.float32)
    return f"{len(rows)} outliers"


def _scaled(d: Draft) -> str:
    by = np.float32(10.0 ** d.rng.integers(-6, 7))
    for name in ("Xf", "Xk"):
        d.values[name] *= by
    return f"all points times {by:g}"


def _pose(d: Draft) -> str:
    name, what = str(d.rng.choice(("T_WCf", "T_WCk"))), int(d.rng.integers(6))
    T = d.values[name]
    if what == 0:
        T[0, 3:7] *= -1
    elif what == 1:
        T[0, 3:7] *= np.float32(10.0 ** d.rng.integers(-3, 4))
    elif what == 2:
        T[0, 7] = np.float32(10.0 ** d.rng.integers(-6, 7))
    elif what == 3:
        T[0, :3] = (d.rng.normal(size=3) * 10.0 ** d.rng.integers(0, 6)).astype(np.float32)
    elif what == 4:
        T[0, d.rng.integers(8)] = WORST[d.rng.integers(len(WORST))]
    else:
        q = d.rng.normal(size=4)
        T[0, 3:7] = (q / np.linalg.norm(q)).astype(np.float32)
    words = ("quaternion negated", "quaternion not of length 1", "of another scale", "far away", "with a bad number", "turned")
    return f"{name} {words[what]}"


def _confidence(d: Draft) -> str:
    what = float(d.rng.choice((0.0, 1e-12, 1e12, -1.0)))
    rows = d.some(float(d.rng.choice((0.01, 1.0))))
    d.values["Qk"][rows] = what
    return f"confidence {what:g} in {len(rows)} rows"


def _weights(d: Draft) -> str:
    name = str(d.rng.choice(("sigma_ray", "sigma_dist", "sigma_pixel", "sigma_depth", "huber")))
    d.options[name] = float(d.options[name] * 10.0 ** d.rng.integers(-3, 4))
    return f"{name} {d.options[name]:g}"


def _stops(d: Draft) -> str:
    name = str(d.rng.choice(("max_iters", "rel_error", "delta_norm")))
    d.options[name] = int(d.rng.choice((1, 2, 3, 100))) if name == "max_iters" else float(d.rng.choice((0.0, 1e-9, 1e-1, 1e9)))
    return f"{name} {d.options[name]:g}"


def _image(d: Draft) -> str:
    if d.kind != "calib":
        return _weights(d)
    height, width = (int(d.rng.choice((1, 2, 64, 384, 100_000))) for _ in range(2))
    d.options["img_size"] = (height, width)
    d.options["pixel_border"] = float(d.rng.choice((-10, 0, 10, 1e6, -1e6)))
    d.options["depth_eps"] = float(d.rng.choice((0.0, 1e-6, 1.0, 1e6)))
    return f"image {width} x {height}, border {d.options['pixel_border']:g}, depth over {d.options['depth_eps']:g}"


def _camera(d: Draft) -> str:
    if d.kind != "calib":
        return _pose(d)
    at = tuple(d.rng.integers(0, 3, size=2))
    d.values["K"][at] = WORST[d.rng.integers(len(WORST))]
    return f"K[{at[0]}, {at[1]}] {d.values['K'][at]:g}"


def _layout(d: Draft) -> str:
    variant = str(d.rng.choice(LAYOUTS))
    one = d.rng.random() < 0.5 and variant != ALIASED
    item = f"{d.rng.choice(sorted(d.values))}={variant}" if one else variant
    d.layout = f"{d.layout},{item}" if d.layout else item
    return f"layout {item}"


def _dtype(d: Draft) -> str:
    name = str(d.rng.choice([name for name in sorted(d.values) if name not in MASKS]))
    d.dtypes[name] = str(d.rng.choice(("float16", "float64")))
    return f"{name} as {d.dtypes[name]}"


MUTATIONS: tuple[Callable[[Draft], str], ...] = (
    lambda d: _bad_value(d, valid=False), lambda d: _bad_value(d, valid=False), lambda d: _bad_value(d, valid=True),
    lambda d: _bad_value(d, valid=None), _masked, _few, _flat, _centre, _behind, _outliers, _scaled, _pose, _pose, _confidence,
    _weights, _stops, _image, _camera, _layout, _layout, _layout, _dtype,
)  # fmt: skip


def can_mutate(case: Case) -> bool:
    """Single operations and values that are made anew at each reading are left out."""
    return case.document.kind != "op" and case.document.generator is None


def mutant(base: Case, seed: int, index: int) -> Case:
    """Mutant ``index`` of a base: cut to a size, then one to four mutations of it."""
    digest = int(base.document.tensors_sha256[:16], 16)
    d = _cut(base, np.random.Generator(np.random.PCG64([digest, seed, index])))
    done = [f"{d.n} rows"]
    with np.errstate(all="ignore"):
        for _ in range(int(d.rng.integers(1, MOST + 1))):
            done.append(MUTATIONS[d.rng.integers(len(MUTATIONS))](d))
        values = {name: array.astype(d.dtypes.get(name, array.dtype)) for name, array in d.values.items()}
    specs = {name: TensorSpec.contiguous(str(array.dtype), array.shape) for name, array in values.items()}
    made = make_case(
        values, specs, id=f"m{seed}-{index:07d}-{base.id}"[:90].rstrip(".-"), kind=d.kind, options=d.options, tags=("mutant",),
        title=f"{base.id}: {', '.join(done)}"[:300], expect=Expectation(outcomes=("OK", "SOLVER_STATUS", "RAISED"), parity=False),
        provenance=Provenance(
            source=f"mutant {index} of {base.id} (seed {seed}): {'; '.join(done)}; from {base.document.provenance.source}"[:2000],
            licence=base.document.provenance.licence, attribution=base.document.provenance.attribution,
        ),
    )  # fmt: skip
    return relayout(made, d.layout) if d.layout else made


def _cut(base: Case, rng: np.random.Generator) -> Draft:
    n = base.document.n_points
    size = int(rng.choice(SIZES)) if rng.random() < 0.8 else int(rng.integers(0, 4097))
    rows = rng.permutation(n)[:size] if rng.random() < 0.5 else np.arange(n)[:size]
    values = {
        name: np.array(base.as_float(name) if name in MASKS else base.as_float(name).astype(np.float32)) for name in base.values
    }
    per_point = [name for name in values if name not in ("T_WCf", "T_WCk", "K")]
    for name in per_point:
        values[name] = values[name][rows]
    known = {name: getattr(base.options, name) for name in Options.__dataclass_fields__}
    return Draft(base.document.kind, values, known, rng)
