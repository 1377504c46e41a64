"""All checks, side by side and each by itself: one that raises, or never answers, is a line and not the end of the others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial

from harness.doctor import (
    backends,
    extensions,
    gpus,
    kernel_log,
    registry,
    sanitizers,
    smi,
    system,
    toolkit,
    torch_build,
    variables,
    windows,
)  # fmt: skip
from harness.doctor.ask import GRACE_S, Asker, Problem
from harness.doctor.check import Check, fail, one_line, skip
from harness.doctor.facts import EXTENSIONS, Facts
from harness.doctor.later import Later
from harness.doctor.machine import Machine
from harness.doctor.privacy import Identity
from harness.minidump import local_dumps
from harness.versions import of_driver_api

Group = Callable[[Facts], Iterable[Check]]
Progress = Callable[[str, int, int], None]
_REPORT_IT = "this is a fault of the doctor: please report it"


def examine(machine: Machine, asker: Asker, progress: Progress | None = None) -> list[Check]:
    """Every check, in the order of ``GROUPS``. ``progress(name, done, all)`` is told of each that is done.

    Takes about as long as the slowest inquiry. Names of the user and the host are left out of every text. Interrupted, it ends all
    that it started.
    """
    identity = Identity.of_this_process(machine.environ)
    try:
        facts = Facts(machine, asker)
        begun = {name: Later(partial(_all, group, facts)) for name, group in GROUPS.items()}
        last = time.monotonic() + 3 * (asker.limit_s + GRACE_S) + 5
        checks: list[Check] = []
        for done, (name, later) in enumerate(begun.items(), start=1):
            checks += _outcome(name, later, last)
            if progress is not None:
                progress(name, done, len(begun))
    finally:
        asker.close()
    return [Check(c.name, c.state, one_line(identity.hide(c.detail)), one_line(identity.hide(c.fix))) for c in checks]


def _all(group: Group, facts: Facts) -> list[Check]:
    return list(group(facts))


def _outcome(name: str, later: Later[list[Check]], last: float) -> list[Check]:
    try:
        failure = later.failure(max(0.1, last - time.monotonic()))
    except TimeoutError:
        return [fail(name, "no answer within the time limit, and it cannot be ended", "give it more time with --timeout")]
    if failure is not None:
        return [fail(name, f"could not be judged: {type(failure).__name__}: {one_line(repr(failure), 300)}", _REPORT_IT)]
    return later.get()


def _system(facts: Facts) -> Iterable[Check]:
    basics = facts.basics.get()
    return [system.operating_system(basics, facts.machine), system.python(basics)]


def _memory(facts: Facts) -> Iterable[Check]:
    import psutil

    now = psutil.virtual_memory()
    return [system.memory(now.available, now.total, system.memory_limit(facts.machine))]


def _disk(facts: Facts) -> Iterable[Check]:
    from sim3solve import build

    names, folders = ["reports"], [str(facts.machine.reports)]
    try:
        cache: str | None = str(build.cache_folder())
    except build.BuildError as error:
        yield fail("build cache", str(error), "set SIM3SOLVE_CACHE to a folder with room")
        cache = None
    if cache is not None:
        names, folders = [*names, "build cache"], [*folders, cache]
    try:
        names, folders = [*names, "temporary files"], [*folders, tempfile.gettempdir()]
    except OSError as error:
        yield fail("temporary files", str(error), "set TMPDIR (Windows: TEMP) to a folder that can be written")
    yield system.disk(facts.asker.child("disk", *folders), tuple(names))


def _driver(facts: Facts) -> Iterable[Check]:
    told, seen, torch = facts.driver.get(), facts.smi.get(), facts.torch.get()
    version = gpus.driver_version(told, seen)
    has_driver = not isinstance(told, Problem) and told["library"] is not None
    yield gpus.driver(told, seen, facts.machine)
    yield smi.judge(seen, has_driver)
    built = torch_build.cuda(torch)
    yield gpus.driver_for("torch", built, version) if built else skip("driver for torch", torch_build.why_no_cuda(torch))
    packages = facts.basics.get()["packages"]
    if "cuda-core" not in packages:
        fix = "pip install 'sim3solve[cu13]', or [cu12] for a driver older than 580"
        yield skip("driver for cuda-core", "cuda-core is not installed: the backend cuda needs it", fix)
    else:
        yield gpus.driver_for("cuda-core", packages.get("cuda-bindings"), version)


def _gpus(facts: Facts) -> Iterable[Check]:
    yield from gpus.gpus(facts.driver.get(), facts.smi.get(), facts.machine.environ.get("CUDA_VISIBLE_DEVICES") is not None)
    yield kernel_log.judge(facts.log.get(), facts.machine.system)


def _toolkit(facts: Facts) -> Iterable[Check]:
    told, torch = facts.driver.get(), facts.torch.get()
    driver_cuda = None if isinstance(told, Problem) else of_driver_api(told["cuda"])
    return toolkit.judge(facts.toolkits.get(), facts.machine, driver_cuda, torch_build.cuda(torch), torch_build.why_no_cuda(torch))


def _torch(facts: Facts) -> Iterable[Check]:
    told = facts.torch.get()
    return [torch_build.build(told), *torch_build.on_gpus(told, facts.gpus)]


def _extensions(facts: Facts) -> Iterable[Check]:
    told = facts.modules.get()
    return [extensions.lietorch(told), *extensions.modules(told, facts.imports.get(), facts.audits.get(), EXTENSIONS)]


def _windows(facts: Facts) -> Iterable[Check]:
    machine = facts.machine
    if machine.system != "win32" and not machine.wsl:
        return [skip("TDR", "there is none on this system"), skip("GPU debugger interface", "none is needed on this system")]
    read = partial(registry.read, machine, facts.asker)
    lines = [windows.tdr(read, facts.gpus), windows.debugger(read, in_wsl=bool(machine.wsl))]
    told = facts.driver.get()
    if isinstance(told, Problem) or told["library"] is not None:
        return lines
    return [skip(line.name, f"{line.detail}; there is no NVIDIA driver to which that matters", line.fix) for line in lines]


def _sanitizers(facts: Facts) -> Iterable[Check]:
    on_windows = facts.machine.system == "win32"
    yield sanitizers.compute_sanitizer(facts.compute_sanitizer.get(), has_gpu=bool(facts.gpus))
    for kind, told in facts.host_sanitizers.get().items():
        yield sanitizers.host_sanitizer(kind, told, windows=on_windows)
    yield sanitizers.valgrind(facts.valgrind.get(), windows=on_windows)


def _solvers(facts: Facts) -> Iterable[Check]:
    native, on_gpu = facts.native.get(), facts.on_gpu.get()
    reason = backends.gpu_reason(facts.driver.get(), facts.basics.get()["packages"])
    torch = facts.torch_cpu.get() if torch_build.imports(facts.torch.get()) else None
    return [
        backends.compiler(native),
        backends.solver("native", native),
        backends.solver("torch", torch, "torch cannot be imported: see the line torch"),
        backends.solver("torch on the GPU", on_gpu.get("torch"), reason),
        backends.solver("cuda", on_gpu.get("cuda"), reason),
    ]


def _crash_dumps(facts: Facts) -> Iterable[Check]:
    on_windows = facts.machine.system == "win32"
    yield windows.crash_dumps(local_dumps()) if on_windows else skip("crash dumps", "Windows Error Reporting is on Windows only")


def _long_paths(facts: Facts) -> Iterable[Check]:
    if facts.machine.system == "win32":
        yield windows.long_paths(partial(registry.read, facts.machine, facts.asker))


GROUPS: dict[str, Group] = {
    "system": _system, "memory": _memory, "disk": _disk, "driver": _driver, "GPU": _gpus, "CUDA toolkit": _toolkit, "torch": _torch,
    "extension modules": _extensions, "TDR": _windows, "crash dumps": _crash_dumps, "long paths": _long_paths,
    "WSL": lambda facts: [windows.wsl(facts.machine, facts.driver.get())],
    "sanitizers": _sanitizers, "solvers": _solvers,
    "variables": lambda facts: variables.judge(facts.machine.environ, facts.gpus),
}  # fmt: skip
