"""The op ladder on planted faults: each is put on the rung it is on, and the rest is climbed all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import probe_faults
import psutil
import pytest
import torch

from harness.probe.climb import Climb
from harness.probe.conclusion import conclusion, findings, first_failing
from harness.probe.rungs import CRASH, ERROR, OK, UNAVAILABLE, WRONG, Rung, ladder


def short(devices, groups=("SO3", "Sim3")):
    """Without batch 4097 and the near-zero rungs, which test_probe_pypose climbs."""
    return tuple(r for r in ladder(devices, groups) if r.batch != 4097 and not r.near_zero)


def climb(folder, fault, **more):
    file = probe_faults.write(folder, fault)
    (folder / "probe").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.probe.climb.ladder", short)
        return Climb(str(file), folder / "probe", jobs=1, **more).run()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return climb(tmp_path_factory.mktemp("many"), "many", rung_limit_s=6)


def of(probe, op, group="Sim3", **more):
    wanted = [r for r in probe.results if r.rung.op == op and r.rung.group == group]
    return [r for r in wanted if all(getattr(r.rung, name) == value for name, value in more.items())]


def finding_at(probe, op, group):
    [found] = [f for f in findings(probe.results) if f.first.rung.op == op and f.first.rung.group == group]
    return found


def test_a_healthy_file_is_ok_on_every_rung_and_a_fresh_interpreter_says_the_same(tmp_path):
    probe = climb(tmp_path, "healthy", fork=False)
    assert {r.result for r in probe.results} == {OK}
    assert len(probe.results) == len({r.rung for r in probe.results}) > 200
    assert {r.rung.group for r in probe.results} == {"SO3", "Sim3"}
    assert first_failing(probe.results) is None
    assert "rungs are ok on cpu" in conclusion("healthy.py", probe.results)
    assert probe.environment["torch"] and probe.environment["library"] == "healthy.py"


def test_a_segfault_at_one_size_is_named_to_the_size(many):
    dead = [r for r in of(many, "inv") if r.result == CRASH]
    assert (
        dead[0].rung == Rung("inv", "Sim3", "float32", "cpu", 7) and dead[0].exit["name"] == "SIGSEGV" and dead[0].exit["crashed"]
    )
    assert "many.py" in dead[0].detail and "in inv" in dead[0].detail
    assert all(r.result == OK for batch in (0, 1) for r in of(many, "inv", batch=batch))
    assert all(r.result == CRASH or r.not_climbed for r in of(many, "inv", batch=7))
    found = finding_at(many, "inv", "Sim3")
    assert found.where == "Sim3.inv at batch 7" and found.how == "dies of SIGSEGV"
    assert not found.cause  # one op of one group is no proof of anything


def test_the_first_failing_rung_is_the_lowest(many):
    first = first_failing(many.results)
    assert first == next(r for r in many.results if r.result in (CRASH, WRONG, ERROR))
    assert first.rung.is_plain and first.rung.batch == 1 and first.rung.dtype == "float32"


def test_a_wrong_adjoint_is_wrong_and_by_how_much(many):
    wrong = of(many, "adjT")
    assert all(r.result == (WRONG if r.rung.batch else OK) for r in wrong)
    full = [r for r in wrong if r.rung.batch and r.rung.dtype in ("float32", "float64")]  # adj in half is another fault here
    assert all(r.error > 0.01 and "off in row" in r.detail for r in full)
    assert finding_at(many, "adjT", "Sim3").how.startswith("is wrong by up to")


def test_a_hang_that_holds_the_interpreter_is_ended_and_named(many):
    hung = [r for r in of(many, "log") if r.result == CRASH]
    assert hung[0].rung == Rung("log", "Sim3", "float32", "cpu", 1) and hung[0].exit is None
    assert hung[0].detail.startswith("hang, at") and "many.py" in hung[0].detail and "in log" in hung[0].detail
    assert all(r.result == OK for r in of(many, "log", dtype="float64"))
    assert (
        finding_at(many, "log", "Sim3").how == "hangs" and finding_at(many, "log", "Sim3").where == "Sim3.log in float32 at batch 1"
    )


def test_an_undefined_result_for_half_is_no_refusal(many):
    [adj], [act], [refused] = of(many, "adj", dtype="float16"), of(many, "act", dtype="float16"), of(many, "act", dtype="bfloat16")
    assert adj.result == WRONG and "zeros or NaN came back instead of a refusal of float16" in adj.detail
    assert act.result == WRONG and "undefined tensor came back instead of a refusal" in act.detail
    assert refused.result == OK and refused.detail.startswith("refuses: TypeError")
    assert all(r.result == OK for op in ("adj", "act") for r in of(many, op) if r.rung.dtype in ("float32", "float64"))
    assert any("dispatch" in f.cause for f in findings(many.results))


def test_layouts_are_told_apart(many):
    strided = [r for r in of(many, "log", "SO3") if r.result == WRONG]
    assert strided and all(r.rung.layout == "strided" for r in strided)
    assert "contiguous" in next(f.cause for f in findings(many.results) if f.first in strided)
    misaligned = [r for r in of(many, "adj", "SO3") if r.result == ERROR]
    assert misaligned and all(r.rung.layout == "offset" and "misaligned" in r.detail for r in misaligned)
    assert "aligned" in finding_at(many, "adj", "SO3").cause


def test_another_thread_is_told_apart(many):
    wrong = [r for r in of(many, "act", "SO3") if r.result == WRONG]
    assert wrong and all(r.rung.thread == "other" for r in wrong)
    assert "thread it is called on" in finding_at(many, "act", "SO3").cause


def test_a_process_that_leaves_without_a_word_is_a_crash_of_its_rung(many):
    dead = [r for r in of(many, "inv", "SO3") if r.result == CRASH]
    assert dead and "exit 0" in dead[0].detail


def test_wrong_shapes_and_types_are_wrong(many):
    assert all(r.result == WRONG and "came back where" in r.detail for r in of(many, "adjT", "SO3"))


def test_calls_without_a_fault_are_ok_beside_all_the_others(many):
    faulty = {("Sim3", op) for op in ("inv", "adjT", "log", "adj", "act", "act4")} | {
        ("SO3", op) for op in ("inv", "log", "act", "act4", "adj", "adjT")
    }
    others = [r for r in many.results if (r.rung.group, r.rung.op) not in faulty]
    assert len(others) > 100 and all(r.result == OK for r in others)


def test_a_death_that_an_earlier_rung_caused_is_not_put_on_the_later_one(tmp_path):
    probe = climb(tmp_path, "dies_of_the_one_before")
    tried_alone = [r for r in of(probe, "matrix") if "alone it ends like this" in r.detail]
    assert tried_alone and all(r.result == OK for r in tried_alone)


def test_where_everything_dies_it_costs_two_deaths_a_call_and_identity_lives(tmp_path):
    probe = climb(tmp_path, "everything_dies")
    assert all(r.result == OK for r in probe.results if r.rung.op == "Identity")
    deaths = Counter((r.rung.op, r.rung.group, r.rung.dtype) for r in probe.results if r.result == CRASH and r.rung.batch)
    assert max(deaths.values()) == 2
    dead = [r for r in probe.results if r.rung.op != "Identity"]
    assert all(r.result in (CRASH, UNAVAILABLE) for r in dead)
    assert all(r.not_climbed for r in dead if r.result == UNAVAILABLE)
    assert "every op but Identity" in conclusion("x", probe.results)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os.abort()", "the process died before anything was tried: SIGABRT"),
        ("raise ImportError('no kernel')", "its import raises ImportError: no kernel"),
        ("import sys; sys.exit(3)", "its import raises SystemExit: 3"),
        ("x = 1", "has no class SO3, RxSO3, SE3 or Sim3"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why(tmp_path, source, said):
    file = tmp_path / "broken.py"
    file.write_text(source, encoding="utf-8")
    (tmp_path / "probe").mkdir()
    probe = Climb(str(file), tmp_path / "probe", jobs=1).run()
    assert said in probe.broken and probe.results == ()


no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_all_of_it(tmp_path):
    """In the middle of a hang: 130, and no process of the probe is left."""
    file = tmp_path / "hangs.py"
    file.write_text("import time\nclass SO3:\n    Identity = classmethod(lambda *a, **k: time.sleep(1000))\n", encoding="utf-8")
    argv = [sys.executable, "-m", "harness", "probe", str(file), "--json", "--rung-timeout", "500"]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (climbers := _climbers_below(running.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert climbers
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "interrupted" in err
    assert not psutil.wait_procs(climbers, timeout=20)[1]


def _climbers_below(parent):
    """Forks of a probe's child: below ``parent``, three deep (supervisor, child, fork)."""
    below = psutil.Process(parent).children(recursive=True)
    return below if len([p for p in below if "harness.probe.child" in _words(p)]) > 1 else []


