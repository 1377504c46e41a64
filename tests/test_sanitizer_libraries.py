"""Which libraries of a watched process are the solver's: not those there before, the system's, a package's, nor the shipped one."""

from __future__ import annotations

import json
import site
import sys
import sysconfig
from pathlib import Path

import pytest

from harness.registry import SolverSpec
from harness.sanitizer import libraries
from sim3solve import native

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the two tools run on Linux only")
MINE = SolverSpec("mine.py:make", "mine.py:make", "")
NATIVE = SolverSpec("native", "harness.solvers:native", "")
SHIPPED = "/cache/0123/4567.so"
NOT_THEIRS = [
    "/usr/lib/x86_64-linux-gnu/libopenblas.so.0", "/lib/x86_64-linux-gnu/libc.so.6",
    f"{sysconfig.get_path('stdlib')}/lib-dynload/_lzma.so",
    f"{sysconfig.get_path('platlib')}/lietorch_backends.so", f"{site.getusersitepackages()}/x.so",
    "/llvm/lib/libclang_rt.asan-x86_64.so", "/gcc/lib64/libubsan.so.1", "/llvm/lib/libclang_rt.ubsan_standalone.so",
]  # fmt: skip


@pytest.fixture
def process(monkeypatch, tmp_path):
    """``process(before, after, instrumented, solver)``: what is noted of a process that had and then has these files."""

    def noted(before: list[str], after: list[str], instrumented: list[str] = (), solver: SolverSpec = MINE) -> tuple[list, list]:
        mapped = iter([before, after])
        monkeypatch.setattr(libraries, "_mapped", lambda: next(mapped))
        monkeypatch.setattr(libraries, "asks_for", lambda file, name: name == b"__asan_" and str(file) in instrumented)
        monkeypatch.setattr(native, "loaded", lambda: Path(SHIPPED))
        libraries.at_start.cache_clear()
        libraries.at_start()
        libraries.note(tmp_path, "asan", solver)
        said = json.loads((tmp_path / "sanitizer.json").read_text())
        return said["instrumented"], said["unwatched"]

    yield noted
    libraries.at_start.cache_clear()


def test_what_was_there_before_is_nobodys(process):
    assert process(["/srv/early.so"], ["/srv/early.so", "/srv/late.so"]) == ([], ["/srv/late.so"])


@pytest.mark.parametrize("file", NOT_THEIRS)
def test_libraries_of_the_system_of_packages_and_of_the_tool_are_not_named(process, file):
    assert process([], [file, "/home/me/libmine.so"], ["/home/me/libmine.so"]) == (["/home/me/libmine.so"], [])


def test_a_package_that_is_built_for_the_tool_is_watched(process):
    file = f"{sysconfig.get_path('platlib')}/lietorch_backends.so"
    assert process([], [file], [file]) == ([file], [])


def test_a_runtime_is_no_library_of_theirs_though_it_has_the_names(process):
    file = "/llvm/lib/libclang_rt.asan-x86_64.so"
    assert process([], [file], [file]) == ([], [])


def test_the_shipped_library_counts_for_the_shipped_solver_alone(process):
    assert process([], [SHIPPED], [SHIPPED]) == ([], [])
    assert process([], [SHIPPED], [SHIPPED], NATIVE) == ([SHIPPED], [])
    assert process([], [SHIPPED, "/srv/x.so"], [SHIPPED]) == ([], ["/srv/x.so"])


def test_a_library_in_the_same_cache_that_a_solver_built_itself_is_its_own(process):
    assert process([], [SHIPPED, "/cache/89ab/cdef.so"], [SHIPPED, "/cache/89ab/cdef.so"]) == (["/cache/89ab/cdef.so"], [])


def test_a_file_that_is_gone_cannot_have_been_watched(process):
    assert process([], ["/srv/x.so (deleted)"]) == ([], ["/srv/x.so (deleted)"])


def test_the_library_of_a_checkout_inside_a_prefix_of_the_system_is_the_users(process, monkeypatch):
    """/usr/local holds Python here and anybody's libraries beside it."""
    libraries._installed.cache_clear()
    monkeypatch.setattr(sys, "prefix", "/usr/local")
    monkeypatch.setattr(sys, "base_prefix", "/opt/conda")
    assert process([], ["/usr/local/lib/libmine.so", "/opt/conda/lib/libz.so"]) == ([], ["/usr/local/lib/libmine.so"])
    libraries._installed.cache_clear()
