"""Cases with a poison in them, for the planted solvers of ``minimize_faults.py``, and how the tests minimize them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from case_factory import PROVENANCE
from minimize_faults import POISON

from harness import scenes
from harness.case import Case, CaseDocument, Generator, Operation, TensorSpec
from harness.casefile import write_case
from harness.isolation import Limits
from harness.minimize import Failure, Minimized, MinimizeLimits, Target, minimize_case
from sim3solve.problem import MASKS

FAULTS = Path(__file__).with_name("minimize_faults.py")


def poisoned(folder: Path, n: int = 2000, *at: int, specs: dict[str, TensorSpec] | None = None, **fields) -> Path:
    """A room of n points on disk, of which those ``at`` hold the poison. Its name is ``room``."""
    generator = Generator(scene="room", n_points=n, seed=7)
    values = {name: np.array(array) for name, array in scenes.generate(generator).items()}
    values["Xk"][list(at), 0] = POISON
    tensors = {
        name: (specs or {}).get(name) or TensorSpec.contiguous("bool" if name in MASKS else "float32", array.shape)
        for name, array in values.items()
    }
    fields = {"id": "room", "provenance": PROVENANCE, "tensors_sha256": "0" * 64} | fields
    return write_case(Case(CaseDocument(kind="ray_dist", tensors=tensors, **fields), values), folder / "room").path


def operation(folder: Path, n: int, at: int) -> Path:
    """A batch of Sim(3) inverses, one of scale 2.5."""
    X = np.tile(np.array([0.5, 0, 0, 0, 0, 0, 1, 1], dtype=np.float32), (n, 1))
    X[at, 7] = 2.5
    document = CaseDocument(
        kind="op", id="inverses", op=Operation(name="inv"), tensors={"X": TensorSpec.contiguous("float32", X.shape)},
        tensors_sha256="0" * 64, provenance=PROVENANCE,
    )  # fmt: skip
    return write_case(Case(document, {"X": X}), folder / "inverses").path


def run(case: Path, solver: str, out: Path, *, target: str | None = None, timeout: float = 60.0, **more) -> Minimized:
    """``solver`` is one of ``minimize_faults.py`` unless it is a name or FILE.py:FACTORY."""
    name = solver if ":" in solver or solver in ("reference", "native", "skip", "cuda") else f"{FAULTS}:{solver}"
    of_limits = {key: more.pop(key) for key in ("budget_s", "max_runs", "tries") if key in more}
    of_target = {key: more.pop(key) for key in ("tool", "memory", "layout") if key in more}
    asked = Target(name, failure=None if target is None else Failure.parse(target), **of_target)
    return minimize_case(case, asked, MinimizeLimits(child=Limits(timeout_s=timeout), **of_limits), out, **more)
