"""What can be shown only on a GPU: ``python benchmarks/gpu.py --out DIR``. Needs an NVIDIA GPU and a CUDA build of torch.

1. The tests marked ``gpu``.
2. Every shipped case, the seed crash's operation included, through ``torch`` on the GPU in children of their own, judged against
   the float64 oracle; then planted CUDA faults, each of which must be named as what it is.
3. The time of one solve with ``torch`` on the GPU at several sizes, host to host: median of 50 after 5 that do not count.
Exit code 1 when any of it is not as it must be. Figures worth keeping go into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import registry
from harness.case import Generator
from harness.casefile import read_document
from harness.isolation import Limits, Task, run_isolated
from harness.outcome import Kind, Outcome
from harness.process import open_launcher
from harness.replay import Request, replay
from harness.report import write_report
from harness.scenes import generate

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "tests" / "cuda_faults.py"
SIZES = (3072, 12288, 49152, 196608, 786432)


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
    run = replay(Request((ROOT / "cases",), ("torch",), limits=Limits(device="cuda"), jobs=2, out=out, command="benchmarks/gpu.py"))
    seconds = time.perf_counter() - start
    write_report(run.folder)
    bad = [outcome for outcome in run.outcomes if outcome.expected is not True]
    errors = [o.parity["oracle"] for o in run.outcomes if o.kind is Kind.OK and o.parity and o.parity.get("oracle")]
    worst = {name: max(float(error[name]) for error in errors) for name in errors[0]}
    on_gpu = sum((o.device or "").startswith("cuda") for o in run.outcomes)
    print(
        f"shipped cases on {run.environment['gpus']}: {len(run.outcomes) - len(bad)} of {len(run.outcomes)} as expected, ", end=""
    )
    print(f"{on_gpu} on the GPU, {seconds:.1f} s; worst against the oracle: {worst}")
    for outcome in bad:
        print(f"  {outcome.verdict}")
    return not bad and on_gpu == len(run.outcomes)


def planted_faults(out: Path) -> bool:
    """CUDA faults in children: each must come back as the CUDA error it is, and the next child must find a healthy GPU."""
    wanted = {
        "illegal_address": 700, "misaligned": 716, "device_assert": 710, "bad_device": 101, "out_of_memory": 2,
        "endless": Kind.TIMEOUT, "healthy": Kind.OK,
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


def timings(repeats: int = 50) -> None:
    """Wall time per solve of the pure PyTorch solver, result read back included."""
    import torch

    from sim3solve.problem import RayDist
    from sim3solve.pytorch import solve

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    print(f"{'N':>8} {'iterations':>10} {'median ms':>10} {'peak MiB':>9}")
    for n in SIZES:
        values = generate(Generator(scene="room", n_points=n, seed=1))
        problem = RayDist(**{name: torch.from_numpy(a).cuda() for name, a in values.items()})
        base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds = []
        for k in range(repeats + 5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            solution = solve(problem)
            solution.T_WCf.cpu()
            if k >= 5:
                seconds.append(time.perf_counter() - start)
        peak = (torch.cuda.max_memory_allocated() - base) / 2**20
        print(f"{n:8d} {solution.iterations:10d} {1000 * statistics.median(seconds):10.2f} {peak:9.1f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder for the run and its report")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    results = [gpu_tests(), shipped_cases(out), planted_faults(out)]
    timings()
    print("all as it must be" if all(results) else "NOT as it must be")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
