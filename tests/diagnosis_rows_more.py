"""The table of the diagnosis, second half: installations, poses, tools, exits."""

from __future__ import annotations

from dataclasses import replace

from diagnosis_evidence import (
    INV_SYMBOL,
    MEMCHECK_OF_THE_SEED,
    OWN_STACK,
    SEED_INPUT,
    SOLVE_INPUT,
    audit,
    clean,
    cuda_error,
    died,
    doctor,
    evidence,
    off,
    oracle,
    outcome,
    probe,
    raised,
    rows,
    rung,
    unavailable,
)
from diagnosis_rows import Row

from harness.diagnosis.evidence import Evidence
from harness.outcome import Kind

MASKED = SOLVE_INPUT | {"masked_nonfinite": 17}
RECORDED_222 = SOLVE_INPUT | {
    "recorded": {"event": "raised",
        "exception": "Traceback (most recent call last):\n  ...\nRuntimeError: CUDA error: the provided "
                 "PTX was compiled with an unsupported toolchain."},
}  # fmt: skip
HALF = SEED_INPUT | {"dtypes": ["float16"]}
EXP = {**SEED_INPUT, "op": "exp", "max_tangent": 1e-4}
WAITING = """Timeout (0:00:20)!
Thread 0x01 (most recent call first):
  File "/x/torch/cuda/streams.py", line 9 in synchronize
  File "/home/me/solver.py", line 8 in synchronize
  File "/home/me/harness/worker.py", line 1 in _solve
"""
DEEP = "Current thread 0x01 (most recent call first):\n" + '  File "/home/me/tree.py", line 4 in visit\n' * 99
SPAWNED = SOLVE_INPUT | {"all_zero": True, "n_valid": 0}


def packages() -> list[Row]:
    symbol = "/opt/lietorch_backends.so: undefined symbol: _ZN3c104impl3cow11cow_deleterEPv"
    namesake = "cannot import name 'SO3' from 'lietorch' (/opt/site-packages/lietorch/__init__.py)"
    unresolved = (
        'lietorch_gpu.obj : error LNK2001: unresolved external symbol "public: long * __cdecl at::TensorBase::data_ptr<long>"'
    )
    return [
        Row("wrong-lietorch", "likely", "Environment", evidence(raised("ImportError", namesake)),
            evidence(raised("ImportError", "cannot import name 'SO3' from 'pypose'"))),
        Row("wrong-lietorch", "proven", "Environment",
            evidence(unavailable("lietorch: PyPI's lietorch is another project"),
                doctor=doctor("lietorch", "fail", "PyPI's namesake")),
            evidence(raised("ImportError",
                "cannot import name 'SO3' from partially initialized module 'lietorch' (most likely due to a "
                            "circular import)")), "doctor"),
        Row("extension-not-built", "likely", "Environment",
            evidence(raised("ModuleNotFoundError", "No module named 'lietorch_backends'")),
            evidence(raised("ModuleNotFoundError", "No module named 'lietorch'"))),
        Row("abi-mismatch", "likely", "Environment", evidence(raised("ImportError", symbol)),
            evidence(raised("ImportError", "/opt/x.so: undefined symbol: cublasLtCreate"))),
        Row("abi-mismatch", "proven", "Environment",
            evidence(unavailable(symbol), audits=(audit(undefined_torch=("_ZN3c104impl3cow11cow_deleterEPv",)),)),
            evidence(unavailable("torch is too old"), audits=(audit(undefined_torch=("_ZN3c10E",)),)), "audited"),
        Row("abi-mismatch", "possible", "Environment",
            evidence(raised("ImportError",
                "DLL load failed while importing lietorch_backends: The specified procedure could not be found.")),
            evidence(raised("ImportError",
                "DLL load failed while importing lietorch_backends: The specified module could not be found.")),
            "windows"),
        Row("missing-library", "proven", "Environment", evidence(died(0xC0000135, windows=True)),
            evidence(died(0xC0000005, windows=True))),
        Row("missing-library", "proven", "Environment", evidence(died(0xC000007B, windows=True)), evidence(died(-11)),
            "wrong-image"),
        Row("missing-library", "proven", "Environment", evidence(died(0xC0000142, windows=True)), evidence(died(-6)),
            "init-failed"),
        Row("missing-library", "likely", "Environment",
            evidence(raised("OSError", "libcudart.so.12: cannot open shared object file: No such file or directory")),
            evidence(raised("OSError", "weights.pth: No such file or directory")), "linux"),
        Row("missing-package", "proven", "Environment", evidence(raised("ModuleNotFoundError", "No module named 'pypose'")),
            evidence(raised("ImportError", "cannot import name 'x' from 'pypose'"))),
        Row("long-is-32-bit", "proven", "Host",
            evidence(raised("RuntimeError", f"Error building extension 'lietorch': {unresolved}")),
            evidence(raised("RuntimeError", unresolved.replace("<long>", "<__int64>").replace("long *", "__int64 *")))),
        Row("long-is-32-bit", "likely", "Host",
            evidence(raised("RuntimeError", "build failed",
                stderr='LNK2019: unresolved external symbol "??$data_ptr@J@TensorBase@at@@"')),
            evidence(raised("RuntimeError", "build failed",
                stderr='LNK2019: unresolved external symbol "??$data_ptr@_J@TensorBase@at@@"')),
            "mangled"),
        Row("unsupported-dtype", "likely", "Host",
            evidence(raised("RuntimeError", "expected a Tensor, got undefined Tensor", input=HALF)),
            evidence(raised("RuntimeError", "expected a Tensor, got undefined Tensor", input=SEED_INPUT))),
        Row("unsupported-dtype", "proven", "Host",
            evidence(raised("RuntimeError", "undefined tensor", input=HALF, solver="lietorch"),
                     probe=probe(rung("inv", "error", dtype="float16"), rung("inv", "ok"))),
            evidence(raised("RuntimeError", "out of range", input=HALF)), "probed"),
    ]  # fmt: skip


