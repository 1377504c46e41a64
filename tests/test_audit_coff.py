"""COFF objects and PE files, built with mingw; names as MSVC makes them, assembled by hand. Nothing here was built by MSVC."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from audit_specimens import (
    COLLISION,
    KERNEL,
    MINGW,
    assembled,
    compiled,
    fat_binary,
    linked,
    needs_mingw,
    pair_objects,
    with_fat_binary,
)

from harness.audit import collisions, signatures
from harness.audit import linked as linked_files
from harness.audit.binary import read_binaries
from harness.audit.isolated import audit_files
from harness.audit.model import Binary
from harness.errors import AuditError
from harness.process import child_environment

pytestmark = needs_mingw
CPU = "template <class T> void f(const T*, T*, int) {} template void f<float>(const float*, float*, int);"

# What cl.exe and nvcc make of the pair: a COMDAT of one decorated name in both, which in the CUDA object calls the device stub.
MSVC_NAME = "??$inverse_kernel@M@@YAXPEBMPEAMH@Z"
MSVC_STUB = f"?__device_stub_{KERNEL}@@YAXPEBMPEAMH@Z"
MSVC_COMDAT = f"""
.section .text$mn,"xr"
.linkonce discard
.globl "{MSVC_NAME}"
.def "{MSVC_NAME}"; .scl 2; .type 32; .endef
"{MSVC_NAME}":
"""
MSVC_HOST = MSVC_COMDAT + "ret\n"
MSVC_CUDA = f"""
.text
.def "{MSVC_STUB}"; .scl 3; .type 32; .endef
"{MSVC_STUB}":
jmp cudaLaunchKernel
{MSVC_COMDAT}
jmp "{MSVC_STUB}"
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pair_objects(tmp_path_factory.mktemp("pair"), compiler=MINGW)


def read(*files: Path) -> list[Binary]:
    return [binary for file in files for binary in read_binaries(file)]


def kernels(*files: Path) -> list[collisions.Collision]:
    return [c for c in collisions.find(read(*files)) if c.kernel]


def test_the_pair_collides_as_comdats(pair: dict[str, Path]) -> None:
    (found,) = kernels(pair["cpu"], pair["gpu_stand_in"])
    assert (found.symbol, found.binding) == (KERNEL, "comdat")
    assert (found.host_file, found.cuda_file) == (str(pair["cpu"]), str(pair["gpu_stand_in"]))


def test_the_cured_pair_does_not(pair: dict[str, Path], tmp_path: Path) -> None:
    source = COLLISION / "cpu.cpp"
    cured = compiled(tmp_path, source.read_text(encoding="utf-8"), "-DANONYMOUS_NAMESPACE", "-fno-inline", f"-I{COLLISION}",
                     compiler=MINGW, name="cured.obj")  # fmt: skip
    assert kernels(cured, pair["gpu_stand_in"]) == [] and kernels(pair["cpu"], pair["gpu_stand_in"])
    assert read(pair["gpu_stand_in"])[0].is_cuda


def test_names_as_msvc_makes_them(tmp_path: Path) -> None:
    host = assembled(tmp_path, MSVC_HOST, compiler=MINGW, name="host.obj")
    cuda = assembled(tmp_path, MSVC_CUDA, compiler=MINGW, name="cuda.obj")
    (found,) = kernels(host, cuda)
    assert found.symbol == MSVC_NAME and found.binding == "comdat"
    assert signatures.demangle(MSVC_NAME) == "void __cdecl inverse_kernel<float>(float const *, float *, int)"
    assert KERNEL in read(cuda)[0].kernels  # the device's own name for it, out of the stub's
    assert [b.is_cuda for b in read(host, cuda)] == [False, True]


def test_big_objects(pair: dict[str, Path], tmp_path: Path) -> None:
    """What /bigobj writes: other header, wider symbols. torch extensions are built so."""
    folder = tmp_path / "big"
    folder.mkdir()
    source = COLLISION / "cpu.cpp"
    subprocess.run([MINGW, "-Wa,-mbig-obj", "-fno-inline", "-c", str(source), "-o", "cpu.obj"], cwd=folder, check=True)
    assert (folder / "cpu.obj").read_bytes()[:4] == b"\0\0\xff\xff"
    assert [c.symbol for c in kernels(folder / "cpu.obj", pair["gpu_stand_in"])] == [KERNEL]


