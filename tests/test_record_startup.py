"""By an environment variable alone: what is installed beside the packages, and what Python does with it when it starts."""

from __future__ import annotations

import importlib.util
import json
import os
import site
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from slam_program import ROOT, environment, write_program

from harness.casefile import find_cases, read_document
from harness.record import methods
from sim3solve import on_import, startup

PACKAGES = os.pathsep.join(path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))
"""Where the tests' own packages are: hatchling to build with, torch to record from. This package is not among them."""

PTH = ("sim3solve-patch.pth", "sim3solve-record.pth")
TRACKER = """
class FrameTracker:
    cfg = {}
    def opt_pose_ray_dist_sim3(self, *a): return "upstream's own"
    def opt_pose_calib_sim3(self, *a): return "upstream's own"
"""
LOOK = """
import multiprocessing, sys
def look(who):
    from mast3r_slam.tracker import FrameTracker
    print(who, FrameTracker.opt_pose_calib_sim3.__module__, "torch" in sys.modules, flush=True)
if __name__ == "__main__":
    look("main")
    child = multiprocessing.get_context("spawn").Process(target=look, args=("child",))
    child.start(); child.join()
"""


def pip(python: Path, *words: str) -> None:
    """Install for another interpreter, offline, with the build backend that is installed here."""
    argv = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(python), "install"]
    packages = {"PYTHONPATH": PACKAGES}
    done = subprocess.run([*argv, "--no-deps", "--no-index", *words], env=os.environ | packages, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None:
        pytest.skip("pip and hatchling are needed to build a wheel")
    folder = tmp_path_factory.mktemp("wheel")
    argv = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, wheel, tmp_path_factory) -> Path:
    """The Python of a new virtual environment with the package installed by pip, nothing else."""
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip(python, *([str(wheel)] if request.param == "wheel" else ["--no-build-isolation", "-e", str(ROOT)]))
    return python


