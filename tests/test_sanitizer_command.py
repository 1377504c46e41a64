"""The command line of compute-sanitizer, for each tool and each recorded version: no option is left to a default unawares."""

from __future__ import annotations

from pathlib import Path

import pytest
import sanitizer_recordings as recordings

from harness.sanitizer import command, locate
from harness.sanitizer.tools import CUDA_TOOLS

OLD, NEW = recordings.VERSIONS
EACH = pytest.mark.parametrize(("version", "tool"), [(version, tool) for version in recordings.VERSIONS for tool in CUDA_TOOLS])
OF_TOOL = {
    "memcheck": {"leak-check", "padding", "report-api-errors", "report-device-side-allocation-failure",
                 "track-stream-ordered-races", "check-api-memory-access"},
    "racecheck": {"racecheck-detect-level", "racecheck-memcpy-async", "racecheck-fence-proxy-async", "racecheck-trace-sync",
                  "racecheck-deadlock-timeout", "racecheck-continue-on-deadlock", "racecheck-num-workers", "racecheck-report"},
    "initcheck": {"check-api-memory-access", "initcheck-track-filtered-global-memory", "unused-memory-threshold",
                  "initcheck-address-space"},
    "synccheck": {"missing-barrier-init-is-fatal"},
}  # fmt: skip
"""By the tool's own --help: under another tool they do nothing."""
FLAGS = {"xml", "ignore-getprocaddress-notfound", "save-session-details", "dump-kernel-launches"}
VALUES = {
    "padding": "512", "error-exitcode": "97", "print-limit": "10000", "report-api-errors": "explicit",
    "destroy-on-device-error": "context",
    "require-cuda-init": "yes", "check-exit-code": "yes", "target-processes": "all", "prefix": "=========", "num-callers-host": "0",
    "num-callers-device": "0", "strip-paths": "no", "show-backtrace": "yes", "leak-check": "no", "racecheck-report": "all",
    "racecheck-detect-level": "warn", "initcheck-address-space": "global", "missing-barrier-init-is-fatal": "yes",
    "force-synchronization-limit": "0", "launch-count": "0", "launch-skip": "0", "check-device-heap": "yes",
}  # fmt: skip
"""Those on which it depends what is found, believed or shown."""


def tool_of(version: str, *more: str) -> locate.ComputeSanitizer:
    options = frozenset(recordings.about(version)["options"]) | set(more)
    return locate.ComputeSanitizer(Path("/opt/compute-sanitizer"), version, "PATH", options)


def given(version: str, tool: str, folder: Path = Path("/jobs/a"), **more: object) -> dict[str, str | None]:
    """Option -> its value, None for a flag. No option may stand there twice."""
    words = command.argv(tool_of(version), tool, folder, **more)
    assert words[0] == str(Path("/opt/compute-sanitizer"))
    found: dict[str, str | None] = {}
    rest = words[1:]
    while rest:
        name = rest.pop(0)
        assert name.startswith("--") and name[2:] not in found, name
        found[name[2:]] = None if name[2:] in FLAGS else rest.pop(0)
    return found


@EACH
def test_every_option_of_the_version_is_set_or_left_unset_on_purpose(version: str, tool: str) -> None:
    known = tool_of(version).options
    of_others = set().union(*OF_TOOL.values()) - OF_TOOL[tool]
    chosen = given(version, tool, kernels="solve")
    assert known - set(chosen) - set(command.UNSET) - of_others == set()
    assert set(chosen) <= known
    assert not set(chosen) & set(command.UNSET)


def test_the_list_of_what_is_unset_holds_nothing_else() -> None:
    assert set(command.UNSET) <= tool_of(OLD).options | tool_of(NEW).options
    assert all(command.UNSET.values())


@EACH
def test_what_decides_is_as_it_must_be(version: str, tool: str) -> None:
    chosen = given(version, tool)
    known = tool_of(version).options
    wanted = {
        name: value
        for name, value in VALUES.items()
        if name in known and name not in set().union(*OF_TOOL.values()) - OF_TOOL[tool]
    }
    assert {name: chosen.get(name) for name in wanted} == wanted
    assert chosen["tool"] == tool and "xml" in chosen
    assert chosen["save"] == str(Path("/jobs/a/sanitizer.xml")) and chosen["log-file"] == str(Path("/jobs/a/sanitizer.txt"))
    assert chosen["print-level"] == ("info" if version == NEW else "warn") and ("dump-kernel-launches" in chosen) is (
        version == NEW
    )


@EACH
def test_the_kernels_in_question_are_a_filter(version: str, tool: str) -> None:
    assert given(version, tool, kernels="a|b,c=d")["kernel-name"] == "regex=a|b,c=d"
    assert "kernel-name" not in given(version, tool)


@EACH
def test_a_percent_sign_in_a_path_is_no_escape_of_the_tools(version: str, tool: str) -> None:
    chosen = given(version, tool, Path("/jobs/100%p"))
    assert chosen["save"] == str(Path("/jobs/100%%p/sanitizer.xml")) and chosen["log-file"] == str(
        Path("/jobs/100%%p/sanitizer.txt")
    )


@EACH
def test_an_option_that_the_version_does_not_know_is_left_out(version: str, tool: str) -> None:
    bare = locate.ComputeSanitizer(Path("cs"), version, "PATH", frozenset({"tool", "xml", "save", "log-file", "padding"}))
    words = command.argv(bare, tool, Path("/jobs/a"))
    names = {word for word in words if word.startswith("--")}
    assert names == {"--tool", "--xml", "--save", "--log-file"} | ({"--padding"} if tool == "memcheck" else set())


@EACH
def test_launches_are_listed_unless_they_would_fill_the_records(version: str, tool: str) -> None:
    chosen = given(version, tool, list_launches=False)
    assert "dump-kernel-launches" not in chosen and chosen["print-level"] == "warn"


def test_two_jobs_have_ports_of_their_own() -> None:
    ports = {given(NEW, "memcheck", Path(f"/jobs/{i}"))["port"] for i in range(40)}
    assert len(ports) > 30 and all(1024 < int(port or 0) < 65536 - 16 for port in ports)


def test_more_words_come_last() -> None:
    words = command.argv(tool_of(NEW), "memcheck", Path("/jobs/a"), more=("--leak-check", "full"))
    assert words[-2:] == ["--leak-check", "full"]
