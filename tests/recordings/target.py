"""A small process to be watched by compute-sanitizer: no torch, one planted fault. ``python target.py SCENARIO FOLDER``.

It leaves ``result.json`` in FOLDER when it came to its end, with the kernels it launched, as the harness's own child does.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.cu")
N = 32
BYTES = 4 * N
launched: list[str] = []


class Gpu:
    """Exact-size allocations of the driver, one stream, and the kernels of faults.cu."""

    def __init__(self) -> None:
        from cuda.bindings import driver
        from cuda.core import Device, Program, ProgramOptions

        self.driver = driver
        self.device = Device(0)
        self.device.set_current()
        self.stream = self.device.create_stream()
        text = f'#line 1 "tests/recordings/{SOURCE.name}"\n' + SOURCE.read_text(encoding="utf-8")
        options = ProgramOptions(arch=f"sm_{self.device.arch}", std="c++17", lineinfo=True)
        self.code = Program(text, "c++", options).compile("cubin")

    def allocate(self, size: int = BYTES, fill: bool = True) -> int:
        status, address = self.driver.cuMemAlloc(size)
        assert int(status) == 0, status
        if fill:
            assert int(self.driver.cuMemsetD32(address, 0x3F800000, size // 4)[0]) == 0
        return int(address)

    def launch(self, name: str, *arguments, block: int = N, shared: int = 0) -> None:
        from cuda.core import LaunchConfig, launch

        launch(self.stream, LaunchConfig(grid=1, block=block, shmem_size=shared), self.code.get_kernel(name), *arguments)
        launched.append(name)
        self.stream.sync()


def run(scenario: str) -> None:
    """The scenario's own steps; an exception climbs out, as it would in the harness's child."""
    from numpy import int32

    gpu = Gpu()
    a, n = gpu.allocate, int32(N)
    if scenario == "init_only":
        a()
        return
    if scenario in ("healthy", "exit_3", "killed", "segfault_after", "abort_after", "leak", "filtered"):
        gpu.launch("healthy", a(), a(), n)
    elif scenario == "many":
        for _ in range(3):
            gpu.launch("healthy", a(), a(), n)
        gpu.launch("read_past_end", a(4 * 1024), a(4 * 512), int32(1024), block=1024)
    elif scenario == "use_after_free":
        gone = a()
        assert int(gpu.driver.cuMemFree(gone)[0]) == 0
        gpu.launch("healthy", a(), gone, n)
    elif scenario == "api_error":
        print("status", gpu.driver.cuMemsetD8(12345, 0, 16)[0])
        gpu.launch("healthy", a(), a(), n)
    elif scenario == "empty_grid":
        from cuda.bindings import driver

        handle = driver.CUkernel(int(gpu.code.get_kernel("healthy").handle))
        print("status", driver.cuLaunchKernel(driver.CUfunction(int(handle)), 0, 1, 1, N, 1, 1, 0, 0, 0, 0)[0])
        gpu.launch("healthy", a(), a(), n)
    elif scenario == "uninitialised_copy":
        host = (ctypes.c_char * BYTES)()
        gpu.driver.cuMemcpyDtoH(ctypes.addressof(host), a(fill=False), BYTES)
        gpu.launch("healthy", a(), a(), n)
    elif scenario == "uninitialised":
        gpu.launch(scenario, a(), a(fill=False), n)
    elif scenario == "shared_past_end":
        gpu.launch(scenario, a(), n, shared=BYTES)
    elif scenario == "stack_overflow":
        gpu.launch(scenario, a(), int32(100_000))
    elif scenario == "local_past_end":
        gpu.launch(scenario, a(), int32(1 << 20))
    elif scenario in ("race", "race_of_writers"):
        gpu.launch(scenario, a(1024), block=256)
    elif scenario == "two_faults":
        gpu.launch("race", a(1024), block=256)
        gpu.launch("race_of_writers", a(1024), block=256)
    elif scenario in ("read_past_end", "called"):
        gpu.launch(scenario, a(), a(), n)
    elif scenario in ("misaligned_read", "read_before"):
        gpu.launch(scenario, a(), a(4 * BYTES))
    elif scenario == "misaligned_write":
        gpu.launch(scenario, a(8 * BYTES))
    elif scenario in ("write_past_end", "atomic_past_end"):
        gpu.launch(scenario, a(), n, block=1)
    elif scenario == "divergent_barrier":
        gpu.launch(scenario, a(256), block=64)
    else:  # the kernel that the scenario is named after, on one buffer
        gpu.launch(scenario, a())
    if scenario == "exit_3":
        sys.exit(3)
    if scenario == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if scenario == "segfault_after":
        ctypes.string_at(a())  # the host reads a device pointer
    if scenario == "abort_after":
        os.abort()


def main() -> None:
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    with open(folder / "faulthandler", "w", encoding="utf-8") as stacks:
        faulthandler.enable(stacks)
        if scenario == "segfault_before":
            ctypes.string_at(8)
        elif scenario == "sleep":
            time.sleep(600)
        elif scenario != "no_cuda":
            run(scenario)
        temporary = folder / "result.json.tmp"
        temporary.write_text(json.dumps({"scenario": scenario, "launched": launched}), encoding="utf-8")
        temporary.replace(folder / "result.json")


if __name__ == "__main__":
    main()
