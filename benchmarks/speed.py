"""The speed of one solve on a GPU, side by side: ``python benchmarks/speed.py --out DIR [--tracker CHECKOUT]``.

``cuda``, ``torch`` and, with a checkout of MASt3R-SLAM and its lietorch at hand, upstream's own tracker solve the same inputs under
the same stopping rule. Wall time is host to host with the result waited for, median of 50 (``cuda``: 200) after some that do not
count; time on the device is that of a graph of 20 solves; the floor is measured beside it (floor.py). Then batches of 64, and the
cold start. Writes ``speed.csv`` and ``speed.png`` into DIR.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from floor import Floor, measure
from graphs import device_us

from harness.case import Generator
from harness.scenes import generate
from sim3solve.problem import Options, Problem, RayDist

SIZES = (3072, 12288, 49152, 196608, 786432)
SCENES = (("room", 1), ("room", 2), ("plane", 1), ("plane", 2))
BATCH = 64


def scene_problem(scene: str, n: int, seed: int) -> RayDist:
    import torch

    values = generate(Generator(scene=scene, n_points=n, seed=seed))
    return RayDist(**{name: torch.from_numpy(array).cuda() for name, array in values.items()})


def median_us(call: Callable[[], object], repeats: int, settle: int = 10) -> tuple[float, float]:
    """(median microseconds, peak extra MiB of torch's allocator) of a call that waits for its result."""
    import torch

    torch.cuda.synchronize()
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for k in range(repeats + settle):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if k >= settle:
            seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds), (torch.cuda.max_memory_allocated() - base) / 2**20


def upstream(checkout: Path, problem: Problem) -> tuple[Callable[[], object], int]:
    """(a call of the tracker's own method and nothing else, the iterations it takes)."""
    import torch

    from harness.adapters import checkout as adapter

    iterations = adapter.tracker(str(checkout)).solve(problem, Options(), lambda *_: None).iterations
    made = sys.modules["mast3r_slam.tracker"].FrameTracker(None, None, problem.Xf.device)
    pose = adapter.pose_class(checkout)
    arguments = (problem.Xf, problem.Xk, pose(problem.T_WCf), pose(problem.T_WCk), problem.Qk, problem.valid_opt)

    def call() -> object:
        with torch.no_grad():
            found = made.opt_pose_ray_dist_sim3(*arguments)
        torch.cuda.synchronize()
        return found

    return call, iterations


def solves(checkout: Path | None) -> pd.DataFrame:
    """A row per size and scene."""
    from sim3solve import cuda, pytorch

    rows: list[dict[str, Any]] = []
    for n in SIZES:
        floor: Floor | None = None
        for scene, seed in SCENES:
            problem = scene_problem(scene, n, seed)
            floor = floor or measure(problem)
            plan = cuda.Plan(0)
            solution = cuda.solve(problem)
            k = solution.iterations
            fast, fast_peak = median_us(lambda problem=problem: cuda.solve(problem), 200)
            device = device_us(lambda stream, plan=plan, problem=problem: plan.launch(problem, stream=stream))
            plan.close()
            slow, slow_peak = median_us(lambda problem=problem: pytorch.solve(problem), 50)
            row = {
                "n": n, "scene": f"{scene} {seed}", "iterations": k, "cuda_us": fast, "device_us": device, "floor_us": floor.of(k),
                "device_over_floor": device / floor.of(k), "torch_us": slow, "cuda_MiB": fast_peak, "torch_MiB": slow_peak,
                "launch": floor.launch, "read": floor.read, "barrier": floor.barrier, "arithmetic": floor.arithmetic,
                "torch_iterations": pytorch.solve(problem).iterations,
            }  # fmt: skip
            if checkout is not None:
                call, iterations = upstream(checkout, problem)
                theirs, peak = median_us(call, 50)
                row |= {"upstream_us": theirs, "upstream_MiB": peak, "upstream_iterations": iterations, "times": theirs / fast}
            rows.append(row)
            words = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())
            print("  ".join(words), flush=True)
    return pd.DataFrame(rows)


def batches() -> None:
    """Batches of 64: microseconds of each problem on the device and with the host, beside the floors."""
    from sim3solve import cuda

    for n in SIZES[:-1]:
        problems = [scene_problem(SCENES[i % 4][0], n, i) for i in range(BATCH)]
        plan = cuda.Plan(0, problems=BATCH)
        found = cuda.solve_batch(problems)
        k = statistics.mean(solution.iterations for solution in found)
        floor = measure(problems[0])
        device = device_us(lambda stream, plan=plan, problems=problems: plan.launch_batch(problems, stream=stream), 2) / BATCH
        wall = median_us(lambda problems=problems: cuda.solve_batch(problems), 20)[0] / BATCH
        plan.close()
        alone, many = floor.of(round(k)), floor.of_many(round(k))
        print(
            f"batch of {BATCH}, N = {n}, {k:.1f} iterations: {device:.2f} us each on the device, {wall:.2f} with the host; "
            f"floor alone {alone:.2f} ({device / alone:.2f} times), reading and arithmetic {many:.2f} ({device / many:.2f} times)",
            flush=True,
        )


def plot(table: pd.DataFrame, file: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    curves = (
        ("upstream_us", "MASt3R-SLAM with lietorch", "#b3322b", "o"), ("torch_us", "torch", "#c77f1a", "s"),
        ("cuda_us", "cuda, host to host", "#1a6fb3", "o"), ("device_us", "cuda, on the device", "#1a6fb3", "^"),
        ("floor_us", "floor", "#777777", "_"),
    )  # fmt: skip
    for column, label, colour, mark in curves:
        if column in table:
            axes.plot(table["n"], table[column], mark, color=colour, alpha=0.55, markersize=6)
            middle = table.groupby("n")[column].median()
            axes.plot(middle.index, middle, "--" if mark in "^_" else "-", color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="points", ylabel="microseconds per solve", title=title)
    axes.set_xticks(SIZES, [f"{n:,}" for n in SIZES])
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder for speed.csv and speed.png")
    parser.add_argument("--tracker", type=Path, help="a checkout of MASt3R-SLAM; its lietorch must be importable")
    given = parser.parse_args()
    import torch

    given.out.mkdir(parents=True, exist_ok=True)
    title = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    print(title)
    table = solves(given.tracker)
    table.to_csv(given.out / "speed.csv", index=False, float_format="%.5g")
    plot(table, given.out / "speed.png", title)
    batches()
    subprocess.run([sys.executable, str(Path(__file__).with_name("cold_start.py"))], check=True)


if __name__ == "__main__":
    main()
