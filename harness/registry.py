"""Solver names: what each means and where it is loaded from, without importing any of it."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from harness import revision
from harness.errors import UsageError

BUILTIN: dict[str, tuple[str, str]] = {
    "reference": ("harness.solvers:reference", "the oracle: float64 NumPy, CPU"),
    "torch": ("harness.solvers:torch_float32", "pure PyTorch, float32, CPU or GPU, no extension"),
    "native": ("harness.solvers:native", "the kernels as C++ on the CPU, float32, built on first use"),
    "cuda": ("harness.solvers:cuda", "the fused CUDA kernel, float32, built by NVRTC on first use"),
    "skip": ("harness.solvers:skip", "keeps the initial pose: the baseline that shows what no tracking costs"),
}
ADAPTERS: dict[str, tuple[str, str]] = {
    "lietorch": ("harness.adapters.libraries:lietorch", "the tracker's Gauss-Newton on Princeton's lietorch, CPU or GPU"),
    "pypose": ("harness.adapters.libraries:pypose", "the same on pypose's Sim3, CPU or GPU"),
}
"""Other people's, run when asked for by name: what they do on a degenerate case is theirs, and no failure of this machine."""
TRACKER = "mast3r-slam:"
ENTRY_POINTS = "harness.solvers"
AS_IT_WAS = "harness.adapters.revision"


@dataclass(frozen=True)
class SolverSpec:
    """A solver as a child loads it: ``target`` is ``module:attribute`` or ``FILE.py:attribute``; its factory takes ``argument``."""

    name: str
    target: str
    summary: str
    argument: str | None = None

    @property
    def base(self) -> str:
        """The name without its revision: what is known of ``native`` holds for ``native@REV``."""
        return self.name.partition("@")[0] if self.is_of_revision else self.name

    @property
    def is_of_revision(self) -> bool:
        return self.target.startswith(f"{AS_IT_WAS}:")

    @property
    def uses_torch(self) -> bool:
        """False for those known not to import it, so that nobody waits for torch in vain."""
        return self.name != "cuda" and self.base not in ("reference", "native", "skip")

    @property
    def is_file(self) -> bool:
        return self.target.rpartition(":")[0].endswith(".py")

    def fingerprint(self) -> str:
        """Changes when the solver's source does, so that a resumed run never keeps a result of other code."""
        said = [self.target.encode(), (self.argument or "").encode("utf-8", "surrogateescape")]
        return hashlib.sha256(b"\0".join([*said, *self._sources()])).hexdigest()[:16]

    def _sources(self) -> list[bytes]:
        if self.is_file:
            return [Path(self.target.rpartition(":")[0]).read_bytes()]
        import sim3solve  # imports no solver and no torch

        here = Path(__file__).parent
        files = [*Path(sim3solve.__file__).parent.rglob("*.[pchu]*"), *here.glob("solvers.py"), *here.glob("worker.py")]
        files += here.glob("adapters/*.py") if "adapters" in self.target else ()
        if self.argument is not None and not self.is_of_revision:  # whose argument is a folder named by what it holds
            files += checkout_of(Path(self.argument)).joinpath("mast3r_slam").rglob("*.py")
            files += checkout_of(Path(self.argument)).glob("config/*.yaml")
        return [file.read_bytes() for file in sorted(files) if file.suffix in {".py", ".cu", ".cuh", ".cpp", ".h", ".yaml"}]


def known() -> dict[str, SolverSpec]:
    """Every solver with a name: the built-in ones and those that installed packages register."""
    found = {name: SolverSpec(name, target, summary) for name, (target, summary) in (BUILTIN | ADAPTERS).items()}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        version = entry.dist.version if entry.dist else "?"
        found.setdefault(entry.name, SolverSpec(entry.name, entry.value, f"from {entry.value} {version}"))
    return found


def resolve(name: str) -> SolverSpec:
    """A solver NAME, NAME@REVISION, ``FILE.py:FACTORY`` or ``mast3r-slam:PATH``. Raises ``UsageError`` that says what there is."""
    if name.startswith(TRACKER):
        return _tracker(name)
    if revision.is_one(name):
        return of_revision(revision.find(name))
    file, colon, factory = name.rpartition(":")
    if colon and file.endswith(".py"):
        path = Path(file).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"--solver {name}: no file {path}")
        if not factory.isidentifier():
            raise UsageError(f"--solver {name}: {factory!r} is no name of a function; write FILE.py:FACTORY")
        return SolverSpec(name, f"{path}:{factory}", f"{factory} of {path.name}")
    solvers = known()
    if name not in solvers:
        near = difflib.get_close_matches(name, solvers, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"--solver {name}: unknown{hint} (there are: {', '.join(sorted(solvers))}, "
            f"{TRACKER}PATH, FILE.py:FACTORY, and of {', '.join(revision.MODULES)} NAME@REVISION)"
        )
    return solvers[name]


def of_revision(found: revision.Revision) -> SolverSpec:
    return SolverSpec(found.name, f"{AS_IT_WAS}:{found.solver}", found.summary, str(found.folder))


def _tracker(name: str) -> SolverSpec:
    """``mast3r-slam:CHECKOUT``, or ``mast3r-slam:CHECKOUT/config/FILE.yaml`` for the checkout's own settings."""
    path = Path(name.removeprefix(TRACKER)).expanduser().resolve()
    checkout = checkout_of(path)
    if not (checkout / "mast3r_slam" / "tracker.py").is_file():
        raise UsageError(f"--solver {name}: {checkout} is no checkout of MASt3R-SLAM, it has no mast3r_slam/tracker.py")
    if path != checkout and not path.is_file():
        raise UsageError(f"--solver {name}: no file {path}")
    return SolverSpec(name, "harness.adapters.checkout:tracker", f"the tracker of {checkout}", str(path))


def of_tracker(file: str) -> str | None:
    """The solver that runs the tracker in this file, ``mast3r-slam:CHECKOUT``; None for one that lies in no checkout.

    The file is a name in a recording, maybe another system's; nothing is looked for.
    """
    path: PurePath = PureWindowsPath(file) if "\\" in file else PurePosixPath(file)
    inside = path.parts[-2:] == ("mast3r_slam", "tracker.py") and len(path.parts) > 2
    return f"{TRACKER}{path.parent.parent}" if inside else None


def checkout_of(path: Path) -> Path:
    """The checkout that a path means: itself, or, of a settings file, the folder over its folder ``config``."""
    return path.parent.parent if path.suffix in (".yaml", ".yml") else path
