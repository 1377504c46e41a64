"""Upstream's own tracker against ours: ``python benchmarks/upstream.py CHECKOUT --out DIR``.

CHECKOUT is a clone of MASt3R-SLAM or of a port of it; Princeton's lietorch must be importable, built with the installed torch. No
weights, no data set and no network are needed, and nothing of either project is copied into this repository.

1. Every shipped case through ``lietorch``, ``pypose``, ``mast3r-slam:CHECKOUT``, ``torch``, ``native`` and, on a GPU, ``cuda``,
   each in a child of its own.
2. The cases whose masked points are NaN or zero once more with those points filled, because upstream multiplies by the mask and
   0 * NaN is NaN: filled, the same tracker must find the pose.
3. Every shipped case recorded from that tracker while it solves, and the recordings replayed through the same solvers.
4. A table per part: how many were as the case expects, the worst distance from the float64 oracle, equal iteration counts; every
   outcome that was not as expected; and what the traces say of each solver that leaves the oracle's.
Exit code 1 when a solver of ours or ``lietorch`` is not as expected in any part, the tracker not on the filled cases, or a
recording is missing. pypose is shown and held to nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.adapters.which_lietorch import which_lietorch
from harness.case import Case
from harness.casefile import find_cases, read_case, read_document, write_case
from harness.divergence import explain_trace
from harness.isolation import Limits
from harness.outcome import Kind, Outcome
from harness.process import child_environment
from harness.registry import TRACKER, resolve
from harness.replay import ORACLE, Request, replay
from harness.report.write import write_report
from harness.run import Run

ROOT = Path(__file__).resolve().parent.parent
FILLED = "-filled"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkout", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--device", default="auto", help="auto, cpu or cuda")
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--cases", type=Path, default=ROOT / "cases")
    arguments.add_argument("--record-into", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    device = _device() if given.device == "auto" else given.device
    if given.record_into is not None:
        return record(given.checkout, given.cases, given.record_into, device)
    print(f"device {device}; lietorch: {which_lietorch().reason}")
    tracker = f"{TRACKER}{given.checkout}"
    solvers = ("reference", "lietorch", "pypose", tracker, "torch", "native", *(("cuda",) if device.startswith("cuda") else ()))
    resolve(tracker)  # says so now when it is no checkout
    limits = Limits(timeout_s=120, device=device)

    def run(name: str, cases: Path) -> Run:
        request = Request((cases,), solvers, limits=limits, jobs=given.jobs, out=given.out / name, command="benchmarks/upstream.py")
        done = replay(request)
        write_report(done.folder)
        print(f"\n== {name}: {len(done.outcomes)} outcomes, report in {done.folder}")
        table(done, {read_document(folder).id: folder for folder in find_cases([cases])})
        return done

    ours = ("torch", "native", "cuda", "lietorch")
    shipped = run("shipped", given.cases)
    good = _all_as_expected(shipped, ours)
    filled = fill(given.cases, given.out / "filled-cases")
    if filled:
        good &= _all_as_expected(run("filled", given.out / "filled-cases"), (*ours, tracker))
    recordings = given.out / "recorded-cases"
    argv = [sys.executable, __file__, *sys.argv[1:], "--record-into", str(recordings), "--device", device]
    subprocess.run(argv, check=True, env=child_environment(None))
    recorded = list(find_cases([recordings]))
    wanted = sum(read_document(folder).kind != "op" for folder in find_cases([given.cases]))
    print(f"\nrecorded from the tracker: {len(recorded)} of {wanted} cases")
    good &= _all_as_expected(run("recorded", recordings), ours) and len(recorded) == wanted
    print("\nall as it must be" if good else "\nNOT as it must be")
    return 0 if good else 1


def table(run: Run, folders: Mapping[str, Path]) -> None:
    """Counts, worst parity and iterations per solver, then everything that was not as expected."""
    oracles = {o.case: o for o in run.outcomes if o.solver == ORACLE}
    for solver in dict.fromkeys(o.solver for o in run.outcomes):
        outcomes = [o for o in run.outcomes if o.solver == solver]
        errors = [o.parity["oracle"] for o in outcomes if o.kind is Kind.OK and o.parity and o.parity.get("oracle")]
        worst = {
            name: max((float(e[name]) for e in errors), default=float("nan"))
            for name in ("rotation_deg", "translation_rel", "d_sigma")
        }
        posed = [o for o in outcomes if o.kind is Kind.OK and o.case in oracles and oracles[o.case].kind is Kind.OK]
        equal = sum(o.iterations == oracles[o.case].iterations for o in posed)
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(o.kind.value for o in outcomes).items()))
        print(
            f"{solver}: as expected {sum(o.expected is True for o in outcomes)}, not {sum(o.expected is False for o in outcomes)}, "
            f"not run {sum(o.expected is None for o in outcomes)} ({kinds}); worst of {len(errors)} poses: rotation "
            f"{worst['rotation_deg']:.2g} deg, translation {worst['translation_rel']:.2g}, d {worst['d_sigma']:.2g} sigma; "
            f"iterations as the oracle's {equal} of {len(posed)}"
        )
    for outcome in run.outcomes:
        if outcome.expected is False:
            print(f"  not expected: {outcome.verdict[:220]}")
        said = _explained(folders, outcome, oracles)
        if said:
            print(f"  trace of {outcome.solver} on {outcome.case}: {said}")


def _explained(folders: Mapping[str, Path], outcome: Outcome, oracles: dict[str, Outcome]) -> str | None:
    """What the trace says of a pose that is not the oracle's."""
    if not outcome.trace or outcome.case not in oracles or not outcome.parity or outcome.parity.get("within"):
        return None
    return explain_trace(read_case(folders[outcome.case]), outcome.trace, oracles[outcome.case])


