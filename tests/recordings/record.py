"""Records what compute-sanitizer really writes, for the tests of its parser: ``python tests/recordings/record.py --out DIR``.

Needs an NVIDIA GPU, cuda-core and, for the solvers, a CUDA build of torch. Every tool of every version is run over target.py's
scenarios. DIR gets one ``VERSION.tar.xz`` for each version: a folder per recording with the tool's records and text, the child's
files, and ``ended.json`` (arguments, exit code, whether the time limit ended it). What names the machine is replaced: its name and
the paths of the interpreter and of this checkout. Run it in the root of the checkout, with that in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import platform
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.process import open_launcher
from harness.sanitizer import command, locate
from harness.sanitizer.tools import CUDA_TOOLS

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(__file__).with_name("target.py")
CASE = ROOT / "cases" / "degenerate-n-33"
EXACT = ("env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1")
JOBS = 10
OF_THE_HARNESS = ("pydantic", "scipy", "torch")


@dataclass(frozen=True)
class Scene:
    """One recording: a scenario of target.py under a tool. ``label`` tells variants of the same one apart."""

    tool: str
    scenario: str
    label: str = ""
    kernels: str | None = None
    more: tuple[str, ...] = ()
    limit_s: float = 60.0
    environment: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    solver: str | None = None  # of the harness, on a shipped case, instead of target.py

    @property
    def name(self) -> str:
        return f"{self.tool}-{self.scenario}" + (f"-{self.label}" if self.label else "")


def scenes() -> list[Scene]:
    found = [
        Scene(tool, scenario)
        for tool in CUDA_TOOLS
        for scenario in ("healthy", "no_cuda", "init_only", "exit_3", "killed", "segfault_before", "segfault_after", "abort_after")
    ]
    for tool in CUDA_TOOLS:
        found += [
            Scene(tool, "healthy", "chosen", kernels="healthy"),
            Scene(tool, "filtered", kernels="no_such_kernel"),
            Scene(tool, "endless", limit_s=8),
            Scene(tool, "sleep", limit_s=4),
            Scene(tool, "healthy", "no_device", environment=("CUDA_VISIBLE_DEVICES=",)),
            Scene(tool, "no_program", program=("/no/such/program",)),
        ]
        found += [Scene(tool, "solver", name, solver=name) for name in ("cuda", "torch")]
    memcheck = (
        "misaligned_read", "misaligned_write", "read_past_end", "write_past_end", "read_before", "atomic_past_end", "far_away",
        "called", "shared_past_end", "local_past_end", "stack_overflow", "use_after_free", "trap", "heap_double_free", "api_error",
        "empty_grid", "leak", "many",
    )  # fmt: skip
    found += [Scene("memcheck", scenario) for scenario in memcheck]
    found += [
        Scene("memcheck", "leak", "checked", more=("--leak-check", "full")),
        Scene("memcheck", "healthy", "all_api_errors", more=("--report-api-errors", "all")),
        Scene("memcheck", "read_past_end", "goes_on", more=("--destroy-on-device-error", "kernel")),
        Scene("memcheck", "read_past_end", "filtered", kernels="healthy"),
        Scene("memcheck", "many", "limited", more=("--print-limit", "4")),
        Scene("memcheck", "healthy", "unwritable", more=("--save", "/no/such/folder/records.xml")),
        Scene("racecheck", "race"), Scene("racecheck", "race_of_writers"), Scene("racecheck", "two_faults"),
        Scene("racecheck", "race", "analysis", more=("--racecheck-report", "analysis")),
        Scene("racecheck", "race", "hazard", more=("--racecheck-report", "hazard")),
        Scene("initcheck", "uninitialised"), Scene("initcheck", "uninitialised_copy"), Scene("initcheck", "read_past_end"),
        Scene("synccheck", "divergent_barrier"), Scene("synccheck", "bad_warp_mask"),
    ]  # fmt: skip
    return found


def slow(scene: Scene) -> bool:
    """Those that run into their limit come last, so that an endless kernel slows nobody else's down."""
    return scene.limit_s < Scene.limit_s


def record(scene: Scene, found: locate.ComputeSanitizer, folder: Path, launcher) -> dict:
    """Run one; its files, and how it ended, are in ``folder`` afterwards."""
    if scene.solver:
        return record_solver(scene, found, folder, launcher)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watched = scene.program or (sys.executable, str(TARGET), scene.scenario, str(folder))
    replaced = {word for word in scene.more if word.startswith("--")}
    argv = without(command.argv(found, scene.tool, folder, kernels=scene.kernels), replaced)
    argv = [*(("env", *scene.environment) if scene.environment else ()), *argv, *scene.more, *watched]
    return note(scene, folder, argv, launcher.run(scene.name, folder, argv, scene.limit_s, None))


