"""Histories of the solver, generated: today's package, edited a little in each commit, with faults planted where a test says.

Written by ``git fast-import``: sixty commits take as long as one. Edits outside of the kernels leave their build in the cache.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.gitrepo import git

ROOT = Path(__file__).parent.parent
KINDS = (".py", ".cu", ".cuh", ".cpp", ".h", ".typed", ".pth")


@dataclass(frozen=True)
class Edit:
    """In ``file`` of the package ``old``, which must be there once, becomes ``new``."""

    file: str
    old: str
    new: str

    def apply(self, files: dict[str, str]) -> None:
        assert files[self.file].count(self.old) == 1, f"{self.old!r} stands {files[self.file].count(self.old)} times in {self.file}"
        files[self.file] = files[self.file].replace(self.old, self.new)

    @property
    def back(self) -> Edit:
        return Edit(self.file, self.new, self.old)


SOLVE = "    failed = lib.sim3solve_host_solve("
CRASH = Edit("native.py", SOLVE, "    ctypes.string_at(0)\n" + SOLVE)
COUNT = "PLANTED_COUNT"
FLAKY = Edit(
    "native.py",
    SOLVE,
    f'    with open(os.environ["{COUNT}"], "ab") as count:\n        count.write(b".")\n        nth = count.tell()\n'
    "    ctypes.string_at(0) if nth**2 * 2654435761 >> 9 & 1 else None\n" + SOLVE,
)
"""Fails in about half of the runs, by a file that counts them: at random, but in each test the same."""
SLOWER = Edit(
    "native.py",
    SOLVE,
    "    for _ in range(40):\n        lib.sim3solve_host_solve(_KINDS[kind], struct, result, trace, 1)\n" + SOLVE,
)
LONGER = Edit("native.py", SOLVE, "    struct.options.rel_error *= 1e-3\n    struct.options.delta_norm *= 1e-3\n" + SOLVE)
HANGS = Edit(
    "native.py",
    SOLVE,
    "    import random, shlex, textwrap\n    while True:\n"
    '        random.choice((shlex.join, textwrap.dedent, textwrap.wrap))("some words " * 9999)\n' + SOLVE,
)
"""Never ends, and is in another function each time that one looks."""
RAISES = Edit("native.py", SOLVE, '    raise ZeroDivisionError("planted, and not what is looked for")\n' + SOLVE)
WRONG_SIGN = Edit("native.py", "    T_WCf[:3] += origin\n", "    T_WCf[:3] -= origin\n")
WORSE = Edit(
    "native.py", "np.array(result.T_CkCf), problem.Xf)", "np.array(result.T_CkCf) * (1, 1, 1, 1, 1, 1, 1, 1.00001), problem.Xf)"
)
BROKEN = Edit("kernels/host.cpp", "SIM3_EXPORT void sim3solve_host_sizes", "this is no C++\nSIM3_EXPORT void sim3solve_host_sizes")
MISALIGNED = Edit(
    "kernels/host.cpp",
    "    if (kind != 0 && kind != 1)\n",
    "    alignas(8) static char room[16] = {};\n    char* volatile at = room + 1;\n"
    "    if (*reinterpret_cast<int32*>(at) != 0)\n        return 2;\n    if (kind != 0 && kind != 1)\n",
)
SHIFTED = Edit("kernels/host.cpp", '#include "lanes.h"', '// a line above all others\n#include "lanes.h"')


def package() -> dict[str, str]:
    """Today's files, by path in the package."""
    files = sorted(file for file in (ROOT / "sim3solve").rglob("*") if file.suffix in KINDS)
    return {file.relative_to(ROOT / "sim3solve").as_posix(): file.read_text(encoding="utf-8") for file in files}


def write_history(folder: Path, planted: Mapping[int, Edit | Sequence[Edit]], n: int = 60) -> list[str]:
    """A repository with ``n`` commits on branch main, checked out nowhere. Returns their ids, the oldest first.

    Every commit changes a comment in the package, but every fifth, which changes only what is no part of the solver.
    """
    folder.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    files = package()
    stream: list[bytes] = []
    written: dict[str, str] = {}
    for k in range(n):
        edits = planted.get(k, ())
        for edit in (edits,) if isinstance(edits, Edit) else edits:
            edit.apply(files)
        outside = k % 5 == 4 and k not in planted
        if not outside:
            files["startup.py"] = package()["startup.py"] + f"# edit {k}\n"
        now = {f"sim3solve/{path}": text for path, text in files.items()} | {
            "notes.txt": f"{k if outside else 0}\n",
            ".gitignore": "__pycache__/\n",
        }
        stream.append(_commit(k, {path: text for path, text in now.items() if written.get(path) != text}))
        written = now
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input=b"".join(stream), check=True)
    return git("rev-list", "--reverse", "main", cwd=folder).decode().split()


def _commit(k: int, changed: Mapping[str, str]) -> bytes:
    who = f"A Writer <writer@example.com> {1_700_000_000 + 60 * k} +0000"
    head = f"commit refs/heads/main\nauthor {who}\ncommitter {who}\n".encode()
    return (
        head + _data(f"Edit {k}") + b"".join(f"M 100644 inline {path}\n".encode() + _data(text) for path, text in changed.items())
    )


def _data(text: str) -> bytes:
    data = text.encode()
    return b"data %d\n%s\n" % (len(data), data)
