"""What recording a call costs the tracker: ``python benchmarks/record.py [--device cuda] [--calls 60] [--json]``.

A frame of 512 x 384 points (N = 196608), both kinds of problem, contiguous and as views into larger buffers, written with every
sync (``fsync``) and for live runs (``live``). The cost is the time from the call of the method to the call of the solver, plus
that from the solver's end to the method's: everything that the tracker waits for. Every case written is read back and compared
with what the solver was given; exit code 1 when one differs or when the median of contiguous tensors is over the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from harness.casefile import find_cases, read_case
from harness.record import record

H, W = 384, 512
N = H * W
LIMIT_MS = 15.0


class Tracker:
    """A tracker whose solver takes no time, and says when it began and ended."""

    def __init__(self) -> None:
        self.cfg = {"max_iters": 50}
        self.began = self.ended = 0.0

    def solve(self, T_WCf: Any, T_WCk: Any) -> Any:
        self.began = self.ended = time.perf_counter()
        return T_WCf, T_WCk

    def opt_pose_ray_dist_sim3(self, Xf: Any, Xk: Any, T_WCf: Any, T_WCk: Any, Qk: Any, valid: Any) -> Any:
        return self.solve(T_WCf, T_WCk)

    def opt_pose_calib_sim3(
        self, Xf: Any, Xk: Any, T_WCf: Any, T_WCk: Any, Qk: Any, valid: Any, meas_k: Any, valid_meas_k: Any, K: Any, img_size: Any
    ) -> Any:
        return self.solve(T_WCf, T_WCk)


def frame(kind: str, layout: str, device: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    poses = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1]).repeat(512, 1).to(device)
    tensors = {
        "Xf": torch.rand(N, 3, generator=generator), "Xk": torch.rand(N, 3, generator=generator),
        "T_WCf": poses[3:4], "T_WCk": poses[5:6],
        "Qk": torch.rand(N, 1, generator=generator), "valid_opt": torch.rand(N, 1, generator=generator) > 0.1,
    }  # fmt: skip
    if kind == "calib":
        tensors |= {
            "meas_k": torch.rand(N, 3, generator=generator), "valid_meas_k": torch.ones(N, 1, dtype=torch.bool), "K": torch.eye(3),
        }  # fmt: skip
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    if layout == "views":  # one frame of a buffer of 8, and points stored by coordinate
        buffer = torch.rand(8, N, 3, generator=generator).to(device)
        buffer[5] = tensors["Xk"]
        tensors["Xk"] = buffer[5]
        tensors["Xf"] = tensors["Xf"].t().contiguous().t()
    return tensors


def measure(kind: str, layout: str, mode: str, device: str, calls: int, out: Path) -> dict[str, Any]:
    tensors = frame(kind, layout, device)
    tracker = Tracker()
    method = "opt_pose_ray_dist_sim3" if kind == "ray_dist" else "opt_pose_calib_sim3"
    arguments = [*tensors.values(), *([(H, W)] if kind == "calib" else [])]
    before, after = [], []
    with record(tracker, out, last=4, live=mode == "live") as _:
        for _ in range(calls):
            if device != "cpu":
                torch.cuda.synchronize()
            start = time.perf_counter()
            getattr(tracker, method)(*arguments)
            end = time.perf_counter()
            before.append(1000 * (tracker.began - start))
            after.append(1000 * (end - tracker.ended))
    cases = [read_case(folder) for folder in find_cases([out])]
    expected = {name: tensor.contiguous().cpu().numpy() for name, tensor in tensors.items()}
    same = len(cases) == 4 and all(
        np.array_equal(case.values[name], values) and case.document.recorded.event == "returned"
        for case in cases
        for name, values in expected.items()
    )
    total = [b + a for b, a in zip(before[5:], after[5:], strict=True)]  # the first ones make buffers
    return {
        "kind": kind, "layout": layout, "mode": mode, "device": device, "median_ms": round(statistics.median(total), 2),
        "p90_ms": round(sorted(total)[int(0.9 * len(total))], 2), "max_ms": round(max(total), 2), "first_ms": round(before[0], 2),
        "before_ms": round(statistics.median(before[5:]), 2), "after_ms": round(statistics.median(after[5:]), 2),
        "MB": round(sum(t.numel() * t.element_size() for t in tensors.values()) / 1e6, 2), "same_bits": same,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--out", type=Path, default=None, help="a folder on the disk to measure; default: the temporary one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind in ("ray_dist", "calib"):
        for layout in ("contiguous", "views"):
            for mode in ("fsync", "live"):
                out = Path(tempfile.mkdtemp(dir=given.out))
                try:
                    rows.append(measure(kind, layout, mode, given.device, given.calls, out))
                finally:
                    shutil.rmtree(out)
    machine = torch.cuda.get_device_name() if given.device != "cpu" else f"{platform.machine()}, {os.cpu_count()} cores"
    ok = all(row["same_bits"] for row in rows) and all(r["median_ms"] < LIMIT_MS for r in rows if r["layout"] == "contiguous")
    if given.json:
        print(json.dumps({"device": machine, "torch": torch.__version__, "limit_ms": LIMIT_MS, "ok": ok, "rows": rows}))
        return 0 if ok else 1
    print(f"{machine}; torch {torch.__version__}; N = {N}; ms a call, of {given.calls}")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print("ok" if ok else f"NOT OK: over {LIMIT_MS} ms, or bits differ")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
