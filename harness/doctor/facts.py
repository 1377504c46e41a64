"""All that is asked of others. Every inquiry is begun at once, so that together they take about as long as the slowest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import environment
from harness.doctor import kernel_log, smi, toolkit
from harness.doctor.ask import Answer, Asker, Problem, Told
from harness.doctor.later import Later
from harness.doctor.machine import Machine

MODULES = (
    "lietorch", "lietorch_backends", "lietorch_extras", "mast3r_slam_backends", "curope", "droid_backends", "cuda_corr", "cuda_ba",
)  # fmt: skip
EXTENSIONS = MODULES[1:]


class Facts:
    """What was asked. Each is worked out once, and whoever needs it waits for it."""

    def __init__(self, machine: Machine, asker: Asker) -> None:
        self.machine, self.asker = machine, asker
        self.basics = Later(environment.basics)
        self.torch: Later[Told] = Later(partial(asker.child, "torch"))
        self.driver: Later[Told] = Later(partial(asker.child, "driver"))
        self.smi = Later(partial(smi.ask, machine, asker))
        self.log = Later(partial(kernel_log.ask, machine, asker))
        self.toolkits = Later(partial(toolkit.ask, machine, asker))
        self.modules: Later[Told] = Later(partial(asker.child, "modules", *MODULES))
        self.native: Later[Told] = Later(partial(asker.child, "native"))
        self.torch_cpu: Later[Told] = Later(partial(asker.child, "solve", "torch", "cpu"))
        self.on_gpu: Later[dict[str, Told]] = Later(self._on_gpu)
        self.compute_sanitizer: Later[Told] = Later(partial(asker.child, "compute-sanitizer"))
        self.host_sanitizers: Later[dict[str, Told]] = Later(self._host_sanitizers)
        self.valgrind = Later(partial(_version_of, "valgrind", machine, asker))
        self.imports: Later[dict[str, Told]] = Later(lambda: self._of_extensions(lambda name: ("import", name)))
        self.audits: Later[dict[str, Told]] = Later(lambda: self._of_extensions(lambda name: ("audit", self._capabilities())))

    @property
    def gpus(self) -> list[dict[str, Any]]:
        """The GPUs that CUDA programs see, as ``harness.doctor.inside.driver`` describes them."""
        driver = self.driver.get()
        return [] if isinstance(driver, Problem) else [gpu for gpu in driver["gpus"] if "failed" not in gpu]

    def _capabilities(self) -> str:
        """The compute capabilities here, as in 90,120."""
        return ",".join(dict.fromkeys(f"{gpu['major']}{gpu['minor']}" for gpu in self.gpus))

    def _on_gpu(self) -> dict[str, Told]:
        if not self.gpus:
            return {}
        cuda, torch = (Later(partial(self.asker.child, "solve", backend, "cuda:0")) for backend in ("cuda", "torch"))
        return {"cuda": cuda.get(), "torch": torch.get()}

    def _host_sanitizers(self) -> dict[str, Told]:
        kinds = ("address", "undefined")
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                asked = {kind: Later(partial(self.asker.child, "host-sanitizer", kind, folder)) for kind in kinds}
                return {kind: later.get() for kind, later in asked.items()}
        except OSError as error:
            return dict.fromkeys(kinds, Problem("lost", f"there is no folder to build a program in: {error.strerror or error}"))

    def _of_extensions(self, question: Callable[[str], tuple[str, ...]]) -> dict[str, Told]:
        """Ask about the file of each extension module that an import would find."""
        told = self.modules.get()
        if isinstance(told, Problem):
            return {}
        files = {name: (told["modules"].get(name) or {}).get("file") for name in EXTENSIONS}
        words = {name: (*question(name), file) for name, file in files.items() if file}
        asked = {name: Later(partial(self.asker.child, *each)) for name, each in words.items()}
        return {name: later.get() for name, later in asked.items()}


def _version_of(name: str, machine: Machine, asker: Asker) -> Answer | None:
    program = machine.program(name)
    return None if program is None else asker.program([program, "--version"])
