"""Recording tensors that lie on a GPU: the same bits and layout, no kernel launched, and a dead GPU blamed on who killed it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from slam_program import environment, write_program

from harness.casefile import find_cases, read_case
from harness.record import record
from harness.torch_layout import tensors as rebuilt
from sim3solve.problem import field_shapes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


class Tracker:
    def __init__(self, answer=None):
        self.cfg = {}
        self.answer = answer or (lambda: (torch.ones(1, 8, device="cuda"), torch.ones(1, 8, device="cuda")))

    def opt_pose_ray_dist_sim3(self, Xf, Xk, T_WCf, T_WCk, Qk, valid):
        return self.answer()


def frame(n: int = 5000) -> dict[str, torch.Tensor]:
    poses = torch.rand(40, 8, device="cuda")
    made = {name: torch.rand(shape, device="cuda") for name, shape in field_shapes("ray_dist", n).items()}
    buffer = torch.rand(8, n, 3, device="cuda")
    wide = torch.rand(n, 7, device="cuda")
    return made | {
        "Xf": torch.rand(3, n, device="cuda").t(), "Xk": buffer[5], "T_WCf": poses[3:4], "T_WCk": poses[9:10], "Qk": wide[:, 4:5],
        "valid_opt": torch.rand(n, 1, device="cuda") > 0.5,
    }  # fmt: skip


def recorded(tracker, given, out: Path):
    with record(tracker, out):
        tracker.opt_pose_ray_dist_sim3(*given.values())
    return read_case(next(find_cases([out])))


def test_views_transposed_and_strided_tensors_are_rebuilt_on_the_gpu(tmp_path):
    given = frame()
    case = recorded(Tracker(), given, tmp_path)
    assert case.document.recorded.event == "returned" and case.document.recorded.T_WCf == (1.0,) * 8
    again = rebuilt(case, torch.device("cuda"))
    for name, tensor in given.items():
        assert torch.equal(again[name], tensor) and again[name].stride() == tensor.stride(), name
        assert again[name].data_ptr() % 512 == tensor.data_ptr() % 512, name
        assert case.document.tensors[name].device == "cuda:0"
    assert again["T_WCk"].data_ptr() - again["T_WCf"].data_ptr() == given["T_WCk"].data_ptr() - given["T_WCf"].data_ptr()
    assert case.document.tensors["Xk"].original_storage_offset == 75_000
    assert "gpu cuda:0" in case.document.provenance.versions


def test_no_kernel_runs_and_no_device_memory_is_taken(tmp_path):
    given = frame()
    tracker = Tracker(lambda: (given["T_WCf"], given["T_WCk"]))
    recorded(tracker, given, tmp_path / "warm")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        recorded(tracker, given, tmp_path / "out")
    names = [event.key for event in profile.key_averages() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert names and all(name.startswith("Memcpy DtoH") for name in names), names
    assert torch.cuda.max_memory_allocated() == before


def test_a_buffer_made_in_inference_mode_serves_outside_of_it(tmp_path):
    given = frame()
    tracker = Tracker()
    with record(tracker, tmp_path):
        with torch.inference_mode():
            tracker.opt_pose_ray_dist_sim3(*given.values())
        tracker.opt_pose_ray_dist_sim3(*given.values())
    assert len(list(find_cases([tmp_path]))) == 2


def test_another_stream_is_waited_for_in_its_order(tmp_path):
    given = frame()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        given["Xk"].fill_(3.0)  # still to be done when the call comes
        case = recorded(Tracker(), given, tmp_path)
    assert (case.values["Xk"] == 3.0).all()


def test_while_a_graph_is_captured_nothing_is_recorded_and_the_capture_goes_well(tmp_path, caplog):
    given = frame()
    answer = (given["T_WCf"], given["T_WCk"])
    tracker = Tracker(lambda: answer)
    graph = torch.cuda.CUDAGraph()
    with record(tracker, tmp_path), caplog.at_level(logging.WARNING), torch.cuda.graph(graph):
        given["Qk"].add_(1)
        assert tracker.opt_pose_ray_dist_sim3(*given.values()) is answer
    graph.replay()
    torch.cuda.synchronize()
    assert "a CUDA graph is being captured" in caplog.text


MAIN = """
import torch
from mast3r_slam.tracker import FrameTracker
from mast3r_slam.frames import frame
tracker = FrameTracker()
for i in range(3):
    if i == 2 and {before}: torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")]  # an assertion fails on the device
    tracker.calls = i
    tracker.track(*[value.cuda() for value in frame(i)] if i < 2 else last)
    last = [value.cuda() for value in frame(i)] if i < 2 else last
"""
DIES = """
if self.calls == {dies}: torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")]
T = torch.zeros(1, 8, device="cuda") + 1
return T, T
"""


def run(folder: Path, before: bool, dies: int) -> dict:
    write_program(folder, MAIN.format(before=before), DIES.format(dies=dies))
    argv = [sys.executable, "-m", "harness", "record", "--json", "--out", "out", "--", sys.executable, "main.py"]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done
    return json.loads(done.stdout)


def test_a_gpu_that_died_before_a_call_is_not_that_calls_fault(tmp_path):
    document = run(tmp_path, True, -1)
    assert [call["state"] for call in document["calls"]] == ["returned", "returned"]
    (problem,) = [problem for problem in document["problems"] if problem["gpu_dead"]]
    assert "the GPU was already dead before call 3" in problem["reason"] and "cudaErrorAssert" in problem["reason"]
    assert document["calls"][-1]["id"] in problem["reason"]


def test_a_gpu_that_dies_of_what_a_call_launched_is_that_calls_failure(tmp_path):
    document = run(tmp_path, False, 1)
    assert [call["state"] for call in document["calls"]][:2] == ["returned", "not_a_pose"]
    assert (
        "its poses cannot be read" in document["calls"][1]["exception"] and "it died during it" in document["calls"][1]["exception"]
    )
