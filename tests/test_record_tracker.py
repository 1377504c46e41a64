"""What the tracker notices of being recorded: nothing, whatever it gives, gets or raises."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from recorded_tracker import Sim3, Tracker, arguments, cases, same_tensor
from slam_program import environment, run_python

from harness.errors import UsageError
from harness.record import methods, record
from sim3solve.mast3r_slam import options_from, patch, unpatch


@pytest.mark.parametrize("wrap", [Sim3, same_tensor], ids=["Sim3", "tensor"])
def test_the_result_is_the_trackers_own_object_with_the_same_bits(tmp_path, wrap):
    plain = Tracker() if wrap is Sim3 else Tracker(lambda: tuple(torch.rand(2, 1, 8, generator=torch.Generator().manual_seed(1))))
    expected = [getattr(T, "data", T).clone() for T in plain.opt_pose_ray_dist_sim3(*arguments(wrap))]
    given = arguments(wrap)
    before = [getattr(value, "data", value).clone() for value in given]
    with record(plain, tmp_path):
        got = plain.opt_pose_ray_dist_sim3(*given)
    assert [type(T) for T in got] == [wrap if wrap is Sim3 else torch.Tensor] * 2
    assert all(torch.equal(getattr(T, "data", T), e) for T, e in zip(got, expected, strict=True))
    assert all(torch.equal(getattr(a, "data", a), b) for a, b in zip(given, before, strict=True))
    (case,) = cases(tmp_path)
    assert case.document.recorded.event == "returned"
    assert case.document.recorded.T_CkCf == tuple(expected[1].double().ravel().tolist())
    assert case.options == options_from(plain.cfg) and case.options.max_iters == 7


def test_an_answer_is_handed_on_as_the_object_that_it_is(tmp_path):
    answer = (torch.zeros(1, 8), torch.zeros(1, 8))
    tracker = Tracker(lambda: answer)
    with record(tracker, tmp_path):
        assert tracker.opt_pose_ray_dist_sim3(*arguments()) is answer


def test_the_random_numbers_of_the_program_stay_its_own(tmp_path):
    tracker = Tracker()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with record(tracker, tmp_path):
        tracker.opt_pose_ray_dist_sim3(*arguments())
    assert torch.equal(torch.rand(4), expected)


def test_an_exception_is_the_programs_own_and_is_on_disk_with_its_traceback(tmp_path):
    error = ValueError("linalg.cholesky: the input is not positive-definite \ud800")

    def deep():
        raise error

    tracker = Tracker(deep)
    with record(tracker, tmp_path), pytest.raises(ValueError) as caught:
        tracker.opt_pose_ray_dist_sim3(*arguments())
    assert caught.value is error
    (case,) = cases(tmp_path)
    text = case.document.recorded.exception
    assert case.document.recorded.event == "raised"
    assert "ValueError: linalg.cholesky" in text.splitlines()[-1]
    assert "in deep" in text and "methods.py" not in text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError("x" * 50_000)], ids=lambda e: type(e).__name__)
def test_what_is_no_ordinary_exception_goes_through_and_is_recorded(tmp_path, error):
    def answer():
        raise error

    with record(Tracker(answer), tmp_path) as recording, pytest.raises(type(error)):
        recording.tracker.opt_pose_ray_dist_sim3(*arguments())
    assert type(error).__name__ in cases(tmp_path)[0].document.recorded.exception


def test_an_exception_whose_words_raise(tmp_path):
    class Bad(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def answer():
        raise Bad

    with record(Tracker(answer), tmp_path) as recording, pytest.raises(Bad):
        recording.tracker.opt_pose_ray_dist_sim3(*arguments())
    assert "Bad" in cases(tmp_path)[0].document.recorded.exception


ANSWERS = {
    "nan": (lambda: (torch.full((1, 8), float("nan")), torch.zeros(1, 8)), "not finite: T_WCf = [nan"),
    "text": (lambda: "upstream's own", "returned a str, not (T_WCf, T_CkCf)"),
    "none": (lambda: (None, None), "T_WCf is a NoneType"),
    "short": (lambda: (torch.zeros(1, 8), torch.zeros(7)), "T_CkCf has 7 numbers"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_no_finite_pose_is_kept_and_says_so(tmp_path, name):
    answer, words = ANSWERS[name]
    with record(Tracker(answer), tmp_path, on_failure_only=True) as recording:
        recording.tracker.opt_pose_ray_dist_sim3(*arguments())
    recorded = cases(tmp_path)[0].document.recorded
    assert recorded.event == "returned" and words in recorded.exception


def test_the_case_is_whole_on_disk_before_the_solver_starts(tmp_path):
    seen = []

    def answer():
        seen.extend(cases(tmp_path))
        return torch.zeros(1, 8), torch.zeros(1, 8)

    with record(Tracker(answer), tmp_path) as recording:
        recording.tracker.opt_pose_ray_dist_sim3(*arguments())
    assert [case.document.recorded.event for case in seen] == ["never_returned"]
    assert cases(tmp_path)[0].document.recorded.event == "returned"
    assert cases(tmp_path)[0].document.tensors_sha256 == seen[0].document.tensors_sha256


def test_what_the_solver_changes_in_place_was_recorded_before(tmp_path):
    given = arguments()
    original = given[0].clone()

    def answer():
        given[0].zero_()
        return torch.zeros(1, 8), torch.zeros(1, 8)

    with record(Tracker(answer), tmp_path) as recording:
        recording.tracker.opt_pose_ray_dist_sim3(*given)
    assert torch.equal(torch.from_numpy(cases(tmp_path)[0].values["Xf"].copy()), original)


def test_keywords_calibrated_calls_and_the_image_size(tmp_path):
    Xf, Xk, T_WCf, T_WCk, Qk, valid = arguments()
    with record(Tracker(), tmp_path) as recording:
        recording.tracker.opt_pose_calib_sim3(
            Xf, Xk, T_WCf, T_WCk, valid=valid, Qk=Qk, K=torch.eye(3), img_size=torch.Size([384, 512]),
            meas_k=torch.rand(60, 3), valid_meas_k=valid,
        )  # fmt: skip
    (case,) = cases(tmp_path)
    assert case.document.kind == "calib" and case.options.img_size == (384, 512)
    assert case.values["Qk"].all() and case.values["K"].tolist() == torch.eye(3).tolist()


def test_gradients_and_inference_mode(tmp_path):
    given = arguments(same_tensor)
    given[0].requires_grad_()
    answer = (torch.zeros(1, 8, requires_grad=True), torch.zeros(1, 8))
    tracker = Tracker(lambda: answer)
    with record(tracker, tmp_path):
        with torch.inference_mode():
            tracker.opt_pose_ray_dist_sim3(*arguments(same_tensor))
        tracker.opt_pose_ray_dist_sim3(*given)
        with torch.inference_mode():
            tracker.opt_pose_ray_dist_sim3(*given)
    assert [case.document.recorded.event for case in cases(tmp_path)] == ["returned"] * 3
    assert given[0].grad is None and given[0].requires_grad


def test_a_class_one_tracker_and_the_end_of_recording(tmp_path):
    one, other = Tracker(), Tracker()
    recording = record(one, tmp_path / "one")
    other.opt_pose_ray_dist_sim3(*arguments())
    one.opt_pose_ray_dist_sim3(*arguments())
    with pytest.raises(UsageError, match="is recorded already"):
        record(one, tmp_path / "one")
    recording.stop()
    recording.stop()
    one.opt_pose_ray_dist_sim3(*arguments())
    assert len(cases(tmp_path / "one")) == 1 and "opt_pose_ray_dist_sim3" not in vars(one)
    own = vars(Tracker)["opt_pose_ray_dist_sim3"]
    with record(Tracker, tmp_path / "class"):
        assert inspect.signature(Tracker.opt_pose_ray_dist_sim3) == inspect.signature(own)
        assert Tracker.opt_pose_ray_dist_sim3.__doc__ == "Solve."
        other.opt_pose_ray_dist_sim3(*arguments())
    assert vars(Tracker)["opt_pose_ray_dist_sim3"] is own
    assert len(cases(tmp_path / "class")) == 1


def test_the_patched_solver_is_recorded_too(tmp_path):
    tracker = Tracker()
    patch(tracker, backend="torch")
    with record(tracker, tmp_path):
        tracker.opt_pose_ray_dist_sim3(*arguments())
    unpatch(tracker)
    assert cases(tmp_path)[0].document.recorded.event == "returned"


def test_what_is_no_tracker_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match="not a MASt3R-SLAM tracker"):
        record(object(), tmp_path)


def test_two_trackers_in_two_threads_do_not_mix(tmp_path):
    meet = threading.Barrier(2)

    def work(k):
        tracker = Tracker(lambda: (torch.full((1, 8), float(k)), torch.full((1, 8), float(k))))
        for i in range(12):
            given = arguments(n=60_000, seed=i)
            given[0].fill_(float(k))
            meet.wait(20)
            tracker.opt_pose_ray_dist_sim3(*given)

    with record(Tracker, tmp_path):
        threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    found = cases(tmp_path)
    assert len(found) == 24
    for case in found:
        assert set(case.values["Xf"].ravel()) == set(case.document.recorded.T_WCf) <= {0.0, 1.0}


FORKED = """
import os, sys, torch
from harness.record import record
class T:
    def opt_pose_ray_dist_sim3(self, *a): return torch.zeros(1, 8), torch.zeros(1, 8)
