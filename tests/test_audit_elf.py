"""ELF objects, libraries and archives: collisions between host and CUDA files are found, and what is none is not called one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from audit_specimens import KERNEL, assembled, compiled, fat_binary, linked, needs_elf, pair_objects, with_fat_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.audit import collisions, signatures, torchsymbols
from harness.audit.binary import read_binaries
from harness.audit.model import Binary
from harness.errors import AuditError

pytestmark = needs_elf
MEMBER = b"%-16s0           0     0     644     %-10s`\n"
CPU_TEMPLATE = """
template <class T> void inverse_kernel(const T*, T*, int) {}
template void inverse_kernel<float>(const float*, float*, int);
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pair_objects(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def cured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return pair_objects(tmp_path_factory.mktemp("cured"), cured=True)


def read(*files: Path) -> list[Binary]:
    return [binary for file in files for binary in read_binaries(file)]


def test_the_pair_collides_and_says_where(pair: dict[str, Path]) -> None:
    binaries = read(pair["cpu"], pair["gpu_stand_in"])
    found = [c for c in collisions.find(binaries) if c.kernel]
    assert [(c.symbol, c.host_file, c.cuda_file, c.binding) for c in found] == [
        (KERNEL, str(pair["cpu"]), str(pair["gpu_stand_in"]), "weak")
    ]
    assert signatures.demangle(found[0].symbol) == "void inverse_kernel<float>(float const*, float*, int)"
    verdict = collisions.verdict(binaries, found)
    assert verdict is not None and verdict.state == "fail"
    assert all(cure in verdict.fix for cure in ("anonymous namespace", "-static-global-template-stub=true", "CUDA 13"))


def test_an_inline_function_of_a_shared_header_is_no_collision(pair: dict[str, Path], cured: dict[str, Path]) -> None:
    for objects in (pair, cured):
        shared = [c.symbol for c in collisions.find(read(objects["cpu"], objects["gpu_stand_in"])) if not c.kernel]
        assert shared == ["_Z11inverse_rowIfEvPKT_PS0_"]


def test_the_cured_pair_does_not_collide(cured: dict[str, Path]) -> None:
    binaries = read(cured["cpu"], cured["gpu_stand_in"])
    verdict = collisions.verdict(binaries, collisions.find(binaries))
    assert verdict is not None and verdict.state == "ok"


def test_evidence_tells_the_cuda_object(pair: dict[str, Path], tmp_path: Path) -> None:
    cpu, gpu = read(pair["cpu"], pair["gpu_stand_in"])
    assert not cpu.is_cuda and gpu.evidence == ("__cudaRegisterFunction", "1 launch stub (__device_stub_)")
    (fat,) = read(with_fat_binary(tmp_path, fat_binary()))
    assert fat.evidence == ("section .nv_fatbin",) and fat.kernels == {KERNEL, "plain"}


def test_a_stub_is_known_by_the_fat_binary_alone(pair: dict[str, Path], tmp_path: Path) -> None:
    """nvcc's optimiser may leave no __device_stub_ behind; the kernel's name is in the device code then."""
    fat = with_fat_binary(tmp_path, fat_binary())
    plain = compiled(tmp_path, CPU_TEMPLATE, name="stub.o")
    both = tmp_path / "both.o"
    subprocess.run(["ld", "-r", str(plain), str(fat), "-o", str(both)], check=True)
    assert [c.symbol for c in collisions.find(read(pair["cpu"], both)) if c.kernel] == [KERNEL]


def test_a_strong_function_swallows_a_weak_stub(pair: dict[str, Path], tmp_path: Path) -> None:
    """One side weak is enough: the linker keeps the other without a word."""
    strong = assembled(tmp_path, f".globl {KERNEL}\n.type {KERNEL}, @function\n{KERNEL}: ret\n", name="strong.o")
    (found,) = [c for c in collisions.find(read(strong, pair["gpu_stand_in"])) if c.kernel]
    assert found.binding == "global and weak"


def test_two_strong_functions_are_the_linkers_own_error(tmp_path: Path) -> None:
    text = f".globl {KERNEL}\n.type {KERNEL}, @function\n{KERNEL}: ret\n"
    host = assembled(tmp_path, text, name="host.o")
    cuda = assembled(tmp_path, text + ".section .nvFatBinSegment\n.quad 0\n", name="cuda.o")
    assert [b.is_cuda for b in read(host, cuda)] == [False, True]
    assert collisions.find(read(host, cuda)) == []


def test_local_functions_never_collide(pair: dict[str, Path], tmp_path: Path) -> None:
    local = assembled(tmp_path, f".type {KERNEL}, @function\n{KERNEL}: ret\n", name="local.o")
    assert collisions.find(read(local, pair["gpu_stand_in"])) == []


def test_members_of_an_archive_are_told_apart(pair: dict[str, Path], tmp_path: Path) -> None:
    long_name = tmp_path / "a_member_with_a_name_longer_than_fifteen_letters.o"
    shutil.copy(pair["cpu"], long_name)
    library = tmp_path / "libpair.a"
    subprocess.run(["ar", "rcs", str(library), str(long_name), str(pair["gpu_stand_in"])], check=True)
    (found,) = [c for c in collisions.find(read(library)) if c.kernel]
    assert (found.host_file, found.cuda_file) == (f"{library}({long_name.name})", f"{library}(gpu_stand_in.o)")


def test_two_libraries_share_what_they_export(pair: dict[str, Path], tmp_path: Path) -> None:
    """The dynamic linker folds across libraries too; a function that a library keeps to itself is not folded."""
    host = linked(tmp_path, pair["cpu"], name="libhost.so")
    cuda = linked(tmp_path, pair["gpu_stand_in"], pair["device"], name="libcuda_side.so")
    assert KERNEL in {c.symbol for c in collisions.find(read(host, cuda)) if c.kernel}
    hidden = compiled(tmp_path, CPU_TEMPLATE, "-shared", "-fPIC", "-fvisibility=hidden", name="libhidden.so")
    assert collisions.find(read(hidden, cuda)) == []


def test_a_program_keeps_to_itself_what_it_does_not_export(pair: dict[str, Path], tmp_path: Path) -> None:
    source = CPU_TEMPLATE + "int main() { inverse_kernel<float>(0, 0, 0); }"
    cuda = linked(tmp_path, pair["gpu_stand_in"], pair["device"], name="libcuda_side.so")
    compiled(tmp_path, source, name="main.o")
    for flag, expected in (("-Wl,--no-export-dynamic", []), ("-Wl,--export-dynamic", [KERNEL])):
        subprocess.run(["g++", flag, "main.o", "-o", "main"], cwd=tmp_path, check=True)
        assert [c.symbol for c in collisions.find(read(tmp_path / "main", cuda)) if c.kernel] == expected


@pytest.mark.parametrize(("flag", "why"), [("-flto", "-flto"), ("-s", "stripped")])
def test_an_object_without_its_symbols_does_not_pass_for_a_good_one(flag: str, why: str, tmp_path: Path) -> None:
    file = compiled(tmp_path, CPU_TEMPLATE, *(["-flto", "-fno-fat-lto-objects"] if flag == "-flto" else []), name="bare.o")
    if flag == "-s":
        subprocess.run(["strip", "--strip-all", str(file)], check=True)
    with pytest.raises(AuditError, match=rf"bare\.o: symbols: .*{why}"):
        read(file)


TORCH_SIDE = "namespace c10 { void SetHere(int); void Gone(int); namespace cuda { void stream(); } }\n"


def test_symbols_that_torch_has_or_lacks(tmp_path: Path) -> None:
    package = tmp_path / "torch"
    (package / "lib").mkdir(parents=True)
    (package / "version.py").write_text("__version__ = '9.9.9+test'\n", encoding="utf-8")
    compiled(package / "lib", "namespace c10 { void SetHere(int) {} }", "-shared", "-fPIC", name="libc10.so")
    good = compiled(tmp_path, TORCH_SIDE + "void f() { c10::SetHere(1); }", "-shared", "-fPIC", name="good.so")
    bad = compiled(tmp_path, TORCH_SIDE + "void f() { c10::SetHere(1); c10::Gone(1); }", "-shared", "-fPIC", name="bad.so")
    no_cuda = compiled(tmp_path, TORCH_SIDE + "void f() { c10::cuda::stream(); }", "-shared", "-fPIC", name="no_cuda.so")
    said = {}
    for file in (good, bad, no_cuda):
        folder = torchsymbols.locate(str(package))
        assert folder is not None
        torch = torchsymbols.open_torch(folder, "ELF")
        assert torch is not None and torch.version == "9.9.9+test"
        found = torchsymbols.find(read(file), lambda format, torch=torch: torch)
        said[file.name] = torchsymbols.verdict(found, torch)
    assert {name: v.state for name, v in said.items() if v} == {"good.so": "ok", "bad.so": "fail", "no_cuda.so": "fail"}
    assert said["bad.so"] and "1 of 2 symbols" in said["bad.so"].what and "another torch" in said["bad.so"].what
    assert said["no_cuda.so"] and "without CUDA" in said["no_cuda.so"].what


def test_a_symbol_that_another_given_file_defines_is_not_torchs(tmp_path: Path) -> None:
    user = compiled(tmp_path, TORCH_SIDE + "void f() { c10::Gone(1); }", name="user.o")
    definer = compiled(tmp_path, "namespace c10 { void Gone(int) {} }", name="definer.o")
    assert torchsymbols.find(read(user, definer), lambda format: None) == []
    (alone,) = torchsymbols.find(read(user), lambda format: None)
    assert alone.exported_by is None


@pytest.mark.parametrize("name", ["cpu", "gpu_stand_in"])
def test_every_cut_is_an_audit_error_or_a_shorter_truth(pair: dict[str, Path], name: str, tmp_path: Path) -> None:
    data = pair[name].read_bytes()
    cut = tmp_path / "cut.o"
    for length in range(0, len(data), 101):
        cut.write_bytes(data[:length])
        with pytest.raises(AuditError, match=r"cut\.o: "):
            read(cut)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_give_binaries_or_an_audit_error(data: st.DataObject, pair: dict[str, Path]) -> None:
    base = pair["gpu_stand_in"].read_bytes()
    file = pair["gpu_stand_in"].with_name("fuzzed.o")
    mutated = bytearray(base)
    headers = int.from_bytes(base[40:48], "little")
    places = st.one_of(st.integers(0, 63), st.integers(headers, len(base) - 1), st.integers(0, len(base) - 1))
    for _ in range(data.draw(st.integers(1, 6))):
        mutated[data.draw(places)] = data.draw(st.sampled_from([0, 1, 2, 7, 0x7F, 0x80, 0xFF]))
    file.write_bytes(mutated)
    try:
        read(file)
    except AuditError as error:
        assert error.field


def test_sections_that_claim_the_world(pair: dict[str, Path], tmp_path: Path) -> None:
    """A section of 2^62 bytes, and a fat binary that is all hole: an error at once, not memory."""
    hole = assembled(tmp_path, '.section .nv_fatbin, "aw", @nobits\nhole: .zero 1099511627776\n', name="hole.o")
    assert read(hole)[0].fat_binaries == ()
    data = bytearray(pair["gpu_stand_in"].read_bytes())
    headers = int.from_bytes(data[40:48], "little")
    for at in range(headers, len(data), 64):
        data[at + 32 : at + 40] = (1 << 62).to_bytes(8, "little")
    claimed = tmp_path / "claimed.o"
    claimed.write_bytes(data)
    with pytest.raises(AuditError, match=r"claimed\.o: "):
        read(claimed)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "magic"), (b"MZ", "PE headers"), (b"\x7fELF", "ELF header"), (b"!<arch>\n", "members"), (b"!<thin>\n", "magic"),
        (b"!<arch>\n" + b"x" * 60, "member at 0x8"), (b"!<arch>\n" + MEMBER % (b"name/", b"99999"), "size"),
        (b"!<arch>\n" + MEMBER % (b"/7", b"4") + b"abcd", "name"), (b"\xcf\xfa\xed\xfe", "magic"),
    ],
)  # fmt: skip
def test_what_is_no_object(content: bytes, field: str, tmp_path: Path) -> None:
    file = tmp_path / "what"
    file.write_bytes(content)
    with pytest.raises(AuditError, match=field):
        read(file)


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(AuditError, match="file: "):
            read(file)
