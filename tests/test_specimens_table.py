"""The table of specimens: complete, true to what the harness knows, and strict about what it is given."""

from __future__ import annotations

import ast
import signal
from pathlib import Path

import pytest

from harness.cudaerror import CODES
from harness.diagnosis.engine import RULES
from harness.errors import SpecimenError
from harness.outcome import Kind
from harness.specimens.look import ROOT, looks
from harness.specimens.table import FILE, Table, read_table, split_how

TABLE = read_table()
KINDS = {
    "misaligned",
    "wrong-device",
    "out-of-bounds",
    "uninitialized",
    "race",
    "barrier",
    "host-dereference",
    "stack-overflow",
    "api-error",
}
TOOLS = {"none", "memcheck", "racecheck", "initcheck", "synccheck", "asan", "ubsan"}
CLASSES = {
    "float4-load", "past-the-end", "missing-barrier", "uninitialised-accumulator", "divergent-barrier", "launch-of-no-blocks",
    "legacy-stream", "wrong-device", "cpu-windows-long", "host-dereference", "old-warp-reduction", "stack-overflow",
    "endless-kernel", "collision", "cpu-collision", "cpu-misaligned", "cpu-out-of-bounds", "cpu-uninitialised",
}  # fmt: skip


def test_no_class_of_fault_is_missing() -> None:
    assert {specimen.name for specimen in TABLE.specimen} >= CLASSES


def test_every_solver_is_there() -> None:
    for subject in (*TABLE.specimen, *(clean for clean in TABLE.clean if ":" in clean.solver)):
        file, _, factory = subject.solver.partition(":")
        names = {
            name
            for node in ast.parse((FILE.parent / file).read_text(encoding="utf-8")).body
            for name in ([node.name] if isinstance(node, ast.FunctionDef) else _assigned(node))
        }
        assert factory in names, subject.solver
    assert (ROOT / TABLE.case / "case.json").is_file()


def _assigned(node: ast.stmt) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)] if isinstance(node, ast.Assign) else []


def test_what_must_be_seen_can_be_seen() -> None:
    for specimen in TABLE.specimen:
        for sight in specimen.sight:
            assert split_how(sight.how)[0] in TOOLS, sight.how
            assert set(sight.kind) <= KINDS and set(sight.cuda) <= set(CODES), specimen.name
            assert all(hasattr(signal.Signals, name) for name in sight.signal) or not hasattr(signal, "SIGBUS")
            assert not sight.kind or Kind.FINDINGS in sight.outcome
            assert not sight.cuda or Kind.CUDA_ERROR in sight.outcome
            assert sight.cause in (None, *(rule.cause for rule in RULES)), specimen.name


def test_what_is_audited_can_be_built() -> None:
    audited = {specimen.name: specimen.audit for specimen in TABLE.specimen if specimen.audit is not None}
    assert audited.keys() == {"cpu-windows-long", "cpu-collision", "collision"}
    for audit in audited.values():
        assert (FILE.parent / audit.build[0]).is_file()
    for gpu in (True, False):
        assert {look.name for look in looks(TABLE, gpu=gpu) if look.how == "audit"} <= audited.keys()


def test_each_specimen_is_looked_for_on_every_system_and_each_way_once() -> None:
    for platform in ("linux", "darwin", "win32"):
        for gpu in (True, False):
            found = [(look.name, look.shown_how) for look in looks(TABLE, gpu=gpu, elsewhere=True, platform=platform)]
            assert len(set(found)) == len(found)
            if platform == "linux":
                wanted = {look.name for look in looks(TABLE, gpu=gpu, platform=platform)}
                assert wanted == {specimen.name for specimen in TABLE.specimen if (specimen.gpus > 0) is gpu}


def test_the_other_tools_are_tried_too() -> None:
    tried = {look.how for look in looks(TABLE, gpu=True, elsewhere=True) if look.name == "missing-barrier"}
    assert tried == {"none", "memcheck", "racecheck", "initcheck", "synccheck"}
    assert {look.how for look in looks(TABLE, gpu=True) if look.name == "missing-barrier"} == {"racecheck"}


GOOD = """
case = "c"
[[specimen]]
name = "a"
what = "b"
solver = "x.py:y"
cure = "d"
sight = [{ how = "none", outcome = "CRASHED" }]
"""
HOSTILE = {
    "not TOML": ("case = ", "toml"),
    "no UTF-8": (b"case = '\xff'", "toml"),
    "a date": (GOOD.replace('case = "c"', "case = 1979-05-27"), "toml"),
    "no sight": (GOOD.replace('[{ how = "none", outcome = "CRASHED" }]', "[]"), "specimen.0.sight"),
    "unknown outcome": (GOOD.replace("CRASHED", "EXPLODED"), "specimen.0.sight.0.outcome"),
    "unknown memory": (GOOD.replace('"none"', '"none+swap"'), "specimen.0.sight.0.how"),
    "unknown key": (GOOD + "colour = 'red'\n", "specimen.0.colour"),
    "a key is missing": (GOOD.replace('cure = "d"', ""), "specimen.0.cure"),
    "size is no number": (GOOD.replace('outcome = "CRASHED"', 'outcome = "FINDINGS", size = "4"'), "specimen.0.sight.0.size"),
    "two of one name": (GOOD + GOOD.replace('case = "c"', ""), "specimen"),
    "elsewhere no outcome": (GOOD + 'elsewhere = ["fine"]\n', "specimen.0.elsewhere"),
    "deep": ("case = " + "[" * 100_000, "toml"),
    "empty": ("", "case"),
}  # fmt: skip


def test_the_good_one_is_good(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(GOOD)
    assert isinstance(read_table(file), Table)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_table_is_refused_by_file_and_field(tmp_path: Path, name: str) -> None:
    text, field = HOSTILE[name]
    file = tmp_path / "t.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecimenError) as caught:
        read_table(file)
    assert caught.value.field == field and str(file) in str(caught.value)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(SpecimenError, match="file: "):
        read_table(tmp_path / "none.toml")


def test_what_was_seen_on_a_gpu_stands_in_the_results() -> None:
    """README says that every specimen was found: each has its row there."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    section = results.partition("every specimen on a GPU")[2].partition("\n## ")[0]
    rows = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert rows == {specimen.name for specimen in TABLE.specimen if specimen.gpus}