def clean(**variables: str) -> dict[str, str]:
    """An environment in which the packages are found only where they are installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables


def run(python: Path, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(python), *words], cwd=folder, env=clean(**variables), capture_output=True, text=True, timeout=60)


@pytest.fixture
def program(tmp_path) -> Path:
    return write_program(tmp_path, LOOK, tracker=TRACKER)


def test_the_variable_patches_the_tracker_of_every_process(installed, program):
    done = run(installed, program, "main.py", SIM3SOLVE_PATCH="1")
    assert done.stdout.splitlines() == ["main sim3solve.mast3r_slam False", "child sim3solve.mast3r_slam False"], done


@pytest.mark.parametrize("word", ["", "0", "off"])
def test_unset_or_off_nothing_is_patched_or_even_imported(installed, program, word):
    variables = {"SIM3SOLVE_PATCH": word} if word else {}
    done = run(installed, program, "main.py", **variables)
    assert done.stdout.splitlines() == ["main mast3r_slam.tracker False", "child mast3r_slam.tracker False"], done
    if not word:
        code = "import sys; print([m for m in sys.modules if m.startswith(('sim3solve', 'harness'))])"
        assert run(installed, program, "-c", code).stdout == "[]\n"


def test_a_backend_that_is_none_is_named_once_and_the_program_runs(installed, program):
    done = run(installed, program, "-c", "print('runs')", SIM3SOLVE_PATCH="banana")
    assert done.stdout == "runs\n" and done.returncode == 0
    assert done.stderr.count("SIM3SOLVE_PATCH=banana: must be 1 or one of auto, cuda") == 1


def test_the_command_line_form_patches_what_it_spawns_as_well(installed, program):
    done = run(installed, program, "-m", "sim3solve", "main.py")
    assert done.stdout.splitlines() == ["main sim3solve.mast3r_slam False", "child sim3solve.mast3r_slam False"], done


BROKEN = {
    "syntax": "def (", "raises": "raise RuntimeError('broken')", "import": "import a_module_that_is_not_there",
    "empty": "",  # no sim3solve.startup in it
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_package_cannot_keep_python_from_starting(installed, tmp_path, broken):
    for name in ("sim3solve", "torch", "harness"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(BROKEN[broken])
    variables = {"PYTHONPATH": str(tmp_path), "SIM3SOLVE_PATCH": "1", "HARNESS_RECORD": "out"}
    done = subprocess.run(
        [str(installed), "-c", "print('runs')"], cwd=tmp_path, env=clean() | variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout == "runs\n", done


def test_a_tracker_that_is_none_keeps_its_methods_and_its_import_succeeds(installed, tmp_path):
    write_program(tmp_path, "import mast3r_slam.tracker; print('imported')", tracker="class FrameTracker: pass")
    done = run(installed, tmp_path, "main.py", SIM3SOLVE_PATCH="1")
    assert done.stdout == "imported\n" and done.returncode == 0
    assert "is not patched: ProblemError: tracker: <class" in done.stderr and "not a MASt3R-SLAM tracker" in done.stderr


@pytest.mark.parametrize("name", PTH)
def test_when_no_variable_is_set_starting_costs_less_than_a_millisecond(wheel, tmp_path, name, monkeypatch):
    for variable in ("SIM3SOLVE_PATCH", "HARNESS_RECORD"):
        monkeypatch.delenv(variable, raising=False)
    with zipfile.ZipFile(wheel) as archive:
        assert name in archive.namelist()
        (tmp_path / name).write_bytes(archive.read(name))
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        site.addpackage(str(tmp_path), name, set())
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[25] < 1e-3, seconds


RECORDED = """
import sys, torch
from mast3r_slam.tracker import FrameTracker, Sim3
from mast3r_slam.frames import frame
a = frame(); a[2:4] = [Sim3(T) for T in a[2:4]]
T = FrameTracker().opt_pose_ray_dist_sim3(*a)
print(FrameTracker.opt_pose_ray_dist_sim3.__module__, T[0].data.shape)
"""


def test_recording_by_the_variable_alone_sees_what_the_patch_does(installed, tmp_path):
    write_program(tmp_path, RECORDED, "raise AssertionError('upstream is not called')")
    variables = {"PYTHONPATH": PACKAGES, "HARNESS_RECORD": "out", "SIM3SOLVE_PATCH": "torch", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(installed), "main.py"], cwd=tmp_path, env=clean() | variables, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "sim3solve.mast3r_slam torch.Size([1, 8])\n", done
    (case,) = find_cases([tmp_path / "out"])
    assert read_document(case).recorded.event == "returned"


ELSEWHERE = """
import json, os, subprocess, sys
from mast3r_slam.tracker import FrameTracker
from mast3r_slam.frames import frame
FrameTracker().track(*frame(0))
print(json.loads(os.environ["HARNESS_RECORD_OPTIONS"])["run"], flush=True)
if len(sys.argv) == 1:
    os.chdir("elsewhere")
    subprocess.run([sys.executable, os.path.abspath("../main.py"), "child"], check=True)
