"""What can be shown only on a GPU: ``python benchmarks/gpu.py --out DIR``. Needs an NVIDIA GPU and a CUDA build of torch.

1. The tests marked ``gpu``.
2. Every shipped case, the seed crash's operation included, through ``torch`` on the GPU in children of their own, judged against
   the float64 oracle; then planted CUDA errors, each of which must be named as what it is (specimens.py has faulty kernels).
3. memcheck, racecheck, initcheck and synccheck of compute-sanitizer over the fused solver, each tensor an exact-size allocation.
The speed is measured by speed.py, known-bad solvers are run by specimens.py. Exit code 1 when any is not as it must be. Figures
worth keeping go into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness import registry
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind, Outcome
from harness.process import child_environment, open_launcher
from harness.replay import Request, replay
from harness.report.write import write_report

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "tests" / "cuda_faults.py"


def gpu_tests() -> bool:
    """The tests marked ``gpu``; none collected or any skipped is a failure here."""
    argv = [sys.executable, "-m", "pytest", str(ROOT / "tests"), "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr
    print(f"gpu tests: {last}")
    if done.returncode:
        print(done.stdout[-6000:])
    return done.returncode == 0 and "skipped" not in last


def shipped_cases(out: Path) -> bool:
    """Replay the corpus on the GPU and print what was not as expected, and the largest distances from the oracle."""
    start = time.perf_counter()
    run = replay(
        Request((ROOT / "cases",), ("torch", "cuda"), limits=Limits(device="cuda"), jobs=2, out=out, command="benchmarks/gpu.py")
    )
    seconds = time.perf_counter() - start
    write_report(run.folder)
    bad = [outcome for outcome in run.outcomes if outcome.expected is not True and not _has_no_operations(outcome)]
    errors = [o.parity["oracle"] for o in run.outcomes if o.kind is Kind.OK and o.parity and o.parity.get("oracle")]
    worst = {name: max(float(error[name]) for error in errors) for name in errors[0]}
    on_gpu = sum((o.device or "").startswith("cuda") and not _has_no_operations(o) for o in run.outcomes)
    off_gpu = sum(_has_no_operations(o) for o in run.outcomes)
    print(
        f"shipped cases on {run.environment['gpus']}: {len(run.outcomes) - len(bad)} of {len(run.outcomes)} as expected, ", end=""
    )
    print(f"{on_gpu} on the GPU, {seconds:.1f} s; worst against the oracle: {worst}")
    for outcome in bad:
        print(f"  {outcome.verdict}")
    return not bad and on_gpu + off_gpu == len(run.outcomes)


def _has_no_operations(outcome: Outcome) -> bool:
    """The fused solver solves; it has no single Lie-group operations to replay."""
    return outcome.solver == "cuda" and outcome.kind is Kind.UNAVAILABLE and "operations" in (outcome.reason or "")


def planted_faults(out: Path) -> bool:
    """CUDA faults in children: each must come back as the CUDA error it is, and the next child must find a healthy GPU."""
    wanted = {
        "illegal_address": 700, "device_assert": 710, "bad_device": 101, "out_of_memory": 2, "healthy": Kind.OK,
    }  # fmt: skip
    document = read_document(ROOT / "cases" / "degenerate-n-33")
    launcher = open_launcher(out / "supervisor.log", threads=2)
    good = True
    try:
        for name, want in wanted.items():
            task = Task(ROOT / "cases" / "degenerate-n-33", document, registry.resolve(f"{FAULTS}:{name}"))
            outcome = run_isolated(task, Limits(timeout_s=15), out / name, launcher)
            got = _cuda_code(outcome) if isinstance(want, int) else outcome.kind
            good &= got == want
            said = (
                f"{outcome.cuda.name} ({outcome.cuda.code}, sticky {outcome.cuda.sticky})" if outcome.cuda else outcome.kind.value
            )
            print(f"planted {name}: {said} in {outcome.seconds:.2f} s{'' if got == want else f'   <-- WRONG: {outcome}'[:3000]}")
    finally:
        launcher.close()
    return good


def _cuda_code(outcome: Outcome) -> int | None:
    return outcome.cuda.code if outcome.kind is Kind.CUDA_ERROR and outcome.cuda else None


FOOTERS = {
    "memcheck": "ERROR SUMMARY: 0 errors", "initcheck": "ERROR SUMMARY: 0 errors", "synccheck": "ERROR SUMMARY: 0 errors",
    "racecheck": "RACECHECK SUMMARY: 0 hazards",
}  # fmt: skip


def sanitizers() -> bool:
    """Each tool over the fused solver. Clean is only what has its footer and the child's own word that it solved."""
    tool_path = shutil.which("compute-sanitizer")
    if tool_path is None:
        print("sanitizers: compute-sanitizer is not on the PATH: NOT RUN")
        return False
    good = True
    environment = child_environment(None) | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for tool, footer in FOOTERS.items():
        argv = [tool_path, "--tool", tool, "--kernel-name", "regex=(solve|batch|linearize)", "--report-api-errors", "no"]
        argv += ["--error-exitcode", "97", sys.executable, str(ROOT / "tests" / "sanitized_cuda.py")]
        start = time.perf_counter()
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        clean = footer in done.stdout and "SOLVED" in done.stdout and done.returncode == 0
        good &= clean
        solved = next((line for line in done.stdout.splitlines() if line.startswith("SOLVED")), "nothing solved")
        print(f"{tool}: {'clean' if clean else 'NOT CLEAN'}, {solved}, {time.perf_counter() - start:.1f} s", flush=True)
        if not clean:
            print(done.stdout[-3000:], done.stderr[-1500:])
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder for the run and its report")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    results = [gpu_tests(), shipped_cases(out), planted_faults(out), sanitizers()]
    print("all as it must be" if all(results) else "NOT as it must be")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
