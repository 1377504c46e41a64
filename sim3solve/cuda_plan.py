"""What solves in flight need on one GPU, and how they are launched without waiting for them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any

from sim3solve import abi, cuda_inputs, driver
from sim3solve.cuda_kernels import BLOCK, CLUSTER, N_PADDED, POINT_BYTES, Grid, kernels
from sim3solve.driver import CudaError, Current
from sim3solve.problem import Iteration, Options, ProblemError, RayDist

PENDING = -1
MOST_ROUNDS = 1 << 22  # of one launch: kernels/exchange.cuh
_POLL_S = 2e-3
_RESULT, _STEP, _PROBLEM = (ctypes.sizeof(struct) for struct in (abi.ResultStruct, abi.StepStruct, abi.ProblemStruct))


class _Launch(ctypes.Structure):
    """``Launch`` of kernels/gauss_newton.cu."""

    _fields_ = [
        ("count", ctypes.c_int32),
        ("blocks", ctypes.c_int32),
        ("kept", ctypes.c_int32),
        ("trace_rows", ctypes.c_int32),
        ("n_packets", ctypes.c_int32),
    ]


class Plan:
    """Memory for solves in flight on one GPU: the blocks' exchange, results and, if asked for, traces. Under 400 KiB for one.

    ``launch`` enqueues a solve, ``launch_batch`` many, and returns; ``wait`` waits for them. Between the two the plan must not be
    used for another. Tensors given to ``launch`` must live until the solve is done, as for any asynchronous call; copies that were
    made are kept till then. ``problems`` is the most that one batch may hold, ``trace`` the iterations to keep of each solve.
    """

    def __init__(self, device: int = 0, *, problems: int = 1, trace: int = 0, cooperative: bool | None = None) -> None:
        on = self.kernels = kernels(device)
        self.device, self.problems = device, problems
        self.cooperative = on.cooperative if cooperative is None else cooperative
        self._trace_rows = trace
        n_packets = self._n_packets = 2 * N_PADDED * on.n_multiprocessors
        sizes = {
            "exchange": 16,
            "packets": n_packets * 8,
            "state": 256,
            "partials": N_PADDED * on.n_multiprocessors * 8,
            "results": _RESULT * problems,
            "trace": trace * problems * _STEP,
            "batch": _PROBLEM * problems if problems > 1 else 0,
        }
        self._device: dict[str, int] = {}
        self._host = self._staging = 0
        with Current(on.context):
            for name, size in sizes.items():
                if size:
                    self._device[name] = driver.ask("cuMemAlloc_v2", size)
                    driver.call("cuMemsetD8_v2", self._device[name], 0, size)
            self._host = driver.ask("cuMemHostAlloc", _RESULT * problems, driver.HOST_DEVICEMAP)
            if problems > 1:
                self._staging = driver.ask("cuMemHostAlloc", _PROBLEM * problems, 0)
        self._prepare()

    def _prepare(self) -> None:
        """Everything that is the same for every launch: their parameters, at addresses that stay."""
        self.host_results = (abi.ResultStruct * self.problems).from_address(self._host)
        self._status = ctypes.c_int32.from_address(self._host + abi.ResultStruct.status.offset)
        self._in_flight = 0
        self._library = driver.library()
        self._problem = (ctypes.c_char * _PROBLEM)()
        self._result, self._stream = ctypes.c_void_p(), 0
        self._layout = _Launch(0, 0, 0, self._trace_rows, self._n_packets)
        self._blocks = ctypes.c_int32()
        at = {name: ctypes.c_void_p(address) for name, address in self._device.items()}
        null = ctypes.c_void_p()
        self._host_result, self._trace = ctypes.c_void_p(self._host), at.get("trace", null)
        out = (self._result, self._host_result, self._trace)
        rest = (self._layout, *out, at["exchange"], at["packets"])
        self._parameters = {  # the launches hold addresses of these, so they must live as long as the plan
            "solve": (self._problem, *rest),
            "batch": (at.get("batch", null), *rest),
            "begin": (self._problem, at["state"], *out[:2]),
            "linearize": (self._problem, at["state"], at["partials"]),
            "step": (self._problem, at["state"], at["partials"], self._blocks, *out),
        }
        self._addresses = {name: (ctypes.c_void_p * len(a))(*map(ctypes.addressof, a)) for name, a in self._parameters.items()}
        self._attributes = (driver.LaunchAttribute * 2)(driver.cooperative_attribute(), driver.cluster_attribute(CLUSTER))
        self._config = driver.LaunchConfig(1, 1, 1, BLOCK, 1, 1, 0, None, self._attributes, 0)
        self._config_address = ctypes.addressof(self._config)
        self._context = ctypes.c_void_p()
        self._context_address = ctypes.addressof(self._context)
        self._keep: list[Any] = []
        self._options: Options | None = None
        self._kind = ""
        self._option_bytes = b""
        self._max_iters = 0
        self._grids: dict[tuple[int, int], Grid] = {}
        self._laid_out: Grid | None = None

    def launch(self, problem: RayDist, options: Options | None = None, *, stream: int = 0, result: int | None = None) -> None:
        """Enqueue a solve on a stream (its handle). ``result`` may name 80 bytes of device memory for the ``Result``."""
        self._set_options(options, problem.kind)
        self._keep = cuda_inputs.pack(problem, self._problem, 0, self.device, self._option_bytes)
        self._result.value = result or self._device["results"]
        self._layout.count = self._in_flight = 1
        self._status.value = PENDING
        self._enqueue_solves("solve", self._grid(problem.Xf.shape[0], 1), stream)

    def launch_batch(self, problems: Sequence[RayDist], options: Options | None = None, *, stream: int = 0) -> None:
        """Enqueue a batch on a stream: one launch solves all. Raises ``ProblemError`` when they are not all of one kind."""
        if not 0 < len(problems) <= self.problems:
            raise ProblemError("problems", f"has {len(problems)}; this plan takes 1 to {self.problems}")
        self._set_options(options, problems[0].kind)
        if len(problems) * self._max_iters > MOST_ROUNDS:
            raise ProblemError(
                "problems", f"{len(problems)} with up to {self._max_iters} iterations are over {MOST_ROUNDS} in one launch"
            )
        self._keep = []
        target = (ctypes.c_char * (_PROBLEM * len(problems))).from_address(self._staging) if self._staging else self._problem
        for i, problem in enumerate(problems):
            if problem.kind != self._kind:
                raise ProblemError(f"problems[{i}]", f"is {problem.kind}, problems[0] is {self._kind}: a batch is of one kind")
            try:
                self._keep += cuda_inputs.pack(problem, target, i * _PROBLEM, self.device, self._option_bytes)
            except ProblemError as error:
                raise ProblemError(f"problems[{i}].{error.field}", error.reason) from None
        self._result.value = self._device["results"]
        self._layout.count = self._in_flight = len(problems)
        for i in range(len(problems)):
            self.host_results[i].status = PENDING
        if self._staging:
            with self._current():
                driver.call("cuMemcpyHtoDAsync_v2", self._device["batch"], self._staging, _PROBLEM * len(problems), stream)
        n_max = max(problem.n_points for problem in problems)
        self._enqueue_solves("batch" if self._staging else "solve", self._grid(n_max, len(problems)), stream)

    def wait(self) -> abi.ResultStruct:
        """Wait for the launch; its (first) result on the host, valid until the next launch. Raises ``CudaError``."""
        if self.cooperative:  # the kernel writes the status into host memory, last; for that the stream need not be asked
            give_up = time.perf_counter() + _POLL_S
            while self._status.value == PENDING and time.perf_counter() < give_up:
                pass
        if self._in_flight > 1 or self._status.value == PENDING or not self.cooperative:
            with self._current():
                driver.check(self._library.cuStreamSynchronize(self._stream))
            if any(self.host_results[i].status == PENDING for i in range(self._in_flight)):
                raise CudaError("the stream is done, but the solve left no result")
        self._keep = []
        return self.host_results[0]

    def trace(self, i: int = 0) -> tuple[Iteration, ...]:
        """The iterations of solve ``i`` of the launch that was waited for, as far as the plan has rows for them."""
        count = min(self.host_results[i].iterations, self._trace_rows)
        steps = (abi.StepStruct * max(count, 1))()
        if count:
            with self._current():
                rows = self._device["trace"] + i * self._trace_rows * _STEP
                driver.call("cuMemcpyDtoH_v2", ctypes.addressof(steps), rows, count * _STEP)
        return tuple(Iteration(s.cost, s.delta_norm, s.n_matches, tuple(s.T_CkCf)) for s in steps[:count])

    def close(self) -> None:
        """Give the memory back. Waits for the device."""
        with self._current():
            for address in self._device.values():
                driver.call("cuMemFree_v2", address)
            for address in filter(None, (self._host, self._staging)):
                driver.call("cuMemFreeHost", address)
        self._device = {}

    def _current(self) -> Current:
        return Current(self.kernels.context)

    def _set_options(self, options: Options | None, kind: str) -> None:
        if options is not self._options or kind != self._kind:
            chosen = options or cuda_inputs.DEFAULT
            self._option_bytes = cuda_inputs.option_bytes(chosen, kind)
            self._options, self._kind, self._max_iters = options, kind, chosen.max_iters

    def _grid(self, n: int, count: int) -> Grid:
        grid = self._grids.get((n, count))
        if grid is None:
            if len(self._grids) > 1000:
                self._grids.clear()
            grid = self._grids[n, count] = self.kernels.grid(n, count)
        return grid

    def _enqueue_solves(self, parameters: str, grid: Grid, stream: int) -> None:
        self._stream = self._config.stream = stream
        self._library.cuCtxGetCurrent(self._context_address)
        if self._context.value == self.kernels.context:  # as after any torch operation on this GPU
            self._enqueue_in_context(parameters, grid)
            return
        with self._current():
            self._enqueue_in_context(parameters, grid)

    def _enqueue_in_context(self, parameters: str, grid: Grid) -> None:
        if not self.cooperative:
            for i in range(self._in_flight):
                self._enqueue_steps(i, grid.blocks)
            return
        if grid is not self._laid_out:
            self._layout.blocks, self._layout.kept = grid.blocks, grid.kept
            config = self._config
            config.grid_x, config.shared_bytes = grid.blocks * grid.groups, grid.kept * BLOCK * POINT_BYTES
            config.n_attributes = 2 if grid.cluster > 1 else 1
            self._laid_out = grid
        self._launch(f"{parameters}_{self._kind}", parameters)

    def _enqueue_steps(self, i: int, blocks: int) -> None:
        """Solve ``i`` in launches of its own. A launch copies its parameters, so they may change for the next."""
        if self._in_flight > 1:
            ctypes.memmove(self._problem, self._staging + i * _PROBLEM, _PROBLEM)
            self._result.value = self._device["results"] + i * _RESULT
        self._host_result.value = self._host + i * _RESULT
        if self._trace_rows:
            self._trace.value = self._device["trace"] + i * self._trace_rows * _STEP
        self._blocks.value = blocks
        config = self._config
        config.shared_bytes = config.n_attributes = 0
        self._laid_out = None
        for function, parameters, grid, threads in (
            ("begin_solve", "begin", 1, 1),
            *((f"linearize_{self._kind}", "linearize", blocks, BLOCK), ("step_solve", "step", 1, 64)) * self._max_iters,
        ):
            config.grid_x, config.block_x = grid, threads
            self._launch(function, parameters)
        config.block_x = BLOCK
        self._host_result.value = self._host

    def _launch(self, function: str, parameters: str) -> None:
        status = self._library.cuLaunchKernelEx(
            self._config_address, self.kernels.functions[function], self._addresses[parameters], None
        )
        if status:
            driver.check(status)