"""


def test_by_the_variable_alone_a_child_is_of_the_same_run_and_folder_wherever_it_starts(tmp_path):
    write_program(tmp_path, ELSEWHERE)
    (tmp_path / "elsewhere").mkdir()
    path = os.pathsep.join([str(ROOT / "harness" / "record" / "startup"), environment()["PYTHONPATH"]])
    variables = environment(HARNESS_RECORD="out", PYTHONPATH=path)
    variables.pop("HARNESS_RECORD_OPTIONS", None)
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    parent, child = done.stdout.split()
    assert parent == child
    cases = [case.name for case in find_cases([tmp_path / "out"])]
    assert len(cases) == 2 and all(name.startswith(f"{parent}-") for name in cases)
    assert not list((tmp_path / "elsewhere").iterdir())


# --- the hook itself --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package to import, and a finder of its own that is gone again afterwards."""
    (tmp_path / "hooked").mkdir()
    (tmp_path / "hooked" / "__init__.py").write_text("")
    (tmp_path / "hooked" / "part.py").write_text("import hooked.other\nvalue = 1\n")
    (tmp_path / "hooked" / "other.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "hooked.part"
    for name in [name for name in sys.modules if name.partition(".")[0] == "hooked"]:
        del sys.modules[name]


def test_callbacks_come_after_the_module_in_order_and_leave_no_trace(module):
    said = []
    on_import.when_imported(module, lambda m: said.append(("onlooker", m.value)), order=1)
    on_import.when_imported(module, lambda m: (said.append(("patch", m.value)), setattr(m, "value", 5)))
    imported = importlib.import_module(module)
    assert said == [("patch", 1), ("onlooker", 5)]
    assert type(imported.__loader__).__name__ == type(imported.__spec__.loader).__name__ == "SourceFileLoader"
    assert importlib.import_module("hooked.other").value == 2
    importlib.reload(imported)
    assert said[2:] == [("patch", 1), ("onlooker", 5)]
    on_import.when_imported(module, lambda m: said.append("at once"))
    assert said[-1] == "at once"


def test_a_module_from_a_zip_whose_loader_all_its_modules_share(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("__init__", "one", "two"):
            archive.writestr(f"zipped_hooked/{name}.py", "")
    monkeypatch.syspath_prepend(tmp_path / "z.zip")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    said = []
    on_import.when_imported("zipped_hooked.one", lambda m: said.append(m.__name__))
    importlib.import_module("zipped_hooked.one")
    importlib.import_module("zipped_hooked.two")
    assert said == ["zipped_hooked.one"]


def test_a_module_that_is_not_there_or_fails_is_the_same_error_as_ever(module, tmp_path):
    on_import.when_imported("hooked.absent", lambda m: None)
    on_import.when_imported("hooked.bad", lambda m: pytest.fail("it never ran"))
    (tmp_path / "hooked" / "bad.py").write_text("1 / 0")
    with pytest.raises(ModuleNotFoundError, match=r"hooked\.absent"):
        importlib.import_module("hooked.absent")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("hooked.bad")


def test_run_as_a_module_it_is_still_found(module, tmp_path):
    on_import.when_imported(module, lambda m: None)
    spec = importlib.util.find_spec(module)
    assert spec is not None and "value = 1" in spec.loader.get_source(module)


def test_the_words_of_the_variable(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(startup, "when_imported", lambda name, then: calls.append(name))
    for word, expected in (("1", 1), ("torch", 1), ("YES", 1), ("0", 0), (" ", 0), ("no", 0)):
        calls.clear()
        monkeypatch.setattr(startup, "_installed", False)
        monkeypatch.setenv("SIM3SOLVE_PATCH", word)
        startup.install()
        startup.install()
        assert len(calls) == expected, word
    assert capsys.readouterr().err == ""


def test_a_checkout_that_is_not_installed_finds_the_next_sitecustomize_too(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("print('mine')")
    shim = ROOT / "harness" / "record" / "startup"
    code = "import sys, sitecustomize; print(sitecustomize.__file__, 'harness.record.hook' in sys.modules)"
    for folders, first in (([tmp_path / "mine"], ["mine"]), ([], [])):
        path = os.pathsep.join(map(str, [shim, ROOT, *folders]))
        variables = environment() | {"PYTHONPATH": path, "HARNESS_RECORD": str(tmp_path / "out")}
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=60)
        *said, last = done.stdout.splitlines()
        assert said == first and last.endswith("True"), done
        assert ("mine" in last) == bool(folders)
    kept = (tmp_path / "out" / ".record").iterdir()
    assert [json.loads(line)["event"] for file in kept for line in file.open()] == ["loaded"] * 2
    assert set(methods.KINDS) == {"opt_pose_ray_dist_sim3", "opt_pose_calib_sim3"}
