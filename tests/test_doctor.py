"""``harness doctor`` as a whole: on this machine, on a machine on which everything is broken, interrupted, and on a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_doctor_ask import HEALTHY, alive, script

ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="plants shell scripts")
STATES = {"ok", "warn", "fail", "skip"}
NAMES = [
    "system", "python", "memory", "disk", "driver", "nvidia-smi", "driver for torch", "driver for cuda-core",
    "GPU faults in the system log", "CUDA toolkit", "torch", "lietorch", "TDR", "GPU debugger interface", "WSL",
    "compute-sanitizer", "ASan", "UBSan", "valgrind", "compiler", "solver native", "solver torch", "solver torch on the GPU",
    "solver cuda", "variables",
]  # fmt: skip


def doctor(*words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run it with these environment variables beside this process's own."""
    argv = [sys.executable, "-m", "harness", "doctor", *words]
    environ = os.environb | {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, timeout=100)


def checks_of(done: subprocess.CompletedProcess) -> dict[str, dict[str, str]]:
    """The lines of a ``--json`` answer by name, after a look at what every answer must be."""
    document = json.loads(done.stdout.decode("ascii"))
    assert set(document) == {"checks"}
    for check in document["checks"]:
        assert set(check) == {"name", "state", "detail", "fix"} and all(isinstance(value, str) for value in check.values())
        assert check["state"] in STATES
        assert check["fix"] or check["state"] in ("ok", "skip")
        assert check["detail"] and check["detail"].isprintable() and len(check["detail"]) < 800
    names = [check["name"] for check in document["checks"]]
    assert len(set(names)) == len(names)
    assert done.returncode == (1 if any(check["state"] == "fail" for check in document["checks"]) else 0), done.stderr
    return {check["name"]: check for check in document["checks"]}


@pytest.mark.skipif(os.name == "nt", reason="os.environb")
def test_this_machine_in_one_document_within_seconds(tmp_path):
    start = time.monotonic()
    file = tmp_path / "doctor.json"
    done = doctor("--json", "--out", str(file))
    found = checks_of(done)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(done.stdout)
    assert time.monotonic() - start < 45
    assert [name for name in NAMES if name not in found] == []
    assert found["torch"]["state"] == "ok" and found["solver torch"]["state"] == "ok"
    assert "agrees with the reference" in found["solver torch"]["detail"]
    assert found["solver native"]["state"] in ("ok", "warn")
    assert str(Path.home()) not in json.dumps(found)


@posix
def test_a_machine_on_which_everything_is_broken(tmp_path):
    """Hanging, crashing and lying tools, a torch that aborts, folders that are none, variables full of escapes and secrets."""
    tools = {
        "nvidia-smi": "exec sleep 61.8081", "nvcc": "printf '\\033[2Jnonsense\\377'", "compute-sanitizer": "exec yes",
        "valgrind": "kill -SEGV $$", "dmesg": "exec sleep 61.8082", "c++": "exec sleep 61.8083", "git": "exit 1",
    }  # fmt: skip
    for name, text in tools.items():
        script(tmp_path / "bin", name, f"PATH=/usr/bin:/bin\n{text}")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "torch.py").write_text("print('x' * 100000)\nimport os\nos.abort()")
    (tmp_path / "lib" / "lietorch").mkdir()
    (tmp_path / "lib" / "lietorch" / "__init__.py").write_text("import os; os.abort()")
    (tmp_path / "lib" / "lietorch_backends.py").write_text("import os; os._exit(0)")
    start = time.monotonic()
    done = doctor(
        "--timeout", "2", "--json", "--reports", "/proc/reports", PATH=str(tmp_path / "bin"), PYTHONPATH=str(tmp_path / "lib"),
        CUDA_VISIBLE_DEVICES="\x1b[2J\udcff0", AWS_SECRET_ACCESS_KEY="hunter2", TMPDIR="/no/such", SIM3SOLVE_CACHE="/proc/cache",
        SIM3SOLVE_THREADS="many", LD_LIBRARY_PATH="\udc80:::/stubs", PYTHONINSPECT="1", COLUMNS="many", LINES="-1", TERM="junk",
        USER="hunter3", HOSTNAME="hunter4-host", OMP_NUM_THREADS="0", CXX="", LANG="xx_YY.nothing",
    )  # fmt: skip
    assert time.monotonic() - start < 30
    found = checks_of(done)
    assert [name for name in NAMES if name not in found] == []
    said = {
        "disk": ("fail", "cannot be written"), "nvidia-smi": ("fail", "took over 2 s"), "CUDA toolkit": ("warn", "nonsense"),
        "torch": ("fail", "SIGABRT"), "compute-sanitizer": ("warn", "took over 2 s"), "valgrind": ("warn", "SIGSEGV"),
        "ASan": ("warn", "took over 2 s"), "GPU faults in the system log": ("skip", "took over"), "lietorch": ("warn", "neither"),
        "solver native": ("fail", "took over 2 s"), "solver torch": ("skip", "torch cannot be imported"),
        "variable CUDA_VISIBLE_DEVICES": ("warn", "\\x1b[2J\\udcff0"), "variable SIM3SOLVE_THREADS": ("warn", "many"),
        "variable LD_LIBRARY_PATH": ("warn", "stubs"), "variable OMP_NUM_THREADS": ("warn", "no number of threads"),
        "extension lietorch_backends": ("fail", "cannot be imported"),
    }  # fmt: skip
    assert {name: (found[name]["state"], text in found[name]["detail"]) for name, (_, text) in said.items()} == {
        name: (state, True) for name, (state, _) in said.items()
    }
    assert "hunter" not in done.stdout.decode() + done.stderr.decode()
    assert alive("61.808") == []


