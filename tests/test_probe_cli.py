"""``harness probe`` as a command: its document, wrong use, the namesake, and what is left after an interrupt."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch


def without(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is not None, reason=f"{package} is installed")


no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.skipif(os.name == "nt", reason="sent as a POSIX signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_ends_all_of_it(tmp_path, number):
    """In the middle of a hang: 130, and no process and no file of the probe is left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    file = tmp_path / "hangs.py"
    file.write_text("import time\nclass SO3:\n    Identity = classmethod(lambda *a, **k: time.sleep(1000))\n", encoding="utf-8")
    argv = [sys.executable, "-m", "harness", "probe", str(file), "--json", "--rung-timeout", "500"]
    where = os.environ | {"TMPDIR": str(temporary)}
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=where)
    deadline = time.monotonic() + 100
    while not (climbers := _climbers_below(running.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert climbers
    assert list(temporary.glob("harness-probe-*"))
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "interrupted" in err
    assert not psutil.wait_procs(climbers, timeout=20)[1]
    assert not list(temporary.glob("harness-probe-*"))


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
        pytest.param(["lietorch", "--device", "cpu"], "there is no module lietorch", marks=without("lietorch")),
        pytest.param(["pypose", "--json"], "pypose is not installed", marks=without("pypose")),
        (["empty.py"], "has no class SO3, RxSO3, SE3 or Sim3"),
    ],
)
def test_wrong_use_ends_with_2(words, said, tmp_path):
    (tmp_path / "groups.py").write_text("class SO3: pass\n", encoding="utf-8")
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
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
