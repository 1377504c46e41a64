"""torch, toolkits, lietorch and extension modules: planted installations, and what the doctor makes of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from test_doctor_ask import HEALTHY, script

from harness.doctor import extensions, toolkit, torch_build
from harness.doctor.ask import Asker, Problem
from harness.doctor.facts import EXTENSIONS, MODULES
from harness.doctor.machine import Machine
from harness.versions import numbers, of_driver_api, serves

posix = pytest.mark.skipif(sys.platform == "win32", reason="plants shell scripts")
compiled = pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="makes an extension with gcc")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


@pytest.mark.parametrize(
    ("built", "capability", "how"),
    [
        ("sm_80 sm_90", (9, 0), "cubin"),
        ("sm_80 sm_86", (8, 9), "cubin"),
        ("sm_86", (8, 0), None),
        ("sm_80 sm_90", (12, 0), None),  # an RTX 50xx and a torch without sm_120
        ("sm_80 sm_90 compute_90", (12, 0), "ptx"),
        ("sm_80 compute_120", (9, 0), None),
        ("sm_90a", (9, 0), "cubin"),
        ("sm_90a compute_90a", (10, 0), None),
        ("sm_100f", (10, 3), "cubin"),
        ("sm_100f compute_100f", (12, 0), None),
        ("sm_120", (12, 0), "cubin"),
        ("", (9, 0), None),
        ("junk sm_ sm_x compute_9999999", (9, 0), None),
    ],
)
def test_which_gpus_an_architecture_list_serves(built, capability, how):
    assert serves(built.split(), capability) == how


def test_versions_are_read_from_anything():
    assert numbers("13.0.88 (build)") == (13, 0, 88) and numbers("2.11.0+cu130") == (2, 11, 0)
    assert numbers(None) == numbers("") == numbers("unknown") == ()
    assert of_driver_api(13010) == (13, 1) and of_driver_api(None) is None and of_driver_api(7) is None


def told(**changes):
    healthy = {
        "torch": "2.11.0+cu130", "cuda_build": "13.0", "architectures": ["sm_90", "sm_120"], "cxx11_abi": True,
        "cuda_available": True, "gpus": [], "file": "/t/torch/__init__.py",
    }  # fmt: skip
    return healthy | changes


@pytest.mark.parametrize(
    ("changes", "state", "said", "fix"),
    [
        ({}, "ok", "has kernels for sm_120", ""),
        ({"architectures": ["sm_80", "sm_90"]}, "fail", "no kernel image for sm_120 (error 209)", "sm_120"),
        ({"architectures": ["sm_90", "compute_90"]}, "warn", "only PTX", "built for this GPU"),
        ({"architectures": []}, "skip", "does not say", ""),
        ({"cuda_build": None}, "warn", "CPU only", "built for CUDA"),
        ({"cuda_available": False, "cuda_error": "driver too old"}, "fail", "driver too old", "driver for torch"),
        ({"cuda_available": False}, "fail", "is_available() is False", "driver"),
    ],
)
def test_torch_on_an_rtx_5090(changes, state, said, fix):
    (check,) = torch_build.on_gpus(told(**changes), [{"index": 0, "name": "RTX 5090", "major": 12, "minor": 0}])
    assert check.state == state and said in check.detail and fix in check.fix


def test_an_old_torch_is_said_to_be_old():
    assert torch_build.build(told(torch="2.1.2+cu118")).state == "warn"
    assert torch_build.build(told(torch="nightly")).state == "ok"


# --- toolkit ---

LINUX = Machine(system="linux", environ={})


def kit(release, found="PATH"):
    return toolkit.Toolkit("/x/bin/nvcc", found, release)


@pytest.mark.parametrize(
    ("release", "driver", "torch", "states"),
    [
        ("13.0.88", (13, 0), "13.0", ["ok", "ok", "ok"]),
        ("13.1.10", (13, 0), "13.0", ["ok", "warn", "ok"]),
        ("12.8.93", (13, 0), "13.0", ["ok", "ok", "warn"]),
        ("13.0.88", None, None, ["ok", "skip", "skip"]),
    ],
)
def test_toolkit_against_driver_and_torch(release, driver, torch, states):
    lines = toolkit.judge((kit(release),), LINUX, driver, torch, "no torch")
    assert [line.name for line in lines] == ["CUDA toolkit", "toolkit for driver", "toolkit for torch"]
    assert [line.state for line in lines] == states
    if states[1] == "warn":
        assert "222" in lines[1].detail


def test_toolkits_that_disagree_and_variables_that_lead_nowhere():
    both = toolkit.judge((kit("13.0.88"), kit("12.8.93", "CUDA_HOME")), LINUX, None, None)[0]
    assert both.state == "warn" and "13.0.88 by PATH, 12.8.93 by CUDA_HOME" in both.detail
    (nowhere,) = toolkit.judge((), Machine(system="linux", environ={"CUDA_HOME": "/no"}), None, None)
    assert nowhere.state == "warn" and "CUDA_HOME" in nowhere.fix
    assert toolkit.judge((), LINUX, None, None)[0].state == "skip"


@posix
@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("echo 'Cuda compilation tools, release 13.0, V13.0.88'", "13.0.88"),
        ("printf '\\033[2Jgarbage'", None),
        ("sleep 60", None),
        ("exit 1", None),
        ("kill -ABRT $$", None),
    ],
)
def test_nvcc_that_answers_or_does_not(tmp_path, text, release):
    (tmp_path / "home").mkdir()
    script(tmp_path / "home" / "bin", "nvcc", text)
    machine = Machine(system="planted", environ={"PATH": str(tmp_path / "home" / "bin"), "CUDA_HOME": str(tmp_path / "home")})
    (found,) = toolkit.ask(machine, Asker(1))
    assert found.release == release
    line = toolkit.judge((found,), machine, None, None)[0]
    assert line.state == ("ok" if release else "warn") and "\x1b" not in line.detail


# --- lietorch and the extension modules ---


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A folder on the import path with a torch that does nothing, and what the doctor says of the modules in it."""
    (tmp_path / "torch.py").write_text(HEALTHY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")

    def ask():
        asker = Asker(20)
        found = asker.child("modules", *MODULES)
        assert not isinstance(found, Problem), found
        imports, audits = {}, {}
        for name in EXTENSIONS:
            file = (found["modules"][name] or {}).get("file")
            if file:
                imports[name], audits[name] = asker.child("import", name, file), asker.child("audit", "90", file)
        return [extensions.lietorch(found), *extensions.modules(found, imports, audits, EXTENSIONS)]

    return ask


def package(folder: Path, *files: str) -> None:
    for name in ("__init__.py", *files):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("raise SystemError('nobody may import this')\n")


def test_no_lietorch_and_no_extension(planted):
    lietorch, modules = planted()
    assert (lietorch.state, modules.state) == ("skip", "skip")


def test_pypis_namesake_is_told_by_its_files_and_not_imported(planted, tmp_path):
    package(tmp_path / "lietorch", "bspline.py", "generic.py", "nn/__init__.py", "nn/m2.py", "nn/r2.py", "models/rotnist.py")
    check = planted()[0]
    assert check.state == "fail" and "PDE-G-CNN" in check.detail and "pip uninstall lietorch" in check.fix


def test_princetons_without_its_compiled_part(planted, tmp_path):
    package(tmp_path / "lietorch", "groups.py", "group_ops.py")
    check = planted()[0]
    assert check.state == "fail" and "lietorch_backends" in check.detail and "princeton-vl" in check.fix


def test_princetons_with_its_compiled_part_and_the_commit(planted, tmp_path):
    package(tmp_path / "lietorch", "groups.py", "group_ops.py")
    (tmp_path / "lietorch_backends.py").write_text("")
    about = tmp_path / "lietorch-0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lietorch\nVersion: 0.3\n")
    (about / "direct_url.json").write_text('{"url": "x", "vcs_info": {"vcs": "git", "commit_id": "e7df8655551fabcdef"}}')
    lietorch, backends = planted()
    assert lietorch.state == "ok" and "version 0.3, commit e7df8655551f" in lietorch.detail
    assert backends.state == "ok" and "can be imported" in backends.detail