VALGRIND = """==7== Conditional jump or move depends on uninitialised value(s)
==7==    at 0x10938A: main (main.cpp:10)
==7==  Uninitialised value was created by a heap allocation
==7==    at 0x48417B4: malloc (in /usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so)
==7==    by 0x109246: sum (on_cpu.cpp:44)"""
MSAN = """==7==WARNING: MemorySanitizer: use-of-uninitialized-value
    #0 0x55d0 in main /src/main.cpp:10:9
  Uninitialized value was created by a heap allocation
    #0 0x55d1 in malloc /llvm/compiler-rt/lib/msan/msan_interceptors.cpp:934:3
    #1 0x55d2 in sum /src/on_cpu.cpp:44:12"""
INVALID = """==7== Invalid read of size 4
==7==    at 0x10938A: main (main.cpp:10)"""


def quoted() -> list[Row]:
    """What another tool said; the near misses printed it, or speak of it."""
    return [
        Row("uninitialized", "likely", "Host", evidence(raised("UninitialisedRead", VALGRIND)),
            evidence(raised("ValueError", "no", stderr=VALGRIND)), "valgrind"),
        Row("uninitialized", "likely", "Host", evidence(raised("UninitialisedRead", MSAN)),
            evidence(raised("ValueError", "MemorySanitizer is not installed")), "msan"),
        Row("out-of-bounds", "likely", "Host", evidence(raised("RuntimeError", INVALID)),
            evidence(raised("RuntimeError", "Invalid read of size 4")), "valgrind"),
    ]  # fmt: skip