a = [torch.ones(4, 3), torch.ones(4, 3), torch.ones(1, 8), torch.ones(1, 8), torch.ones(4, 1), torch.ones(4, 1) > 0]
record(T, "out")
T().opt_pose_ray_dist_sim3(*a)
child = os.fork()
T().opt_pose_ray_dist_sim3(*a)
if child: print(os.getpid(), child, os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_a_forked_child_records_under_its_own_name(tmp_path):
    done = run_python("-c", FORKED, cwd=tmp_path)
    parent, child, status = done.stdout.split()
    assert status == "0", done
    assert sorted(case.id.split("-")[2] for case in cases(tmp_path / "out")) == sorted([parent, parent, child])


def test_recording_imports_no_torch_and_nothing_heavy_before_the_program_does(tmp_path):
    code = (
        "import sys; from harness.record import record, hook; hook.install()\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'typer', 'rich') if m in sys.modules])\n"
        "class T:\n    def opt_pose_ray_dist_sim3(self, *a): return 'answer'\n"
        "t = T(); record(t, 'out'); print(t.opt_pose_ray_dist_sim3(1, 2, 3, 4, 5, 6), 'torch' in sys.modules)"
    )
    variables = environment(HARNESS_RECORD=str(tmp_path / "env"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["[]", "answer False"], done
    assert "the program has not imported torch" in done.stderr
    journal = next((tmp_path / "env" / ".record").glob("*.jsonl")).read_text().splitlines()
    assert json.loads(journal[0])["event"] == "loaded"


def test_a_compiled_method_without_a_signature_is_called_as_it_is(tmp_path):
    assert methods._in_order(None, (1, 2), {"c": 3}) == (1, 2, 3)
    assert methods._in_order(inspect.signature(lambda a, b, *, c=0: None), (1,), {"c": 5, "b": 2}) == (1, 2, 5)
    assert methods._in_order(inspect.signature(lambda a: None), (1, 2, 3), {}) == (1, 2, 3)
