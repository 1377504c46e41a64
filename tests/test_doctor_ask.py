"""The doctor asks programs and children that hang, crash, print for ever and leave others behind; nothing of that reaches it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.doctor import torch_build
from harness.doctor.ask import Asker, Problem

posix = pytest.mark.skipif(os.name == "nt", reason="plants shell scripts")


def script(folder: Path, name: str, text: str) -> str:
    """An executable shell script."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)
    return str(file)


def alive(marker: str) -> list[int]:
    """Processes whose command line has the marker."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if marker in " ".join(p.info["cmdline"] or [])]


@posix
def test_an_answer_is_what_was_said_and_how_it_ended(tmp_path):
    answer = Asker(10).program([script(tmp_path, "tool", "echo yes; echo no >&2; exit 3")])
    assert (answer.code, answer.stdout, answer.stderr, answer.problem) == (3, "yes\n", "no\n", None)
    assert answer.ended == "exit 3"


@posix
def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path):
    start = time.monotonic()
    answer = Asker(0.5).program([script(tmp_path, "tool", "sleep 61.7071 &\nsleep 61.7072")])
    assert answer.problem == "took over 0.5 s and was ended"
    assert time.monotonic() - start < 3
    assert alive("61.707") == []


@posix
def test_what_a_program_leaves_behind_is_ended_too_and_not_waited_for(tmp_path):
    start = time.monotonic()
    answer = Asker(10).program([script(tmp_path, "tool", "sleep 61.7073 & echo done")])
    assert (answer.stdout, answer.code) == ("done\n", 0)
    assert time.monotonic() - start < 3
    assert alive("61.7073") == []


@posix
def test_a_program_that_prints_for_ever_is_ended(tmp_path):
    answer = Asker(20).program([script(tmp_path, "tool", "yes")], max_bytes=100_000)
    assert answer.problem == "wrote over 100000 bytes and was ended"
    assert len(answer.stdout) == 100_000 and answer.seconds < 5


@posix
def test_output_that_is_no_text_is_text_all_the_same(tmp_path):
    assert "\ufffd" in Asker(10).program([script(tmp_path, "tool", "printf '\\377\\376'")]).stdout


@posix
@pytest.mark.parametrize("content", [b"", b"\x7fELF garbage", b"#!/no/such/interpreter\n"])
def test_what_cannot_be_started_is_a_problem(tmp_path, content):
    file = tmp_path / "tool"
    file.write_bytes(content)
    file.chmod(0o755)
    answer = Asker(10).program([str(file)])
    assert answer.problem is not None and answer.problem.startswith("cannot be started: ")


def test_a_missing_program_and_a_word_with_a_nul_are_problems():
    assert "No such file" in (Asker(10).program(["/no/such/program"]).problem or "")
    assert "cannot be started" in (Asker(10).program([sys.executable, "a\0b"]).problem or "")


@posix
def test_close_ends_all_that_is_under_way_and_nothing_begins_after(tmp_path):
    asker, answers = Asker(60), []
    asking = threading.Thread(target=lambda: answers.append(asker.program([script(tmp_path, "tool", "exec sleep 61.7074")])))
    asking.start()
    while not alive("sleep 61.7074"):
        time.sleep(0.02)
    asker.close()
    asking.join(5)
    assert answers[0].problem == "was ended: interrupted"
    assert alive("61.7074") == []
    assert asker.program(["true"]).problem == "was not asked: interrupted"


# --- children: torch as it may be ---


@pytest.fixture
def torch(tmp_path, monkeypatch):
    """Plants a torch of the given source before every other, and says what the child that imports it answered."""

    def ask(source: str, limit_s: float = 20):
        (tmp_path / "torch").mkdir(exist_ok=True)
        (tmp_path / "torch" / "__init__.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return Asker(limit_s).child("torch")

    return ask


HEALTHY = (
    "import types\n__version__ = '2.9.0'\n"
    "version = types.SimpleNamespace(cuda='12.8')\n_C = types.SimpleNamespace(_cuda_getArchFlags=lambda: 'sm_90 compute_90')\n"
    "cuda = types.SimpleNamespace(is_available=lambda: False, device_count=lambda: 0)\n"
)


def test_a_healthy_torch_is_described_whatever_it_prints(torch):
    told = torch("print('{\"not\": \"the answer\"}' * 1000)\nimport os; os.write(1, b'{}')\n" + HEALTHY)
    assert (told["torch"], told["cuda_build"], told["architectures"]) == ("2.9.0", "12.8", ["sm_90", "compute_90"])
    check = torch_build.build(told)
    assert check.state == "ok" and "for CUDA 12.8" in check.detail


@pytest.mark.parametrize(
    ("source", "kind", "said", "fix"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "failed", "libcudart.so.13", "library is missing"),
        ("raise ImportError('x.so: undefined symbol: _ZN3c10')", "failed", "undefined symbol", "different versions"),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "failed", "No module named", "pip install torch"),
        ("raise OSError('[WinError 126] Error loading \"c10.dll\"')", "failed", "WinError 126", "vc_redist"),
        ("raise SystemExit(0)", "failed", "SystemExit", "install torch anew"),
        ("def f(): f()\nf()", "failed", "RecursionError", "install torch anew"),
        ("class E(BaseException):\n  def __str__(self): raise E()\nraise E", "failed", "cannot be printed", "install torch anew"),
        ("__version__ = '2.9'", "failed", "AttributeError", "install torch anew"),
        ("import os; os._exit(0)", "lost", "without an answer", "install torch anew"),
        ("import os; os._exit(7)", "lost", "exit 7", "install torch anew"),
        ("while True: print('x' * 100000)", "lost", "wrote over", "install torch anew"),
    ],
)  # fmt: skip
def test_a_broken_torch_is_a_finding_with_its_own_fix(torch, source, kind, said, fix):
    told = torch(source)
    assert isinstance(told, Problem) and told.kind == kind
    check = torch_build.build(told)
    assert check.state == "fail" and said in check.detail and fix in check.fix


@posix
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def load():\n  import os; os.abort()\nload()", "SIGABRT"),
        ("def load():\n  import ctypes; ctypes.string_at(8)\nload()", "SIGSEGV"),
    ],
)
def test_a_torch_that_crashes_is_a_finding_that_says_where(torch, source, name):
    told = torch(source)
    assert isinstance(told, Problem) and told.kind == "died"
    check = torch_build.build(told)
    assert name in check.detail and "load (" in check.detail and "torch/__init__.py:2" in check.detail.replace(os.sep, "/")


def test_a_torch_that_hangs_is_a_finding_that_says_where(torch):
    start = time.monotonic()
    told = torch("import time\ndef wait():\n  time.sleep(60)\nwait()", limit_s=1.5)
    assert isinstance(told, Problem) and told.kind == "hung"
    assert told.message.startswith("took over 1.5 s, in wait (") and time.monotonic() - start < 6


@pytest.mark.skipif(sys.platform == "win32", reason="ctypes.PyDLL(None)")
def test_a_torch_that_hangs_with_the_interpreter_locked_is_given_up(torch):
    told = torch("import ctypes\nctypes.PyDLL(None).sleep(60)", limit_s=1.5)
    assert isinstance(told, Problem) and told.kind == "hung" and "torch" in told.message


@pytest.mark.skipif(sys.platform != "linux", reason="SIGSTOP")
def test_a_child_that_is_stopped_is_given_up_by_the_parent(torch):
    told = torch("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", limit_s=0.6)
    assert isinstance(told, Problem) and told.kind == "hung"


def test_a_child_ends_by_itself_when_nobody_waits_for_it_any_more(tmp_path):
    """kill -9 of the doctor: no signal reaches its children, their own limit does."""
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(61.7075)")
    program = "import sys; from harness.doctor import Asker; Asker(3).child('torch')"
    environ = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}
    doctor = psutil.Popen([sys.executable, "-c", program], env=environ)
    while not (children := doctor.children()):
        time.sleep(0.02)
    doctor.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    doctor.wait()
    gone, still = psutil.wait_procs(children, timeout=10)
    assert gone and not still
