"""The remaining judgements, as pure functions of planted facts: sanitizers, solvers, variables, memory and disks, privacy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from harness.doctor import backends, sanitizers, system, variables
from harness.doctor.ask import Answer, Asker, Problem
from harness.doctor.check import Check, ok, one_line
from harness.doctor.examine import _outcome
from harness.doctor.later import Later
from harness.doctor.machine import Machine
from harness.doctor.privacy import Identity

GIB = 1 << 30
GPU = {"index": 0, "name": "RTX 5090", "major": 12, "minor": 0}

# --- sanitizers ---


def found(**changes):
    healthy = {
        "path": "/x/compute-sanitizer", "version": "2025.3.1", "source": "PATH", "broken_package": None, "ran": True,
        "said": "ran 42",
    }  # fmt: skip
    return healthy | changes


@pytest.mark.parametrize(
    ("told", "has_gpu", "state", "said", "fix"),
    [
        (found(), True, "ok", "2025.3.1 from PATH", ""),
        (found(ran=False), False, "ok", "no GPU to use it on", ""),
        (found(ran=False, said="x"), True, "warn", "did not run under it", "toolkit"),
        (found(said="Unable to find injection library x.so", broken_package="12.9.79"), True, "warn", "cannot run",
         "pip uninstall nvidia-cuda-sanitizer-api-cu12; pip install nvidia-cuda-sanitizer-api"),
        (found(said="Failed to initialize WDDM debugger interface"), True, "warn", "cannot attach", "GPU debugger interface"),
        (found(broken_package="12.9.79"), True, "warn", "lack a part", "pip uninstall"),
        ({"missing": "none", "broken_package": None}, True, "warn", "none", "pip install nvidia-cuda-sanitizer-api"),
        ({"missing": "none", "broken_package": None}, False, "skip", "for GPUs only", ""),
        ({"missing": "none", "broken_package": "12.9.79"}, False, "warn", "lack a part", "pip uninstall"),
        (Problem("hung", "took over 3 s"), True, "warn", "took over 3 s", "by hand"),
    ],
)  # fmt: skip
def test_compute_sanitizer(told, has_gpu, state, said, fix):
    check = sanitizers.compute_sanitizer(told, has_gpu=has_gpu)
    assert check.state == state and said in check.detail and fix in check.fix


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        ({"compiler": "g++", "found": True, "said": "..."}, "ok", "planted fault was found"),
        ({"compiler": "g++", "found": False, "said": ""}, "warn", "was not reported"),
        ({"compiler": "g++", "unbuilt": "cannot find -lasan"}, "warn", "cannot find -lasan"),
        ({"compiler": "cl", "unsupported": "MSVC has no UBSan"}, "skip", "MSVC"),
        (Problem("failed", "CompilerMissing: no C++ compiler"), "skip", "no C++ compiler"),
        (Problem("hung", "took over 30 s"), "warn", "took over"),
    ],
)
def test_asan_and_ubsan(told, state, said):
    check = sanitizers.host_sanitizer("address", told, windows=False)
    assert (check.name, check.state) == ("ASan", state) and said in check.detail


@pytest.mark.skipif(sys.platform != "linux", reason="gcc's sanitizers")
def test_a_planted_fault_is_found_here_and_missed_when_the_report_is_silenced(tmp_path, monkeypatch):
    told = Asker(30).child("host-sanitizer", "undefined", str(tmp_path))
    if isinstance(told, Problem) or "unbuilt" in told:
        pytest.skip(f"no UBSan here: {told}")
    assert sanitizers.host_sanitizer("undefined", told, windows=False).state == "ok"
    there = sanitizers.host_sanitizer("undefined", told, windows=True)  # whatever its compiler can: no child is run under it there
    assert there.state == "skip" and "--memory exact" in there.fix
    monkeypatch.setenv("UBSAN_OPTIONS", f"log_path={tmp_path}/away")
    silenced = sanitizers.host_sanitizer("undefined", Asker(30).child("host-sanitizer", "undefined", str(tmp_path)), windows=False)
    assert silenced.state == "warn" and "UBSAN_OPTIONS" in silenced.fix


def test_valgrind():
    assert sanitizers.valgrind(None, windows=False).state == "skip"
    assert sanitizers.valgrind(Answer(0, "valgrind-3.19.0\n", "", 0.1), windows=False).state == "ok"
    assert sanitizers.valgrind(Answer(1, "", "bad CPU", 0.1), windows=False).state == "warn"
    assert sanitizers.valgrind(Answer(None, "", "", 9.0, "took over 9 s and was ended"), windows=False).state == "warn"


# --- solvers ---


def solved(**changes):
    healthy = {
        "status": "CONVERGED", "oracle_status": "CONVERGED", "distance": {"rotation_deg": 1e-6}, "exceeded": [],
        "oracle_exceeded": [], "compiler": "g++", "version": "g++ 13", "build_seconds": 2.0, "cache": "/c",
    }  # fmt: skip
    return healthy | changes


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        (solved(), "ok", "agrees with the reference: rotation_deg 1.0e-06"),
        (solved(exceeded=["rotation_deg"]), "fail", "differs from the reference"),
        (solved(exceeded=["log_scale"], distance={"log_scale": None}), "fail", "log_scale NaN"),
        (solved(status="NON_FINITE"), "fail", "NON_FINITE"),
        (solved(oracle_exceeded=["log_scale"]), "fail", "the reference itself is wrong"),
        (Problem("died", "SIGSEGV"), "fail", "crashed on a tiny problem"),
        (Problem("hung", "took over 30 s"), "fail", "hung on a tiny problem"),
        (Problem("failed", "RuntimeError: no kernel image"), "fail", "no kernel image"),
        (Problem("failed", "CudaUnavailable: cuda-core is not installed"), "warn", "cuda-core is not installed"),
        (None, "skip", "no GPU"),
    ],
)
def test_a_solver_on_its_tiny_problem(told, state, said):
    check = backends.solver("cuda", told, "no GPU")
    assert check.state == state and said in check.detail


def test_the_tiny_problem_is_really_solved_and_a_broken_solver_is_seen(tmp_path, monkeypatch):
    """With the native solver's library, and with a numpy whose solver of linear systems is a little off."""
    told = Asker(60).child("solve", "native", "cpu")
    if isinstance(told, Problem) and "NativeUnavailable" in told.message:
        pytest.skip(told.message)
    assert backends.solver("native", told).state == "ok"
    (tmp_path / "sitecustomize.py").write_text(
        "import numpy, numpy.linalg\nreal = numpy.linalg.cholesky\n"
        "numpy.linalg.cholesky = lambda *a, **k: real(*a, **k) * (1 if a[0].shape[0] < 7 else float('nan'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    spoiled = backends.solver("native", Asker(60).child("solve", "native", "cpu"))
    assert spoiled.state == "fail"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_the_gpu_backends_solve_the_tiny_problem():
    for backend in ("cuda", "torch"):
        check = backends.solver(backend, Asker(120).child("solve", backend, "cuda:0"))
        assert check.state == "ok", check


def test_the_compiler():
    assert backends.compiler(solved()).state == "ok"
    assert backends.compiler(Problem("failed", "CompilerMissing: c++ is not on PATH")).state == "warn"
    assert "exit 1" in backends.compiler(Problem("failed", "NativeUnavailable: g++: exit 1: error")).detail
    assert backends.compiler(Problem("died", "SIGSEGV")).state == "skip"


# --- variables ---


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CUDA_VISIBLE_DEVICES", "", "hides every GPU"),
        ("CUDA_VISIBLE_DEVICES", "-1", "hides every GPU"),
        ("CUDA_VISIBLE_DEVICES", "1,0", "numbers them anew"),
        ("CUDA_VISIBLE_DEVICES", "0,x", "no list of GPU numbers"),
        ("CUDA_LAUNCH_BLOCKING", "1", "races may vanish"),
        ("CUDA_LAUNCH_BLOCKING", "0", None),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments: True", "false alarms"),
        ("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync", "hides reads past a buffer"),
        ("LD_PRELOAD", "/x/libasan.so", "before all others"),
        ("LD_LIBRARY_PATH", "/usr/local/cuda/lib64/stubs", "stubs"),
        ("LD_LIBRARY_PATH", "/no/such/folder::", None),
        ("CUDA_HOME", "/no/such/toolkit", "no folder with bin/nvcc"),
        ("OMP_NUM_THREADS", "4", None),
        ("OMP_NUM_THREADS", "\u0664", "no number of threads"),
        ("SIM3SOLVE_THREADS", "9" * 5000, "no number of threads"),
        ("TORCH_CUDA_ARCH_LIST", "8.6;9.0", "no kernels for RTX 5090"),
        ("TORCH_CUDA_ARCH_LIST", "8.6;9.0+PTX", None),
        ("TORCH_CUDA_ARCH_LIST", "Hopper", None),
        ("TORCH_CUDA_ARCH_LIST", ";;\x00..", None),
        ("KMP_DUPLICATE_LIB_OK", "TRUE", "two OpenMP runtimes"),
    ],
)
def test_a_variable_that_changes_the_picture(name, value, said):
    lines = variables.judge({name: value}, [GPU])
    assert [line.name for line in lines] == ([f"variable {name}"] if said else []) + ["variables"]
    if said:
        assert lines[0].state == "warn" and said in lines[0].detail and f"{name}=" in lines[0].detail
    else:
        assert f"{name}=" in lines[0].detail


