"""``harness audit`` as a user meets it: exit codes, the JSON document, and a reader that dies or hangs in its child."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from audit_specimens import KERNEL, assembled, compiled, fat_binary, linked, needs_elf, needs_mingw, pair_objects, with_fat_binary

from harness.audit.isolated import audit_files
from harness.cli import audit as auditcli
from harness.cli import main as cli
from harness.diagnosis.documents import read_audit
from harness.errors import AuditError

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The command line in this process, its child in its own."""

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["harness", "audit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pair_objects(tmp_path_factory.mktemp("pair"))


@needs_elf
def test_a_collision_is_exit_code_1_and_named(audit: Callable[..., Done], pair: dict[str, Path]) -> None:
    done = audit(pair["cpu"], pair["gpu_stand_in"])
    assert done.code == 1, done.err
    assert "void inverse_kernel<float>(float const*, float*, int)" in done.out
    assert "fail" in done.out and "fix: put the CPU templates into an anonymous namespace" in done.out
    assert str(pair["cpu"]) in done.out and str(pair["gpu_stand_in"]) in done.out


@needs_elf
def test_the_json_document(audit: Callable[..., Done], pair: dict[str, Path], tmp_path: Path) -> None:
    fat = with_fat_binary(tmp_path, fat_binary())
    done = audit(pair["cpu"], pair["gpu_stand_in"], fat, "--gpu", "sm_120", "--json")
    assert done.code == 1 and done.err == ""
    document = json.loads(done.out)
    assert set(document) == {
        "files", "collisions", "shared_functions", "architectures", "undefined_torch", "long_parameters", "verdicts",
    }  # fmt: skip
    (collision,) = document["collisions"]
    assert collision == {
        "symbol": KERNEL, "demangled": "void inverse_kernel<float>(float const*, float*, int)", "host_file": str(pair["cpu"]),
        "cuda_file": str(pair["gpu_stand_in"]), "binding": "weak",
    }  # fmt: skip
    assert [a["arch"] for a in document["architectures"]] == ["sm_80", "compute_80"]
    assert {v["check"]: v["state"] for v in document["verdicts"]} == {"collisions": "fail", "architectures": "warn", "long": "ok"}
    assert all(v["fix"] for v in document["verdicts"] if v["state"] != "ok")
    assert [f["cuda"] for f in document["files"]] == [False, True, True]


@needs_elf
def test_the_kernels_of_each_image_are_named(audit: Callable[..., Done], tmp_path: Path) -> None:
    fat = with_fat_binary(tmp_path, fat_binary())
    done = audit(fat)
    assert " ".join(done.out.split()).count("2: void inverse_kernel<float>, plain") >= 1
    images = audit_files([fat])["architectures"]
    named = ["void inverse_kernel<float>(float const*, float*, int)", "plain"]
    assert [(image["kernels"], image["kernel_names"]) for image in images] == [(2, named)] * len(images)


def test_of_many_kernels_the_first_are_named() -> None:
    image = {"kernel_names": [f"k{i}(int)" for i in range(7)], "kernels": 7, "reason": None}
    assert auditcli._kernels(image) == "7: k0, k1, k2, k3, k4, and 2 more"
    assert auditcli._kernels({"kernel_names": None, "kernels": None, "reason": "compressed"}) == "compressed"
    assert (
        auditcli._kernels({"kernel_names": ["(anonymous namespace)::k(int)"], "kernels": 1}) == "1: (anonymous namespace)::k(int)"
    )
    assert auditcli._kernels({"kernel_names": [], "kernels": 0}) == "0"


@needs_elf
def test_a_torch_that_no_file_asks_for_is_said(audit: Callable[..., Done], pair: dict[str, Path], tmp_path: Path) -> None:
    torch = tmp_path / "torch" / "lib"
    torch.mkdir(parents=True)
    (torch / "libc10.so").touch()  # which is looked for, and not looked into
    done = audit(pair["cpu"], "--torch", torch)
    assert "nothing was looked up in the torch of --torch: no file wants a symbol of it" in " ".join(done.out.split())
    assert "--torch" not in audit(pair["cpu"]).out
    wrong = audit(pair["cpu"], "--torch", tmp_path)
    assert wrong.code == 0  # torch/lib in it
    nowhere = audit(pair["cpu"], "--torch", tmp_path / "nowhere")
    assert nowhere.code == 2 and "no libc10 and libtorch in it" in " ".join(nowhere.err.split())


@needs_elf
def test_what_is_fine_is_exit_code_0(audit: Callable[..., Done], tmp_path: Path) -> None:
    cured = pair_objects(tmp_path / "cured", cured=True)
    done = audit(cured["cpu"], cured["gpu_stand_in"])
    assert done.code == 0 and "fail" not in done.out, done.out


@needs_elf
def test_code_for_another_gpu_is_exit_code_1(audit: Callable[..., Done], tmp_path: Path) -> None:
    fat = with_fat_binary(tmp_path, fat_binary(("sm_80",)))
    assert audit(fat, "--gpu", "sm_80").code == 0
    done = audit(fat, "--gpu", "sm_120")
    assert done.code == 1 and "no kernel image is available" in done.out and "12.0+PTX" in done.out


@needs_elf
def test_many_collisions_are_shown_in_part_and_kept_in_json(audit: Callable[..., Done], tmp_path: Path) -> None:
    body = "".join(f"template void k<{n}>(float*);" for n in range(30))
    host = compiled(tmp_path, "template <int N> void k(float*) {}" + body, name="host.o")
    stubs = "".join(f"static void __device_stub__Z1kILi{n}EEvPf(float*) {{}}\n" for n in range(30))
    calls = "".join(f"template <> void k<{n}>(float* p) {{ __device_stub__Z1kILi{n}EEvPf(p); }}\n" for n in range(30))
    cuda = compiled(tmp_path, stubs + "template <int N> void k(float*);" + calls, "-O0", name="cuda.o")
    done = audit(host, cuda)
    assert done.code == 1 and "functions that may be folded: 30" in done.out and "and 10 more; --json has all" in done.out
    assert len(audit_files([host, cuda])["collisions"]) == 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.so",), "no such file"),
        ((__file__,), "neither ELF, COFF, PE nor an archive"),
        ((__file__, "--gpu", "rtx"), "--gpu rtx"),
        ((), "Missing argument"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_line(audit: Callable[..., Done], words: tuple[str, ...], said: str) -> None:
    done = audit(*words)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


@needs_elf
def test_patterns_are_expanded_whatever_the_shell(
    audit: Callable[..., Done], pair: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "build" / "temp.linux-x86_64-cpython-311" / "lietorch" / "src"
    below.mkdir(parents=True)
    for name, source in (("cpu", "cpu"), ("gpu", "gpu_stand_in")):
        shutil.copy(pair[source], below / f"lietorch_{name}.o")
    shutil.copy(pair["cpu"], below / "odd[1].o")
    monkeypatch.chdir(tmp_path)
    for pattern in ("build/temp*/**/lietorch_*.o", str(tmp_path / "build" / "**" / "lietorch_?pu.o")):
        done = audit(pattern, "--json")
        assert done.code == 1, done.err
        document = json.loads(done.out)
        assert [Path(file["path"]).name for file in document["files"]] == ["lietorch_cpu.o", "lietorch_gpu.o"]
        assert len(document["collisions"]) == 1
    [odd] = json.loads(audit(below / "odd[1].o", "--json").out)["files"]
    assert odd["path"].endswith("odd[1].o")
    both = audit("build/**/lietorch_cpu.o", below / "lietorch_cpu.o", "build/**/lietorch_cpu.o", "--json")
    assert len({file["path"] for file in json.loads(both.out)["files"]}) == 2  # a relative and an absolute name
    none = audit("build/temp*/**/*.obj")
    assert none.code == 2 and "no file has such a name" in none.err


@needs_elf
def test_the_document_is_written_into_a_file_beside_what_is_shown(
    audit: Callable[..., Done], pair: dict[str, Path], tmp_path: Path
) -> None:
    named = tmp_path / "new folder" / "Pr\u00fcfung.json"
    done = audit(pair["cpu"], pair["gpu_stand_in"], "--out", named)
    assert done.code == 1 and "functions that may be folded: 1" in done.out
    assert json.loads(named.read_text(encoding="utf-8"))["collisions"][0]["symbol"] == KERNEL
    assert read_audit(named).collisions
    both = audit(pair["cpu"], pair["gpu_stand_in"], "--out", named, "--json")
    assert json.loads(both.out) == json.loads(named.read_text(encoding="utf-8"))
    refused = audit(pair["cpu"], pair["gpu_stand_in"], "--out", tmp_path)
    assert refused.code == 2 and "is a folder" in refused.err and not refused.out


@needs_elf
def test_what_is_printed_is_ascii_whatever_the_names(audit: Callable[..., Done], pair: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / "\u00e9t\u00e9.o"
    shutil.copy(pair["cpu"], odd)
    done = audit(odd, "--json")
    assert done.out.isascii() and json.loads(done.out)["files"][0]["path"] == str(odd)


def test_help_has_examples(audit: Callable[..., Done]) -> None:
    done = audit("--help")
    assert done.code == 0 and "Examples" in done.out and "--gpu" in done.out


@needs_elf
def test_nothing_of_the_file_is_executed_and_torch_is_not_imported(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    source = f'#include <cstdio>\n__attribute__((constructor)) void run() {{ std::fclose(std::fopen("{mark}", "w")); }}\n'
    library = compiled(
        tmp_path, source + "namespace c10 { void Gone(); } void f() { c10::Gone(); }", "-shared", "-fPIC", name="mine.so"
    )
    package = tmp_path / "site" / "torch"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    compiled(package / "lib", "namespace c10 { void Here() {} }", "-shared", "-fPIC", name="libc10.so")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    argv = [sys.executable, "-m", "harness", "audit", str(library), "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1, done.stderr
    (verdict,) = json.loads(done.stdout)["verdicts"]
    assert "1 of 1 symbol" in verdict["what"] and str(package / "lib") in verdict["what"]
    assert not mark.exists()


@pytest.fixture
def broken_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose lief.py stands before the real one in the audit's child. Returns the file to write."""
    folder = tmp_path / "readers"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder / "lief.py"


@needs_mingw
def test_a_reader_that_dies_takes_only_its_child_along(broken_reader: Path, tmp_path: Path) -> None:
    broken_reader.write_text("import ctypes\nctypes.string_at(0)\n", encoding="utf-8")
    file = assembled(tmp_path, "ret\n", compiler="x86_64-w64-mingw32-g++", name="x.obj")
    with pytest.raises(AuditError, match=r"x\.obj: content: the process that read it ended with SIGSEGV"):
        audit_files([file])


@needs_mingw
def test_a_reader_that_hangs_is_ended(broken_reader: Path, tmp_path: Path) -> None:
    broken_reader.write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    file = assembled(tmp_path, "ret\n", compiler="x86_64-w64-mingw32-g++", name="x.obj")
    start = time.monotonic()
    with pytest.raises(AuditError, match=r"x\.obj: content: reading it took over 3 s"):
        audit_files([file], timeout_s=3)
    assert time.monotonic() - start < 30


@needs_mingw
def test_a_reader_with_a_new_kind_of_exception_ends_in_one_line(
    audit: Callable[..., Done], broken_reader: Path, tmp_path: Path
) -> None:
    broken_reader.write_text("class Odd(Exception): pass\nraise Odd('what is this')\n", encoding="utf-8")
    file = assembled(tmp_path, "ret\n", compiler="x86_64-w64-mingw32-g++", name="x.obj")
    done = audit(file)
    assert done.code == 2 and "Odd: what is this" in done.err and "Traceback" not in done.err


@needs_elf
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_audit_leaves_no_child(broken_reader: Path, tmp_path: Path) -> None:
    broken_reader.write_text(
        f"import os, time, pathlib\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    file = tmp_path / "x.obj"
    file.write_bytes(b"\x64\x86" + b"\0" * 100)
    argv = [sys.executable, "-m", "harness", "audit", str(file)]
    running = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    assert running.wait(30) not in (0, 1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@needs_elf
def test_a_linked_file_without_symbols_is_said_to_prove_nothing(
    audit: Callable[..., Done], pair: dict[str, Path], tmp_path: Path
) -> None:
    fat = with_fat_binary(tmp_path, fat_binary())
    library = linked(tmp_path, pair["cpu"], pair["gpu_stand_in"], pair["device"], fat, name="stripped.so")
    subprocess.run(["strip", str(library)], check=True)
    done = audit(library)
    assert done.code == 0 and "cannot be seen" in done.out