def maths() -> list[Row]:
    cholesky = "linalg.cholesky: The factorization could not be completed because the input is not positive-definite"
    failed = {"stdout": "Cholesky failed 12\nCholesky failed 13\n"}
    small = {"input": EXP, "parity": {"op_error": 4e-4}}
    nonfinite = outcome(Kind.SOLVER_STATUS, status="NON_FINITE", input=MASKED, device="cpu")
    few = outcome(Kind.SOLVER_STATUS, status="TOO_FEW_MATCHES", input=SPAWNED)
    reached = "max iters reached 0"
    told = "right-multiplied update: from iteration 0 on, T <- T Exp(delta) gives each of 4 steps to 0.3 % of its length"
    return [
        Row("poisoned-by-masked-points", "likely", "Mathematics", evidence(nonfinite, oracle=oracle()),
            evidence(nonfinite, oracle=outcome(Kind.SOLVER_STATUS, status="NON_FINITE", solver="reference"))),
        Row("poisoned-by-masked-points", "possible", "Mathematics",
            evidence(raised("torch._C._LinAlgError", cholesky, input=SOLVE_INPUT | {"masked_at_origin": 1})),
            evidence(raised("torch._C._LinAlgError", cholesky, input=MASKED | {"valid_nonfinite": 1})), "cholesky"),
        Row("poisoned-by-masked-points", "possible", "Mathematics",
            evidence(replace(nonfinite, status="NOT_POSITIVE_DEFINITE"), oracle=oracle()),
            evidence(replace(nonfinite, status="NOT_POSITIVE_DEFINITE", input=SOLVE_INPUT), oracle=oracle()), "finite"),
        Row("not-finite-input", "proven", "Input",
            evidence(outcome(Kind.SOLVER_STATUS, status="NON_FINITE", input=SOLVE_INPUT | {"valid_nonfinite": 2})),
            evidence(nonfinite)),
        Row("spawned-without-tensors", "likely", "Host", evidence(few, environment={"os": "Windows-11-10.0.26100"}),
            evidence(replace(few, input=SPAWNED | {"all_zero": False}), environment={"os": "Windows-11"})),
        Row("spawned-without-tensors", "possible", "Host", evidence(few, environment={"os": "Linux"}),
            evidence(replace(few, expected=True)), "linux"),
        Row("degenerate-input", "proven", "Input",
            evidence(outcome(Kind.SOLVER_STATUS, status="NOT_POSITIVE_DEFINITE"),
                     oracle=outcome(Kind.SOLVER_STATUS, status="NOT_POSITIVE_DEFINITE", solver="reference")),
            evidence(outcome(Kind.SOLVER_STATUS, status="NOT_POSITIVE_DEFINITE"), oracle=oracle())),
        Row("wrong-update", "likely", "Mathematics", evidence(off(parity={"trace_cause": told}), oracle=oracle()),
            evidence(off(), oracle=oracle())),
        Row("wrong-update", "possible", "Mathematics", evidence(off(iterations=22), oracle=oracle()),
            evidence(off(iterations=11), oracle=oracle()),
            "slow"),
        Row("float32-cancellation", "likely", "Mathematics", evidence(off(**small)),
            evidence(off(**small | {"input": EXP | {"max_tangent": 0.5}}))),
        Row("float32-cancellation", "proven", "Mathematics",
            evidence(off(**small, solver="lietorch"),
                     probe=probe(rung("exp near 0", "wrong"), rung("exp near 0", "ok", dtype="float64"))),
            evidence(off(**small, solver="lietorch"),
                     probe=probe(rung("exp near 0", "wrong"), rung("exp near 0", "wrong", dtype="float64"))),
                "probed"),
        Row("swallowed-exception", "possible", "Host", evidence(outcome(Kind.SOLVER_STATUS, status="NON_FINITE", **failed)),
            evidence(raised("torch._C._LinAlgError", cholesky, **failed))),
        Row("swallowed-exception", "proven", "Host", evidence(raised("RuntimeError", "Cholesky failed", input=RECORDED_222)),
            evidence(raised("RuntimeError", "the solve failed", input=RECORDED_222)), "recorded"),
        Row("last-error-not-updated", "proven", "Host", evidence(off(stdout=reached, trace=rows(9.0, 4.0))),
            evidence(off(stdout="max iters reached 0.25", trace=rows(9.0, 4.0)))),
        Row("last-error-not-updated", "likely", "Host", evidence(off(stdout="max iters reached 0.0 \n")), evidence(off(stdout="")),
            "no-trace"),
        Row("wrong-pose", "unknown", "Unknown", evidence(off()), evidence(outcome(Kind.OK, parity={"within": True}))),
        Row("no-pose", "unknown", "Unknown", evidence(outcome(Kind.SOLVER_STATUS, status="NON_FINITE"), oracle=oracle()),
            evidence(outcome(Kind.SOLVER_STATUS, status="NON_FINITE", expected=True))),
    ]  # fmt: skip


def tools() -> list[Row]:
    def under(state: str, tool: str = "memcheck", **more: object) -> Evidence:
        return evidence(outcome(Kind.INCONCLUSIVE, tool=tool, tool_state=state, reason="not clean", expected=None, **more))

    wddm = {"stderr": "========= Error: Failed to initialize WDDM debugger interface"}
    slow = outcome(Kind.TIMEOUT, tool="memcheck", tool_state="timed out", limit_s=20.0)
    return [
        Row("debugger-interface-off", "proven", "Environment", under("tool failed", **wddm), evidence(outcome(Kind.OK, **wddm))),
        Row("tool-unsupported", "proven", "Environment", under("unsupported", stderr="========= Error: Device not supported"),
            under("tool failed")),
        Row("tool-never-attached", "unknown", "Unknown",
            under("never attached", stderr="========= Target application terminated before first instrumented API call"),
                under("unsupported")),
        Row("no-library-for-the-tool", "proven", "Environment", under("never attached", "asan"), under("never attached")),
        Row("tool-saw-no-kernel", "unknown", "Unknown", under("kernel not launched"), evidence(clean())),
        Row("tool-failed", "unknown", "Unknown", under("tool failed"), under("never attached")),
        Row("tool-timed-out", "likely", "Environment", evidence(slow, outcome(Kind.OK)), evidence(slow)),
        Row("hangs-under-a-tool", "unknown", "Unknown", evidence(slow), evidence(replace(slow, tool="none", tool_state=None))),
        Row("dies-under-the-tool", "likely", "Host",
            evidence(died(-6, tool="memcheck", tool_state="tool failed", stderr=MEMCHECK_OF_THE_SEED), died(-6)),
            evidence(died(-6, tool="memcheck", tool_state="tool failed"), outcome(Kind.OK))),
    ]  # fmt: skip


