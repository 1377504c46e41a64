"""Cases survive the disk bit for bit, and a write that fails leaves what was there."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import safetensors
from case_factory import (
    NO_HASH,
    PROVENANCE,
    assert_same,
    edit_document,
    layouts,
    make_case,
    make_generated,
    same_bits,
    set_tensors,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import OPS, Case, CaseDocument, Expectation, OptionsDocument, Recorded, TensorSpec, as_float, is_valid_id
from harness.casefile import DOCUMENT, find_cases, pack_tensors, read_case, write_case
from harness.errors import CaseError
from sim3solve.problem import Options, Status

ROOT = Path(__file__).resolve().parent.parent
POSE = (0.1, -0.2, 0.3, 0.0, 0.0, 0.6, 0.8, 1.5)
NOTHING: set[str] = set()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Round trips


@pytest.mark.parametrize("float_type", ["float16", "bfloat16"])
def test_every_16_bit_pattern_survives(tmp_path: Path, float_type: str) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    values = np.resize(every, 21846 * 3).reshape(21846, 3)
    case = make_case(n=21846, float_type=float_type, values={"Xf": values if float_type == "bfloat16" else values.view(np.float16)})
    write_case(case, tmp_path / "c")
    assert_same(read_case(tmp_path / "c"), case)


@pytest.mark.parametrize(
    "bits", [0x7FF0000000000001, 0x7FF8000000000000, 0xFFF4DEADBEEF0001, 0x7FF0000000000000, 0x8000000000000000, 1]
)
def test_float64_payloads_survive(tmp_path: Path, bits: int) -> None:
    values = np.full((5, 3), bits, np.uint64).view(np.float64)
    got = written(tmp_path / "c", float_type="float64", values={"Xf": values})
    assert (got.values["Xf"].view(np.uint64) == bits).all()


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00000, 0xFFA0BEEF, 0xFF800000, 0x80000000, 1])
def test_float32_payloads_survive(tmp_path: Path, bits: int) -> None:
    values = np.full((5, 3), bits, np.uint32).view(np.float32)
    got = written(tmp_path / "c", values={"Xk": values})
    assert (got.values["Xk"].view(np.uint32) == bits).all()


@pytest.mark.parametrize("n", [0, 1, 31])
@pytest.mark.parametrize("kind", ["ray_dist", "calib"])
def test_kinds_survive(tmp_path: Path, kind: str, n: int) -> None:
    case = make_case(kind, n)
    assert_same(write_case(case, tmp_path / "c"), case)
    assert_same(read_case(tmp_path / "c"), case)
    assert read_case(tmp_path / "c").document.n_points == n


@pytest.mark.parametrize("op", sorted(OPS))
def test_op_cases_survive(tmp_path: Path, op: str) -> None:
    case = make_case("op", 2, op=op)
    assert_same(write_case(case, tmp_path / "c"), case)


@pytest.mark.parametrize("scene", ["room", "plane"])
def test_generated_cases_store_no_values(tmp_path: Path, scene: str) -> None:
    case = make_generated(33, scene)
    write_case(case, tmp_path / "c")
    assert names_in(tmp_path / "c") == {DOCUMENT}
    assert_same(read_case(tmp_path / "c"), case)


@settings(max_examples=40, deadline=None)
@given(case=layouts())
def test_any_layout_survives(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    folder = tmp_path_factory.mktemp("layouts") / "c"
    write_case(case, folder)
    assert_same(read_case(folder), case)


def test_values_may_lie_anyhow_in_memory(tmp_path: Path) -> None:
    case = make_case()
    fortran = {name: np.asfortranarray(values) for name, values in case.values.items()}
    assert_same(write_case(Case(case.document, fortran), tmp_path / "c"), case)


def test_what_is_read_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    got = written(tmp_path / "c")
    for values in got.values.values():
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0


def test_bfloat16_is_read_as_the_numbers_it_means() -> None:
    assert as_float(np.array([0x3FC0, 0xC000, 0x7F80], np.uint16), "bfloat16").tolist() == [1.5, -2.0, float("inf")]


# The document


def full_document() -> dict[str, Any]:
    return {
        "id": "full.1_a+b", "title": "Grüße \u2028 \U0001f4a5 \x7f \x00",
        "options": OptionsDocument(max_iters=7, pixel_border=0.0, img_size=(3, 4)),
        "truth_T_CkCf": POSE, "tags": ("a", "b"), "requires": ("cuda",),
        "expect": Expectation(outcomes=("OK", "RAISED"), statuses=(Status.CONVERGED, Status.NON_FINITE), parity=False, because="x"),
        "recorded": Recorded(event="raised", exception="RuntimeError: é\n", T_WCf=POSE),
        "provenance": PROVENANCE.model_copy(update={"versions": {"torch": "2.13", "": "x"}, "attribution": "A. Uthor"}),
    }  # fmt: skip


def test_every_field_survives(tmp_path: Path) -> None:
    case = make_case(**full_document())
    assert_same(written(tmp_path / "c", **full_document()), case)
    assert_same(read_case(tmp_path / "c"), case)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_options_survive_whether_default_or_not(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    positive = st.floats(1e-300, 1e300)
    choices = {
        "sigma_ray": positive, "huber": positive, "rel_error": st.floats(0, 1e9), "depth_eps": st.sampled_from([0.0, -0.0, 5e-324]),
        "pixel_border": st.floats(-1e308, 1e308), "max_iters": st.integers(1, 10_000),
        "img_size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    }  # fmt: skip
    chosen = {name: data.draw(choice) for name, choice in choices.items() if data.draw(st.booleans())}
    case = make_case("op", 1, options=OptionsDocument(**chosen))
    got = write_case(case, tmp_path_factory.mktemp("options") / "c")
    assert got.options == Options(**chosen)
    assert repr(got.options) == repr(Options(**chosen))  # -0.0 equals 0.0; its sign must survive all the same


def test_defaults_are_left_out_and_schema_is_not(tmp_path: Path) -> None:
    written(tmp_path / "c")
    fields = json.loads((tmp_path / "c" / DOCUMENT).read_text())
    assert fields["schema"] == "sim3solve-case/1"
    assert not {"options", "expect", "recorded", "generator", "truth_T_CkCf"} & set(fields)


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=50))
def test_any_text_survives_or_is_refused_at_once(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    assert written(tmp_path_factory.mktemp("text") / "c", kind="op", n=1, title=text).document.title == text


@pytest.mark.parametrize("field", ["title", "id"])
def test_lone_surrogates_never_get_in(field: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        make_case(**{field: "a\ud800"})


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a.", ".a", "a b", "é", "a\n", "CON", "nul.txt", "Com1", "a" * 101])
def test_ids_no_system_would_take_are_refused(text: str) -> None:
    assert not is_valid_id(text)
    with pytest.raises(pydantic.ValidationError):
        make_case(id=text)


@pytest.mark.parametrize("text", ["a", "0", "real-fr1_xyz.12+34", "console", "a" * 100])
def test_ids_every_system_takes(text: str) -> None:
    assert is_valid_id(text)
    assert make_case(id=text).id == text


# The tensor file


@pytest.mark.parametrize("float_type", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_the_safetensors_library_reads_what_is_written(float_type: str, n: int) -> None:
    case = make_case("calib", n, float_type=float_type)
    read = dict(safetensors.deserialize(pack_tensors(case.values, case.document)))
    assert set(read) == set(case.values)
    for name, values in case.values.items():
        assert bytes(read[name]["data"]) == values.tobytes()
        assert tuple(read[name]["shape"]) == values.shape


def test_what_the_safetensors_library_writes_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save

    case = written(tmp_path / "c")
    set_tensors(tmp_path / "c", save(dict(case.values), metadata={"made": "elsewhere"}))
    assert_same(read_case(tmp_path / "c"), case)


def test_the_tensor_file_is_the_same_everywhere() -> None:
    """A generated case is known by this hash: were it to change, every such case would be refused."""
    spec = TensorSpec.contiguous("float32", (1, 8))
    document = CaseDocument(
        id="x", kind="op", op={"name": "inv"}, tensors={"X": spec}, provenance=PROVENANCE, tensors_sha256=NO_HASH
    )
    data = pack_tensors({"X": np.arange(8, dtype=np.float32).reshape(1, 8)}, document)
    header = b'{"X":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]}}       '
    assert data == len(header).to_bytes(8, "little") + header + np.arange(8, dtype="<f4").tobytes()


def test_tensors_are_aligned_in_the_file() -> None:
    case = make_case(
        "calib", 3, specs={"Qk": TensorSpec.contiguous("float16", (3, 1)), "K": TensorSpec.contiguous("float64", (3, 3))}
    )
    data = pack_tensors(case.values, case.document)
    start = 8 + int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8:start]).items():
        assert (start + entry["data_offsets"][0]) % case.document.tensors[name].itemsize == 0


# Writing


def test_an_existing_case_is_kept_unless_replaced(tmp_path: Path) -> None:
    old = written(tmp_path / "c", seed=1)
    with pytest.raises(CaseError, match="exists already"):
        written(tmp_path / "c", seed=2)
    assert_same(read_case(tmp_path / "c"), old)
    new = write_case(make_case(seed=2), tmp_path / "c", replace=True)
    assert_same(read_case(tmp_path / "c"), new)
    assert names_in(tmp_path) == {"c"}


def test_replacing_never_removes_what_is_no_case(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "letters").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = names_in(tmp_path)
    for name in before:
        with pytest.raises(CaseError, match="not a case"):
            write_case(make_case(), tmp_path / name, replace=True)
    assert names_in(tmp_path) == before
    assert (home / "letters").is_dir()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "/", "..", "a/..", "n" * 300, "a\0b", "file/c"])
def test_places_no_case_can_have(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseError):
        write_case(make_case(), Path(name))
    assert names_in(tmp_path) == {"file"}


def test_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    case = make_case()
    bad = {
        "Xf": {"Xf": case.values["Xf"].astype(np.float64)},
        "Xk": {"Xk": case.values["Xk"][:4]},
        "Qk": {"Qk": case.values["Qk"].astype(">f4")},
        "extra": {"extra": case.values["Xf"]},
        "valid_opt": {"valid_opt": np.full((5, 1), 2, np.uint8).view(np.bool_)},
    }
    for field, change in bad.items():
        with pytest.raises(CaseError) as caught:
            write_case(Case(case.document, {**case.values, **change}), tmp_path / "c")
        assert caught.value.field == field
        assert ".tmp" not in str(caught.value)
    with pytest.raises(CaseError, match="Xf"):
        write_case(Case(case.document, {name: v for name, v in case.values.items() if name != "Xf"}), tmp_path / "c")
    assert names_in(tmp_path) == NOTHING


def test_find_cases(tmp_path: Path) -> None:
    for name in ("b", "a", ".a.1.tmp"):
        written(tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert list(find_cases([tmp_path, tmp_path / "b"])) == [tmp_path / "a", tmp_path / "b", tmp_path / "b"]
    for path in (tmp_path / "empty", tmp_path / "none", tmp_path / ("n" * 300), tmp_path / "a" / DOCUMENT):
        with pytest.raises(CaseError):
            list(find_cases([path]))


# Failing disks

STEPS = ("mkdir", "fsync", "rename", "replace", "open")


def break_at(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException | Callable[[], Any]) -> Iterator[int]:
    """Fail at the step-th system call of those in STEPS. Yields how many were made."""
    made = [0]

    def broken(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **rest: Any) -> Any:
            made[0] += 1
            if made[0] == step:
                if isinstance(error, BaseException):
                    raise error
                error()
            return call(*args, **rest)

        return wrapped

    for name in STEPS:
        monkeypatch.setattr(os, name, broken(getattr(os, name)))
    yield made[0]
    monkeypatch.undo()
    yield made[0]


def failures(monkeypatch: pytest.MonkeyPatch, error: BaseException, act: Callable[[], Any]) -> Iterator[int]:
    """Let ``act`` fail at its first system call, then at its second, and so on until it succeeds."""
    for step in range(1, 100):
        breaking = break_at(monkeypatch, step, error)
        next(breaking)
        try:
            act()
        except (CaseError, KeyboardInterrupt) as caught:
            next(breaking)
            assert isinstance(caught, CaseError) == isinstance(error, OSError)
            yield step
        else:
            # The removal of a case that was replaced may fail without harm; every other failure is reported.
            assert next(breaking) <= step
            return
    raise AssertionError("never succeeded")


ERRORS = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    folder = tmp_path / "not" / "yet" / "c"
    steps = 0
    for steps in failures(monkeypatch, error, lambda: write_case(make_case(), folder)):  # noqa: B007
        assert names_in(tmp_path) == NOTHING
    assert steps >= 10
    assert_same(read_case(folder), make_case())


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failed_replacement_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    folder = tmp_path / "c"
    old = written(folder, seed=1)
    steps = 0
    for steps in failures(monkeypatch, error, lambda: write_case(make_case(seed=2), folder, replace=True)):  # noqa: B007
        litter = names_in(tmp_path) - {"c"}
        if isinstance(error, KeyboardInterrupt) and litter:  # the new one was in place, and removing the old was interrupted
            assert_same(read_case(folder), make_case(seed=2))
            assert all(name.startswith(".c.") and name.endswith(".old") for name in litter)
        else:
            assert_same(read_case(folder), old)
            assert not litter
    assert steps >= 10
    assert_same(read_case(folder), make_case(seed=2))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file size limit")
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(CaseError) as caught:
            write_case(make_case(n=5000), tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.field == "write"
    assert names_in(tmp_path) == NOTHING


FILL = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from case_factory import make_case
from harness.casefile import read_case, write_case
from harness.errors import CaseError
disk = Path({disk!r})
write_case(make_case(n=1000, seed=1), disk / "first")
for target, replace in (("second", False), ("first", True)):
    try:
        write_case(make_case(n=5000, seed=2), disk / target, replace=replace)
    except CaseError as error:
        assert error.reason == "No space left on device", error
    else:
        raise SystemExit("the disk was not full")
    assert [path.name for path in disk.iterdir()] == ["first"], list(disk.iterdir())
    assert read_case(disk / "first").document.n_points == 1000
"""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """On a file system of 128 KiB, in a name space of its own so that no mount outlives the test."""
    script = FILL.format(root=str(ROOT), tests=str(ROOT / "tests"), disk=str(tmp_path))
    mount = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        'mount -t tmpfs -o size=128k none "$0" && exec "$@"',
        str(tmp_path),
    ]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small file system")
    done = subprocess.run([*mount, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# Killed writers


def forked(act: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    child = multiprocessing.get_context("fork").Process(target=act)
    child.start()
    return child


def is_either(case: Case, a: Case, b: Case) -> bool:
    return any(all(same_bits(case.values[name], one.values[name]) for name in one.values) for one in (a, b))


def valid_or_absent(folder: Path) -> list[Path]:
    """Reads every finished case, which raises where one is damaged."""
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in found:
        read_case(path)
    return found


def test_a_writer_killed_at_any_time_leaves_whole_cases_only(tmp_path: Path) -> None:
    case = make_case(n=3000)
    rng = random.Random(4)
    seen = 0
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        folder.mkdir()

        def write_many(folder: Path = folder) -> None:
            for i in range(10_000):
                write_case(case, folder / f"c{i}")

        child = forked(write_many)
        while not any(folder.iterdir()):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.04))
        child.kill()
        child.join(10)
        assert child.exitcode == -signal.SIGKILL
        seen += len(valid_or_absent(folder))
    assert seen > 0


@pytest.mark.parametrize("replace", [False, True])
def test_a_writer_killed_at_each_step_leaves_a_whole_case_or_none(tmp_path: Path, replace: bool) -> None:
    old, new = make_case(seed=1), make_case(seed=2)
    for step in range(1, 100):
        folder = tmp_path / str(step)
        folder.mkdir()
        if replace:
            write_case(old, folder / "c")

        def write_until(step: int = step, folder: Path = folder) -> None:
            next(break_at(pytest.MonkeyPatch(), step, lambda: os.kill(os.getpid(), signal.SIGKILL)))
            write_case(new, folder / "c", replace=replace)

        child = forked(write_until)
        child.join(20)
        whole = valid_or_absent(folder)
        if child.exitcode == 0:
            assert_same(read_case(folder / "c"), new)
            assert step > 10
            return
        assert child.exitcode == -signal.SIGKILL
        assert [path.name for path in whole] in ([], ["c"])
        assert all(is_either(read_case(path), old, new) for path in whole)
        if replace and not whole:  # between the two renames the old case has the name it was moved aside to
            (aside,) = folder.glob(".c.*.old")
            assert_same(read_case(aside), old)
    raise AssertionError("never succeeded")


# Speed


def test_reading_a_case_of_ordinary_size_is_fast(tmp_path: Path) -> None:
    """12288 points take 1 to 2 ms; the bound leaves room for a loaded machine."""
    written(tmp_path / "c", n=12288)
    best = min(timed(lambda: read_case(tmp_path / "c")) for _ in range(10))
    assert best < 0.02


def timed(act: Callable[[], Any]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def test_an_edited_document_is_what_is_read(tmp_path: Path) -> None:
    case = written(tmp_path / "c")
    edit_document(tmp_path / "c", lambda fields: fields.update(title="edited"))
    got = read_case(tmp_path / "c")
    assert got.document.title == "edited"
    assert all(same_bits(got.values[name], case.values[name]) for name in case.values)