@posix
def test_nothing_installed_and_no_path(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    done = doctor("--timeout", "20", PATH="", PYTHONPATH=str(tmp_path))
    text = " ".join(done.stdout.decode().split())
    assert done.returncode == 1 and "Traceback" not in text + done.stderr.decode()
    assert "fail torch" in text and "pip install torch" in text
    assert "warn compiler" in text and "skip nvidia-smi not on PATH" in text


@posix
def test_a_cpu_only_torch_and_no_gpu_are_no_failure(tmp_path):
    """Healthy, and for the CPU only: exit code 0. The planted torch solves nothing, which is said of the solver, as a failure."""
    (tmp_path / "torch.py").write_text(HEALTHY.replace("'12.8'", "None"))
    found = checks_of(doctor("--json", PYTHONPATH=str(tmp_path), PATH=""))
    assert found["torch"]["state"] == "ok" and found["driver for torch"]["state"] == "skip"
    assert [name for name, check in found.items() if check["state"] == "fail"] == ["solver torch"]


@posix
def test_the_table_is_written_in_any_encoding(tmp_path):
    """A tool whose folder has a name that this stdout has no character for."""
    folder = tmp_path / "schön"
    script(folder, "nvcc", "echo 'release 13.0, V13.0.88'")
    variables = {"CUDA_LAUNCH_BLOCKING": "1", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(tmp_path), "PATH": str(folder)}
    (tmp_path / "torch.py").write_text("raise ImportError('none')")
    text = doctor(**variables).stdout.decode("ascii")
    assert "sch\\xf6n" in text
    assert "races may vanish" in text and "fix: unset it" in text
    assert text.rstrip().splitlines()[-1].endswith("skip")


@posix
def test_ctrl_c_ends_all_that_it_started(tmp_path):
    script(tmp_path, "nvidia-smi", "PATH=/bin:/usr/bin\nexec sleep 61.8084")
    environ = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    argv = [sys.executable, "-m", "harness", "doctor", "--json"]
    running = psutil.Popen(argv, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not alive("sleep 61.8084"):
        time.sleep(0.02)
    children = running.children(recursive=True)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130 and out == b"" and b"Traceback" not in err
    assert psutil.wait_procs(children, timeout=5)[1] == []


@pytest.mark.parametrize("words", [("--timeout", "0"), ("--timeout", "x"), ("extra",)])
def test_wrong_use_is_exit_code_2(words):
    done = subprocess.run([sys.executable, "-m", "harness", "doctor", *words], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 2 and b"Traceback" not in done.stderr


def test_help_has_examples():
    done = subprocess.run([sys.executable, "-m", "harness", "doctor", "--help"], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0 and b"Example" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="needs an NVIDIA GPU")
def test_a_machine_with_a_gpu():
    found = checks_of(doctor("--json", "--timeout", "120"))
    assert found["driver"]["state"] == "ok"
    assert found["GPU 0"]["state"] == "ok" and "compute capability" in found["GPU 0"]["detail"]
    assert found["torch on GPU 0"]["state"] == "ok"
    assert found["solver cuda"]["state"] == "ok" and found["solver torch on the GPU"]["state"] == "ok"