def _words(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended in this moment
        return ""


def harness(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "harness", "probe", *words], capture_output=True, text=True, timeout=200, check=False, **more
    )


def test_the_command_prints_one_document_and_ends_with_1(tmp_path):
    file = tmp_path / "groups.py"
    file.write_text(
        "import torch\nclass SO3:\n    def __init__(self, data): self.data = data\n    def adjT(self, a): return -a\n",
        encoding="utf-8",
    )
    done = harness(str(file), "--json", "--device", "cpu", "--out", str(tmp_path / "probe.json"))
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / "probe.json").read_text(encoding="utf-8")) == document
    assert done.returncode == 1
    assert set(document) == {"target", "environment", "rungs", "first_failing", "conclusion"}
    keys = {"op", "group", "dtype", "device", "batch", "layout", "stream", "thread", "result", "error", "detail", "exit"}
    assert all(set(rung) == keys for rung in document["rungs"]) and set(document["first_failing"]) == keys
    assert document["first_failing"]["op"] == "adjT" and "adjT" in document["conclusion"]
    unavailable = [rung for rung in document["rungs"] if rung["result"] == "unavailable"]
    assert unavailable and all("SO3 has no" in rung["detail"] for rung in unavailable)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "must be lietorch, pypose or a FILE.py"),
        (["missing.py"], "no file"),
        (["pypose", "--device", "tpu"], "must be auto, cpu, cuda or cuda:N"),
        pytest.param(["groups.py", "--device", "cuda"], "needs an NVIDIA GPU", marks=no_gpu),
    ],
)
def test_wrong_use_ends_with_2(words, said, tmp_path):
    (tmp_path / "groups.py").write_text("class SO3: pass\n", encoding="utf-8")
    done = harness(*words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr.replace("\n", "")


def test_the_namesake_is_refused_by_name(tmp_path):
    package = tmp_path / "lietorch"
    package.mkdir()
    for name in ("__init__", "bspline", "generic"):
        (package / f"{name}.py").write_text("raise SystemExit('it was imported')", encoding="utf-8")
    done = harness("lietorch", "--json", env=_environment(tmp_path))
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["rungs"] == [] and document["first_failing"] is None
    assert "PDE-G-CNN" in document["conclusion"] and "git+https://github.com/princeton-vl/lietorch.git" in document["conclusion"]


def _environment(folder):
    return os.environ | {"PYTHONPATH": str(folder)}