def test_of_no_other_variable_is_anything_shown():
    lines = variables.judge({"AWS_SECRET_ACCESS_KEY": "hunter2", "MY_TOKEN": "t0ken", "PATH": "/secret"}, [])
    assert [(line.state, line.detail) for line in lines] == [("ok", "no other that changes the picture is set")]


def test_a_library_folder_with_a_torch_of_its_own(tmp_path):
    (tmp_path / "libc10.so").write_bytes(b"")
    (line, _) = variables.judge({"LD_LIBRARY_PATH": f"/none:{tmp_path}"}, [])
    assert "libc10.so" in line.detail and str(tmp_path) in line.fix


# --- system ---


def test_memory_of_the_machine_and_of_the_container(tmp_path):
    assert system.memory(16 * GIB, 32 * GIB, None).state == "ok"
    assert system.memory(GIB, 32 * GIB, None).state == "warn"
    assert system.memory(16 * GIB, 32 * GIB, GIB).state == "warn"
    for text, limit in (("1073741824\n", GIB), ("max\n", None), ("junk\x00", None), ("9223372036854771712", None)):
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(text)
        assert system.memory_limit(Machine(system="linux", root=tmp_path, environ={})) == limit


def test_a_32_bit_python():
    basics = {"python": "3.11.9", "packages": {}}
    assert system.python(basics, 32).state == "fail" and system.python(basics, 64).state == "ok"