def record_solver(scene: Scene, found: locate.ComputeSanitizer, folder: Path, launcher) -> dict:
    """A solver of the harness in the harness's own child."""
    from harness import registry  # these need packages that the rest does not
    from harness.casefile import read_document
    from harness.isolation import Limits, Task, run_isolated

    notes: list[dict] = []

    class Watched:
        preloaded = False

        def run(self, name, folder, argv, limit_s, memory_limit_bytes, environment=None):
            words = [*EXACT, *command.argv(found, scene.tool, folder, kernels=scene.kernels), *argv]
            ended = launcher.run(scene.name, folder, words, limit_s, None)
            notes.append(note(scene, folder, words, ended))
            return ended

    task = Task(CASE, read_document(CASE), registry.resolve(scene.solver))
    run_isolated(task, Limits(device="cuda"), folder, Watched())
    return notes[0]


def note(scene: Scene, folder: Path, argv: list[str], ended) -> dict:
    """How it ended, beside what it left."""
    document = {
        "tool": scene.tool, "scenario": scene.scenario, "label": scene.label, "kernels": scene.kernels, "argv": argv,
        "code": ended.code, "timed_out": ended.timed_out, "seconds": round(ended.seconds, 3), "lost": ended.lost,
        "limit_s": scene.limit_s,
    }  # fmt: skip
    (folder / "ended.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return document


def without(argv: list[str], options: set[str]) -> list[str]:
    """The words but for these options and their values, which the scene gives anew."""
    skip = {i + step for i, word in enumerate(argv) if word in options for step in (0, 1)}
    return [word for i, word in enumerate(argv) if i not in skip]


def pack(folder: Path, out: Path, about: dict) -> None:
    """One archive with nothing in it that tells this machine from another."""
    hidden = {
        str(folder): "/jobs", str(ROOT): "/repo", str(Path(sys.executable)): "/usr/bin/python3", sys.prefix: "/usr",
        str(Path(sys.executable).resolve().parent.parent): "/usr", socket.gethostname(): "machine", str(Path.home()): "/home/user",
        about["path"]: "/usr/bin/compute-sanitizer", str(folder.parent): "/recordings",
    }  # fmt: skip
    order = sorted((key for key in hidden if len(key) > 3), key=len, reverse=True)
    with tarfile.open(out, "w:xz", preset=9) as archive:
        files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
        files["about.json"] = json.dumps(about, indent=1).encode()
        for name, data in files.items():
            for key in order:
                data = data.replace(key.encode(), hidden[key].encode())
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def versions(place: Path) -> list[locate.ComputeSanitizer]:
    """The one found on this machine, and those of the wheels in .whl/, which are only unpacked."""
    found = []
    try:
        found.append(locate.find())
    except locate.SanitizerMissing as missing:
        print(missing)
    for wheel in sorted((ROOT / ".whl").glob("nvidia_cuda_sanitizer_api-*.whl"), reverse=True):
        version = wheel.name.split("-")[1]
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place / version)
        for file in (place / version).rglob("*"):
            if file.is_file():
                file.chmod(0o755)
        program = place / version / "nvidia/cu13/bin/compute-sanitizer"
        found.append(locate.describe(program, f"pip {locate.PACKAGE} {version}"))
    return found


def summary(folder: Path, ended: dict) -> str:
    """What was left, in one line, to be looked over."""
    xml, text = folder / "sanitizer.xml", folder / "sanitizer.txt"
    records = xml.read_text(errors="replace").count("<record>") if xml.exists() else None
    lines = text.read_text(errors="replace").splitlines() if text.exists() else []
    said = [
        line.strip("= ") for line in lines if "SUMMARY" in line or "Error:" in line or "Target" in line or "not supported" in line
    ]
    result = "result" if (folder / "result.json").exists() else "-"
    state = "timed out" if ended["timed_out"] else f"code {ended['code']}"
    return f"{folder.name:44} {state:10} {ended['seconds']:6.1f} s records {records} {result:7} {' | '.join(said)[:150]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="only recordings whose name contains this")
    parser.add_argument("--quick", action="store_true", help="only the first version found")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    missing = [name for name in OF_THE_HARNESS if importlib.util.find_spec(name) is None]
    if missing:
        print(f"solvers are not recorded: {', '.join(missing)} not installed")
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    gpu = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() if shutil.which(query[0]) else ""
    with tempfile.TemporaryDirectory(prefix="recordings-") as temporary:
        place = Path(temporary)
        launcher = open_launcher(place / "supervisor.log", preload=(), threads=1)
        try:
            for found in versions(place / "versions")[: 1 if options.quick else None]:
                start = time.perf_counter()
                folder = place / found.version
                wanted = [scene for scene in scenes() if options.only in scene.name and not (scene.solver and missing)]
                wanted.sort(key=slow)
                with ThreadPoolExecutor(JOBS) as pool:
                    ended = list(pool.map(lambda scene: record(scene, found, folder / scene.name, launcher), wanted))  # noqa: B023
                about = {
                    "version": found.version, "source": found.source.split(" ")[0], "path": str(found.path), "gpu": gpu,
                    "system": platform.system(), "machine": platform.machine(), "python": platform.python_version(),
                    "recorded": time.strftime("%Y-%m-%d"), "options": sorted(found.options),
                }  # fmt: skip
                pack(folder, options.out / f"{found.version}.tar.xz", about)
                print(f"\n{found} on {gpu}: {len(ended)} recordings, {time.perf_counter() - start:.1f} s")
                for scene, document in zip(wanted, ended, strict=True):
                    print(summary(folder / scene.name, document))
        finally:
            launcher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
