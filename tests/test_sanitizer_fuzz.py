"""Whatever a tool or a child that ran wild leaves in the files, it comes to a state: never to a traceback, never to clean."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sanitizer_recordings as recordings
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.classify import classify
from harness.outcome import TOOL_STATES, Kind
from harness.process import Ended
from harness.sanitizer import hostlog, hoststate, records, state, text, watch
from harness.sanitizer.finding import KEYS
from harness.sanitizer.hosttools import HostTool
from harness.sanitizer.locate import ComputeSanitizer
from harness.sanitizer.state import Child, Ending
from harness.sanitizer.tools import CUDA_TOOLS

BEST = Child(started=True, finished=True, launched=("healthy", "solve"))
"""Nothing the child could say would speak more for a clean run."""
FINE = Ending(0, False, 60.0)
TOOL = ComputeSanitizer(Path("compute-sanitizer"), "1", "PATH", frozenset())
ASAN = HostTool("asan", Path("/lib/libasan.so"), "gcc")
XML = b'<?xml version="1.0" encoding="utf-8"?>\n<ComputeSanitizerOutput>\n'
PIECES = [
    b"<ComputeSanitizerOutput>", b"</ComputeSanitizerOutput>", b"<record>", b"</record>", b"<kind>Precise</kind>",
    b"<kind>Hazard</kind>", b"<kind>LaunchInfo</kind>", b"<what>", b"</what>", b"<text>x</text>", b"<address>0x10</address>",
    b"<size>0</size>", b"<size>9</size>", b"<thread0>", b"</thread0>", b"<where>", b"</where>", b"<path>/etc/passwd</path>",
    b"<line>1</line>", b"<line>-1</line>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"\0", b"\xff",
    b"<?xml version='1.0' encoding='utf-16'?>", b"<threadIdx><x>1</x></threadIdx>", b"========= ERROR SUMMARY: 1 error\n",
    b"========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n", b"========= ERROR SUMMARY: 0 errors\n",
    b"========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n", b"========= Error: something new\n",
    b"<record><kind>LaunchInfo</kind><what><kernel>k</kernel></what></record>", b"<record><kind>Precise</kind></record>",
    b"=========     Access to 0x10 is out of bounds\n"
    b"=========     and is 1 bytes after the nearest allocation at 0x1 of size 1 bytes\n",
    b"==1==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x10\n", b"READ of size 4 at 0x10 thread T0\n",
    b"    #0 0x1 in f a.cpp:1\n",
    b"a.cpp:1:1: runtime error: load of misaligned address 0x3 for type 'int', which requires 4 byte alignment\n",
]  # fmt: skip
FILES = (
    "sanitizer.xml", "sanitizer.txt", "sanitizer.json", "faulthandler", "journal.jsonl", "result.json", "stdout", "stderr",
    "sanitizer.log.7",
)  # fmt: skip
noise = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))


def decide(tool: str, xml: bytes | None, said: bytes | None) -> state.State:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, data in (("x", xml), ("t", said)):
            if data is not None:
                (folder / name).write_bytes(data)
        log = text.read(folder / "t", tool)
        found = records.read(folder / "x", tool, (), log.nearest)
    return state.decide(tool, found, log, BEST, FINE)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CUDA_TOOLS), noise, noise)
def test_noise_is_clean_only_where_it_is_what_a_clean_run_leaves(tool: str, xml: bytes, said: bytes) -> None:
    found = decide(tool, xml, said)
    assert found.word in TOOL_STATES and (found.word != "clean" or is_what_a_clean_run_leaves(tool, xml, said))
    assert all(set(finding) == set(KEYS) for finding in found.findings)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CUDA_TOOLS), st.lists(st.sampled_from(PIECES), max_size=3), st.lists(st.sampled_from(PIECES), max_size=3))
def test_noise_in_what_a_clean_run_left_is_seen(tool: str, in_xml: list[bytes], in_text: list[bytes]) -> None:
    """Both files sound but for what was put in: what would come out as clean if the parser skipped it."""
    xml = XML + b"".join(in_xml) + b"</ComputeSanitizerOutput>"
    said = b"".join([b"========= COMPUTE-SANITIZER\n", *in_text, FOOTERS[tool == "racecheck"]])
    found = decide(tool, xml, said)
    assert (found.word == "clean") <= is_what_a_clean_run_leaves(tool, xml, said), (found.word, xml, said)
    if not in_xml and not in_text:
        assert found.word == "clean"


FOOTERS = (b"========= ERROR SUMMARY: 0 errors\n", b"========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n")


def is_what_a_clean_run_leaves(tool: str, xml: bytes, said: bytes) -> bool:
    """By another reader: sound records, each a launch; a footer that counts them; no complaint."""
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError, LookupError):
        return False
    kinds = [record.findtext("kind") for record in root if record.tag == "record"]
    footers = re.findall(rb"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+)", said, re.MULTILINE)
    counted = bool(footers) and int(footers[-1]) <= len(kinds)
    complains = re.search(rb"^=+ Error", said, re.MULTILINE) is not None
    return root.tag == "ComputeSanitizerOutput" and set(kinds) <= {"LaunchInfo"} and counted and not complains


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["racecheck-race_of_writers", "memcheck-misaligned_read", "initcheck-uninitialised", "memcheck-api_error"]),
       st.sampled_from(recordings.VERSIONS), st.booleans(), st.floats(0, 1), st.floats(0, 1), st.binary(max_size=3))  # fmt: skip
def test_a_damaged_recording_of_a_fault_is_never_clean(
    name: str, version: str, in_xml: bool, a: float, b: float, put: bytes
) -> None:
    """A piece cut out of the records, or of the text, and something else in its place."""
    place = recordings.folder(version) / name
    files = {"sanitizer.xml": (place / "sanitizer.xml").read_bytes(), "sanitizer.txt": (place / "sanitizer.txt").read_bytes()}
    which = "sanitizer.xml" if in_xml else "sanitizer.txt"
    start, end = sorted((int(a * len(files[which])), int(b * len(files[which]))))
    files[which] = files[which][:start] + put + files[which][end:]
    found = decide(name.split("-")[0], files["sanitizer.xml"], files["sanitizer.txt"])
    assert found.word != "clean"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(recordings.VERSIONS), st.floats(0, 0.999), st.booleans())
def test_a_clean_recording_cut_short_is_not_clean(version: str, part: float, in_xml: bool) -> None:
    place = recordings.folder(version) / "memcheck-healthy"
    xml, said = (place / "sanitizer.xml").read_bytes().strip(), (place / "sanitizer.txt").read_bytes().strip()
    if in_xml:
        xml = xml[: int(part * len(xml))]
    else:
        said = said[: int(part * len(said))]
    found = decide("memcheck", xml, said)
    assert found.word != "clean" or said.endswith(b" error")  # "1 errors" and "1 error" are the same footer


@settings(max_examples=200, deadline=None)
@given(noise)
def test_any_text_of_asan_and_ubsan_is_read(data: bytes) -> None:
    for finding in hostlog.parse(data.decode("utf-8", errors="replace"), "asan"):
        assert set(finding) == set(KEYS)
    hostlog.python_frames(data.decode("utf-8", errors="replace"))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(FILES), noise), st.integers(-70, 300), st.booleans(), st.sampled_from(["memcheck", "asan"]))
def test_any_job_folder_becomes_an_outcome(files: dict[str, bytes], code: int, timed_out: bool, tool: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        by = watch.Watch(tool, TOOL if tool == "memcheck" else ASAN)
        ended = Ended(code, 1.0, timed_out)
        own = classify(folder, watch.child_end(by, folder, ended), 60.0, case="c", solver="s", tool=tool, repeat="")
        outcome = watch.judged(own, by, folder, ended, 60.0)
    assert outcome.kind not in (Kind.OK, Kind.SOLVER_STATUS) and outcome.tool_state != "clean"


@pytest.mark.parametrize("data", [
    b"", b"<ComputeSanitizerOutput>", b"<other/>", XML + b"<record>", b"\xff\xfe<\0", b"<!DOCTYPE a []><ComputeSanitizerOutput/>",
    XML + b" " * 70_000 + b"<!DOCTYPE a []></ComputeSanitizerOutput>",
    b'<?xml version="1.0" encoding="nonsense"?><ComputeSanitizerOutput/>',
    XML + b"<a>" * 5000,
])  # fmt: skip
def test_a_record_file_that_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    found = records.read(tmp_path / "x", "memcheck")
    assert found.exists and "cannot be read" in (found.problem or "")


def test_huge_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LARGEST_BYTES", 10)
    monkeypatch.setattr(text, "LARGEST_BYTES", 10)
    for name in ("x", "t"):
        (tmp_path / name).write_bytes(XML + b"</ComputeSanitizerOutput>")
    assert "bytes" in (records.read(tmp_path / "x", "memcheck").problem or "")
    assert text.read(tmp_path / "t", "memcheck").failures


def test_a_number_in_a_record_is_at_most_64_bits(tmp_path: Path) -> None:
    record = (
        b"<record><kind>Precise</kind><what><size>"
        + b"9" * 4000
        + b"</size><address>0x"
        + b"f" * 90
        + b"</address></what></record>"
    )
    (tmp_path / "x").write_bytes(XML + record + b"</ComputeSanitizerOutput>")
    found = records.read(tmp_path / "x", "memcheck").findings
    assert len(found) == 1 and found[0]["size"] is None and found[0]["address"] is None


def test_a_state_without_a_reason_is_only_clean() -> None:
    seen = hoststate.Seen(True, ("/lib/mine.so",), ())
    assert hoststate.decide("asan", seen, BEST, FINE).word == "clean"
    assert hoststate.decide("asan", hoststate.Seen(True, (), ()), BEST, FINE).word == "never attached"
    assert hoststate.decide("asan", hoststate.Seen(False, ("/lib/mine.so",), ()), BEST, FINE).word == "tool failed"
    assert hoststate.decide("asan", seen, BEST, Ending(1, False, 60.0)).word == "tool failed"
    assert hoststate.decide("asan", seen, BEST, Ending(-9, True, 60.0)).word == "timed out"
    assert hoststate.decide("asan", seen, Child(True, False), FINE).word == "tool failed"