def test_a_folder_that_merely_bears_the_name(planted, tmp_path):
    (tmp_path / "lietorch").mkdir()
    check = planted()[0]
    assert check.state == "warn" and check.fix


def test_a_module_for_another_python(planted, tmp_path):
    (tmp_path / "lietorch_backends.cpython-39-x86_64-linux-gnu.so").write_bytes(b"")
    check = planted()[1]
    assert check.name == "extension lietorch_backends" and check.state == "fail"
    assert "built for Python 3.9" in check.detail and f"this is {sys.version_info[0]}.{sys.version_info[1]}" in check.detail


@compiled
@pytest.mark.parametrize(
    ("source", "said", "fix"),
    [
        ("extern int _ZN3c105ErrorC1Ev(void); int f(void) { return _ZN3c105ErrorC1Ev(); }", "undefined symbol", "another torch"),
        ("#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }", "SIGABRT", "build it anew"),
        ("int f;", "PyInit_curope", "build it anew"),
    ],
)
def test_a_compiled_module_that_cannot_be_loaded(planted, tmp_path, source, said, fix):
    (tmp_path / "m.c").write_text(source)
    argv = ["gcc", "-shared", "-fPIC", "-Wl,-z,now", str(tmp_path / "m.c"), "-o", str(tmp_path / f"curope{SUFFIX}")]
    subprocess.run(argv, check=True, timeout=60)
    check = planted()[1]
    assert check.name == "extension curope" and check.state == "fail"
    assert said in check.detail and fix in check.fix and f"for Python {sys.version_info[0]}.{sys.version_info[1]}" in check.detail


@pytest.mark.skipif(sys.platform == "win32", reason="the suffix is another")
@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(60), b"\x7fELF\x02\x01\x01" + b"\xff" * 4000])
def test_a_damaged_module_file_is_a_finding(planted, tmp_path, content):
    (tmp_path / f"curope{SUFFIX}").write_bytes(content)
    check = planted()[1]
    assert check.state == "fail" and "cannot be imported" in check.detail


def test_verdicts_of_the_audit_are_the_modules_findings():
    file = "/x/lietorch_backends.so"
    found = {"lietorch": {}, "modules": dict.fromkeys(MODULES) | {"lietorch_backends": {"file": file, "others": []}}}
    no_image = {"check": "architectures", "state": "fail", "what": "no kernel image (209) on sm_120", "fix": "rebuild"}
    unseen = {"check": "linked", "state": "warn", "what": "a collision cannot be seen in it", "fix": "x"}
    loads = {"lietorch_backends": {"imported": file}}

    def judged(*verdicts):
        audits = {"lietorch_backends": {"verdicts": list(verdicts), "architectures": ["sm_80"]}}
        return extensions.modules(found, loads, audits, EXTENSIONS)[0]

    assert judged(no_image, unseen).state == "fail" and "209" in judged(no_image).detail
    fine = judged(unseen)
    assert fine.state == "ok" and "device code for sm_80" in fine.detail
    unread = extensions.modules(found, loads, {"lietorch_backends": Problem("failed", "truncated")}, EXTENSIONS)[0]
    assert unread.state == "ok" and "not looked into: truncated" in unread.detail