def folder(free, unwritable=None):
    return {"folder": "reports", "free_bytes": free, "unwritable": unwritable}


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (folder(50 * GIB), "ok"), (folder(GIB // 2), "warn"), (folder(1 << 20), "fail"),
        (folder(GIB, "Read-only file system"), "fail"), (folder(None), "ok"),
    ],
)  # fmt: skip
def test_room_on_the_disk(found, state):
    check = system.disk({"folders": [found, folder(9 * GIB)]}, ("reports", "build cache"))
    assert check.state == state and (state == "ok" or "--out" in check.fix)


def test_a_disk_that_does_not_answer():
    assert system.disk(Problem("hung", "took over 30 s"), ("reports",)).state == "fail"


def test_a_folder_that_cannot_be_written_is_found_by_writing():
    told = Asker(20).child("disk", "/proc/reports", ".")
    assert told["folders"][0]["unwritable"] and told["folders"][1]["unwritable"] is None


# --- lines ---


def test_a_warning_without_a_fix_cannot_be_made():
    with pytest.raises(ValueError, match="without a fix"):
        Check("x", "warn", "something")
    with pytest.raises(ValueError, match="none of ok"):
        Check("x", "bad", "something", "else")


def test_hostile_text_is_one_printable_line():
    text = one_line("\x1b[2J\x07\u202ea\nb\r\n\tc\udcff" + "x" * 10_000_000 + "end")
    assert text.startswith("\\x1b[2J\\x07\\u202ea b c\\udcff") and text.endswith("end") and len(text) < 800
    assert text.isprintable()


def test_names_of_user_and_host_are_taken_out():
    identity = Identity(("/srv/people/mgarcia",), ("mgarcia",), ("ws-0042",))
    hidden = identity.hide("/srv/people/mgarcia/x on WS-0042: /data/mgarcia/y, /home/other/z, C:\\Users\\Other\\w, mgarcias")
    assert hidden == "~/x on <host>: /data/<user>/y, /home/<user>/z, C:\\Users\\<user>\\w, mgarcias"


def test_names_that_say_nothing_and_a_hostile_home_leave_the_text_alone():
    identity = Identity.of_this_process({"USER": "root", "HOME": "/", "HOSTNAME": "a", "LOGNAME": ".*", "COMPUTERNAME": "("})
    assert identity.hide("root at /usr/lib, a (b)") == "root at /usr/lib, a (b)"


def test_a_judgement_that_raises_or_never_ends_is_a_line_and_not_the_end():
    assert _outcome("a", Later(lambda: [ok("a", "fine")]), time.monotonic() + 5)[0].state == "ok"
    raised = _outcome("b", Later(lambda: [][0]), time.monotonic() + 5)[0]
    assert raised.state == "fail" and "IndexError" in raised.detail
    late = _outcome("c", Later(lambda: time.sleep(30)), time.monotonic() + 0.2)[0]
    assert late.state == "fail" and "no answer" in late.detail


def test_the_parent_imports_no_torch_and_no_solver():
    program = (
        "import sys; import harness.cli.doctor\n"
        "bad = {m for m in sys.modules if m.split('.')[0] in ('torch', 'lietorch', 'cuda')} | "
        "{m for m in sys.modules if m.startswith(('harness.doctor.inside', 'sim3solve.pytorch', 'sim3solve.native'))}\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