def exits() -> list[Row]:
    never = {"recorded": {"event": "never_returned", "exception": ""}, "versions": {"lietorch": "0.2"}}
    recorded = {"solver": "recorded", "input": SOLVE_INPUT | never}
    return [
        Row("heap-corruption", "proven", "Host", evidence(died(-6, stderr="double free or corruption (!prev)\n")),
            evidence(died(-6)), "glibc"),
        Row("heap-corruption", "proven", "Host", evidence(died(0xC0000374, windows=True)), evidence(died(0xC0000409, windows=True)),
            "windows"),
        Row("host-stack-overflow", "proven", "Host", evidence(died(0xC00000FD, windows=True)),
            evidence(died(0xC0000005, windows=True)), "windows"),
        Row("host-stack-overflow", "likely", "Host", evidence(died(-11, faulthandler=DEEP)),
            evidence(died(-11, faulthandler=OWN_STACK)), "linux"),
        Row("illegal-instruction", "possible", "Host", evidence(died(-4)), evidence(died(-5))),
        Row("illegal-instruction", "possible", "Host", evidence(died(0xC000001D, windows=True)), evidence(cuda_error(715)),
            "windows"),
        Row("breakpoint", "possible", "Host", evidence(died(0x80000003, windows=True)), evidence(died(-4))),
        Row("arithmetic-fault", "proven", "Host", evidence(died(-8)), evidence(died(-4))),
        Row("killed-from-outside", "possible", "Environment", evidence(died(-9)), evidence(outcome(Kind.TIMEOUT, limit_s=20.0))),
        Row("out-of-memory", "proven", "Host", evidence(died(0xC0000017, windows=True)), evidence(cuda_error(2)), "windows"),
        Row("out-of-memory", "proven", "Host", evidence(raised("MemoryError", "")), evidence(raised("ValueError", "memory"))),
        Row("aborted", "proven", "Host", evidence(died(-6, stderr="solver: x.c:3: f: Assertion `n > 0' failed.\n")),
            evidence(died(-11))),
        Row("aborted", "likely", "Host", evidence(died(0xC0000409, windows=True)), evidence(died(0xC0000005, windows=True)),
            "fast-fail"),
        Row("hangs-on-the-gpu", "likely", "Device", evidence(outcome(Kind.TIMEOUT, limit_s=20.0, faulthandler=WAITING)),
            evidence(outcome(Kind.TIMEOUT, limit_s=20.0, faulthandler=WAITING, device="cpu"))),
        Row("hangs", "unknown", "Host", evidence(outcome(Kind.TIMEOUT, limit_s=20.0, faulthandler=OWN_STACK)), evidence(died(-9))),
        Row("breaks-the-contract", "proven", "Host",
            evidence(raised("TypeError", "the solver returned a dict; it must return a Solution or (T_WCf, T_CkCf)")),
            evidence(raised("TypeError", "unhashable type"))),
        Row("endless-output", "proven", "Host",
            evidence(outcome(Kind.INCONCLUSIVE, reason="ended by the harness after it had printed 64 MiB", expected=None)),
            evidence(outcome(Kind.INCONCLUSIVE, reason="nobody could tell", expected=None))),
        Row("never-returned", "unknown", "Unknown", evidence(outcome(Kind.INCONCLUSIVE, reason="gone", **recorded)),
            evidence(outcome(Kind.INCONCLUSIVE, reason="gone", **recorded | {"solver": "mine"}))),
        Row("host-symbol-collision", "likely", "Host",
            evidence(outcome(Kind.INCONCLUSIVE, reason="gone", **recorded), audits=(audit(INV_SYMBOL),),
                     probe=probe(rung("inv", "crash"), rung("inv", "ok", device="cpu"))),
            evidence(outcome(Kind.INCONCLUSIVE, reason="gone", **recorded), audits=(audit(INV_SYMBOL),)), "vanished"),
        Row("raised", "unknown", "Host", evidence(raised("ValueError", "no")), evidence(cuda_error(1))),
        Row("died", "unknown", "Host", evidence(died(-13)), evidence(outcome(Kind.TIMEOUT, limit_s=20.0))),
        Row("ended-without-a-result", "unknown", "Unknown",
            evidence(outcome(Kind.INCONCLUSIVE, reason="code 0, no result", expected=None)),
            evidence(outcome(Kind.OK))),
        Row("not-on-this-machine", "proven", "Environment", evidence(unavailable("needs an NVIDIA GPU")),
            evidence(outcome(Kind.OK))),
    ]  # fmt: skip


MORE_ROWS = [*packages(), *quoted(), *maths(), *tools(), *exits()]