def test_an_object_without_its_symbols_does_not_pass_for_a_good_one(pair: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare.obj"
    subprocess.run(["x86_64-w64-mingw32-strip", "--strip-all", "-o", str(bare), str(pair["cpu"])], check=True)
    with pytest.raises(AuditError, match=r"bare\.obj: COFF symbols: stripped"):
        read(bare)
    bare.write_bytes(b"\0\0\xff\xff\x01\0\x64\x86" + b"\0" * 100)  # the header that cl.exe /GL writes
    with pytest.raises(AuditError, match="/GL"):
        read(bare)


def test_a_library_of_objects(pair: dict[str, Path], tmp_path: Path) -> None:
    library = tmp_path / "pair.lib"
    subprocess.run(["x86_64-w64-mingw32-ar", "rcs", str(library), str(pair["cpu"]), str(pair["gpu_stand_in"])], check=True)
    (found,) = kernels(library)
    assert (found.host_file, found.cuda_file) == (f"{library}(cpu.obj)", f"{library}(gpu_stand_in.obj)")


def test_elf_and_coff_are_never_compared(pair: dict[str, Path], tmp_path: Path) -> None:
    host = tmp_path / "host.o"
    if subprocess.run(
        ["g++", "-c", "-fno-inline", str(Path(__file__).parent / "specimens/collision/cpu.cpp"), "-o", str(host)]
    ).returncode:
        pytest.skip("needs a g++ of this system")
    assert collisions.find(read(host, pair["gpu_stand_in"])) == []


@pytest.mark.parametrize("section", [".nv_fatbin", ".nv_fatb"])
def test_device_code_in_an_object_and_in_a_pyd(section: str, pair: dict[str, Path], tmp_path: Path) -> None:
    fat = with_fat_binary(tmp_path, fat_binary(), compiler=MINGW, section=section, name="fat.obj")
    pyd = linked(tmp_path, pair["cpu"], pair["gpu_stand_in"], pair["device"], fat, name="linked.pyd", compiler=MINGW)
    for file in (fat, pyd):
        (binary,) = read(file)
        assert binary.format == ("PE" if file is pyd else "COFF")
        assert [image.arch for f in binary.fat_binaries for image in f.images] == ["sm_80", "compute_80"]
        assert {KERNEL, "plain"} <= binary.kernels
    (verdict,) = linked_files.verdicts(read(pyd))
    assert verdict.state == "warn" and "Windows" in verdict.what and "*.obj" in verdict.fix


def test_a_pyds_imports_are_what_it_wants_of_others(tmp_path: Path) -> None:
    exporting = "namespace c10 { __declspec(dllexport) void SetHere(int) {} }"
    library = compiled(tmp_path, exporting, "-shared", compiler=MINGW, name="c10.dll")
    user = tmp_path / "user.pyd"
    source = tmp_path / "user.cpp"
    source.write_text('namespace c10 { __declspec(dllimport) void SetHere(int); }\nextern "C" void f() { c10::SetHere(1); }\n')
    subprocess.run([MINGW, "-shared", str(source), str(library), "-o", str(user)], check=True)
    (binary,) = read(user)
    assert "_ZN3c107SetHereEi" in binary.undefined
    lib = tmp_path / "torch" / "lib"
    lib.mkdir(parents=True)
    library.rename(lib / "c10.dll")
    (verdict,) = [v for v in audit_files([user], torch=tmp_path / "torch")["verdicts"] if v["check"] == "torch"]
    assert verdict["state"] == "ok", verdict


def test_symbols_that_one_symbol_swallows(pair: dict[str, Path], tmp_path: Path) -> None:
    """A symbol says how many records belong to it; those it takes too many would be functions not seen."""
    data = bytearray(pair["cpu"].read_bytes())
    data[int.from_bytes(data[8:12], "little") + 17] = 200
    file = tmp_path / "swallowed.obj"
    file.write_bytes(data)
    with pytest.raises(AuditError, match=r"swallowed\.obj: COFF symbols"):
        read(file)


@pytest.mark.parametrize("name", ["cpu", "gpu_stand_in"])
def test_every_cut_is_an_audit_error_or_loses_only_what_is_no_symbol(pair: dict[str, Path], name: str, tmp_path: Path) -> None:
    data = pair[name].read_bytes()
    whole = read(pair[name])[0]
    cut = tmp_path / "cut.obj"
    for length in range(0, len(data), 131):
        cut.write_bytes(data[:length])
        try:
            (binary,) = read(cut)
        except AuditError as error:
            assert error.field
        else:
            assert len(binary.functions) == len(whole.functions)


def test_a_symbol_table_past_the_end(pair: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(pair["cpu"].read_bytes())
    data[12:16] = b"\xff\xff\xff\x7f"
    file = tmp_path / "many.obj"
    file.write_bytes(data)
    with pytest.raises(AuditError, match=r"many\.obj: COFF symbols: 2147483647 symbols"):
        read(file)


MUTATE = """
import random, sys
from pathlib import Path
from harness.audit.binary import read_binaries
from harness.errors import AuditError
from harness.process import child_environment
base, folder, seed, refused = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3]), 0
draw = random.Random(seed)
for k in range(200):
    data = bytearray(base)
    for _ in range(draw.randint(1, 6)):
        at = draw.choice((draw.randrange(min(len(base), 600)), draw.randrange(len(base))))
        data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 42))
    (folder / "fuzzed.bin").write_bytes(data)
    try:
        read_binaries(folder / "fuzzed.bin")
    except AuditError as error:
        assert error.field
        refused += 1
print("refused", refused)
"""


@pytest.mark.parametrize("kind", ["object", "big", "linked"])
def test_mutated_files_give_binaries_or_an_audit_error(kind: str, pair: dict[str, Path], tmp_path: Path) -> None:
    """In a process of its own: the reader is native code. The seed is fixed, so that a failure can be repeated."""
    base = pair["gpu_stand_in"]
    if kind == "big":
        base = compiled(tmp_path, CPU, "-Wa,-mbig-obj", compiler=MINGW, name="big.obj")
    if kind == "linked":
        base = linked(tmp_path, pair["cpu"], pair["gpu_stand_in"], pair["device"], name="whole.dll", compiler=MINGW)
        subprocess.run(["x86_64-w64-mingw32-strip", str(base)], check=True)
    argv = [sys.executable, "-c", MUTATE, str(base), str(tmp_path), "7"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=child_environment(None))
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[1]) > 0  # some are damaged for good; the reader forgives much