def fill(cases: Path, out: Path) -> list[Case]:
    """Copies of the cases that expect a pose and whose masked points would poison a product, with those points filled."""
    made: list[Case] = []
    for folder in find_cases([cases]):
        case = read_case(folder)
        if case.document.kind == "op" or "OK" not in case.document.expect.outcomes or case.document.generator is not None:
            continue
        values = {name: np.array(array) for name, array in case.values.items()}
        masked = ~case.values["valid_opt"][:, 0]
        if case.document.kind == "calib":
            masked |= ~case.values["valid_meas_k"][:, 0]
        X = [case.as_float(name)[masked] for name in ("Xf", "Xk")]
        poisonous = any(not np.isfinite(x).all() or not x.any(axis=1).all() for x in X)
        poisonous |= not np.isfinite(case.as_float("Qk")[masked]).all()
        if not poisonous or any(spec.alias_group for spec in case.document.tensors.values()):
            continue
        for name in ("Xf", "Xk"):
            values[name][masked] = (0, 0, 1)
        values["Qk"][masked] = 1
        if "meas_k" in values:
            values["meas_k"][masked] = (1, 1, 0)
        document = case.document.model_copy(
            update={"id": case.id + FILLED, "title": f"{case.document.title}, masked points filled"}
        )
        made.append(write_case(Case(document, values), out / document.id, replace=True))
    return made


def record(checkout: Path, cases: Path, out: Path, device: str) -> int:
    """In a process of its own: the tracker solves every case while the recorder watches it."""
    import torch

    from harness.adapters.checkout import tracker
    from harness.record import record as start_recording
    from harness.torch_layout import tensors
    from sim3solve.problem import PROBLEMS

    solver = tracker(str(checkout.resolve()))
    recording = start_recording(sys.modules["mast3r_slam.tracker"].FrameTracker, out)
    where = torch.device("cuda:0" if device == "cuda" else device)
    ended: Counter[str] = Counter()
    for folder in find_cases([cases]):
        case = read_case(folder)
        if case.document.kind == "op":
            continue
        problem = PROBLEMS[case.document.kind](**tensors(case, where))
        try:
            solver.solve(problem, case.options, lambda k, it: None)
            ended["returned"] += 1
        except Exception as error:  # noqa: BLE001  what the tracker raises is in the recording
            ended[type(error).__name__] += 1
    recording.stop()
    print(f"the tracker, while it was recorded: {dict(ended)}")
    return 0


def _all_as_expected(run: Run, solvers: Sequence[str]) -> bool:
    return all(o.expected is not False for o in run.outcomes if o.solver in solvers)


def _device() -> str:
    probe = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"], capture_output=True, text=True, check=False
    )
    return "cuda" if probe.stdout.strip() == "True" else "cpu"


if __name__ == "__main__":
    sys.exit(main())
