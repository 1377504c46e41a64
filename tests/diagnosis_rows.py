"""The table of the diagnosis, first half: deaths, findings, CUDA errors. Evidence that is a cause, and that looks like it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diagnosis_evidence import (
    INV_SYMBOL,
    MEMCHECK_OF_THE_SEED,
    OWN_STACK,
    SOLVE_INPUT,
    audit,
    clean,
    cuda_error,
    died,
    doctor,
    evidence,
    finding,
    found,
    off,
    outcome,
    probe,
    raised,
    rung,
    seed,
    sweep,
)

from harness.diagnosis.cuda_codes import CODES
from harness.diagnosis.evidence import Evidence
from harness.diagnosis.sweeps import SweptLayout
from harness.outcome import Kind


@dataclass(frozen=True)
class Row:
    """``fires`` is ``cause``; ``near`` differs from it in one telling thing and is not."""

    cause: str
    confidence: str
    side: str
    fires: Evidence
    near: Evidence
    name: str = ""

    def __str__(self) -> str:
        return f"{self.cause}-{self.name}" if self.name else self.cause


EMPTY = SOLVE_INPUT | {"n_points": 0, "n_valid": 0}
SHIFTED = sweep("faults exactly when T_WCk mod 16 != 0", ("recorded", 4, True), ("aligned-512", 0, False), ("shift-8", 8, True))
CHANCE = "faults by chance: 3 of 4 times in shift-4, 0 of 4 times in aligned-512"
NO_RULE = "no simple rule explains it: of the layouts of all tensors it faults in recorded, shift-8, and not in aligned-512"
SORTS = replace(
    SHIFTED,
    rule="CUDA_ERROR 716 exactly when T_WCk mod 16 != 0; OK out of tolerance exactly when Xf is not contiguous",
    layouts=(
        *(replace(it, sort="CUDA_ERROR 716") for it in SHIFTED.layouts),
        SweptLayout("strided", {"Xf": 0, "T_WCk": 0}, {}, "OK", True, "OK out of tolerance"),
    ),
)
MEMCHECKED = seed(tool="memcheck", tool_state="tool failed", stderr=MEMCHECK_OF_THE_SEED)


def memory() -> list[Row]:
    return [
        Row("host-symbol-collision", "likely", "Host", evidence(seed(), MEMCHECKED), evidence(seed(device="cpu", input={})),
            "seed"),
        Row("host-symbol-collision", "likely", "Host", evidence(seed(0xC0000005, windows=True)),
            evidence(seed(0xC0000374, windows=True)), "windows"),
        Row("host-symbol-collision", "proven", "Host", evidence(seed(), audits=(audit(INV_SYMBOL),)),
            evidence(seed(), audits=(audit(),)), "audited"),
        Row("host-symbol-collision", "likely", "Host", evidence(seed(), audits=(audit(INV_SYMBOL.replace("inv", "exp")),)),
            evidence(died(-11, faulthandler=OWN_STACK), audits=(audit(INV_SYMBOL),)), "audited-other-op"),
        Row("misaligned", "likely", "Host", evidence(died(-11, device="cpu"), sweeps=(SHIFTED,)),
            evidence(died(-11, device="cpu"), sweeps=(sweep("faults exactly when T_WCk mod 16 != 0", ("recorded", 4, True),
                     ("aligned-512", 0, True), ("shift-8", 8, False)),)), "swept"),
        Row("assumes-contiguous", "likely", "Device",
            evidence(off(), sweeps=(sweep("faults exactly when Xf is not contiguous", ("strided", 0, True),
                ("recorded", 4, False)),)),
            evidence(off(), sweeps=(sweep("faults in all 9 layouts tried: the layout is not the cause", ("strided", 0, True)),))),
        Row("ignores-storage-offset", "likely", "Device",
            evidence(off(), sweeps=(sweep("faults exactly when T_WCk starts past the start of its storage", ("offset", 0, True),
                     ("recorded", 4, False)),)),
            evidence(off(), sweeps=(sweep("healthy in all 9 layouts tried", ("offset", 0, False)),))),
        Row("assumes-no-sharing", "likely", "Device",
            evidence(off(), sweeps=(sweep("faults exactly when Xk shares its storage with another tensor", ("aliased", 0, True),
                     ("recorded", 4, False)),)),
            evidence(off(), sweeps=(sweep("faults exactly when Xk is not contiguous", ("aliased", 0, True),
                ("recorded", 4, False)),))),
        Row("assumes-contiguous", "likely", "Device", evidence(off(layout="strided"), sweeps=(SORTS,)),
            evidence(cuda_error(716, layout="shift-8"), sweeps=(SORTS,)), "one-of-two-sorts"),
        Row("depends-on-layout", "possible", "Host",
            evidence(died(-11, device="cpu", layout="shift-8"), sweeps=(replace(SHIFTED, rule=NO_RULE),)),
            evidence(died(-11, device="cpu", layout="aligned-512"), sweeps=(replace(SHIFTED, rule=NO_RULE),))),
        Row("not-repeatable", "possible", "Device", evidence(off(), sweeps=(replace(SHIFTED, rule=CHANCE, state="by chance"),)),
            evidence(off(), sweeps=(replace(SHIFTED, rule=CHANCE, state="unexplained"),)), "swept"),
        Row("host-dereference", "likely", "Host",
            evidence(died(-11, faulthandler=OWN_STACK), died(-11, tool="memcheck", stderr=MEMCHECK_OF_THE_SEED)),
            evidence(died(-11, faulthandler=OWN_STACK), clean())),
        Row("caught-access-violation", "proven", "Host",
            evidence(raised("OSError", "exception: access violation reading 0x0000000000000008", device="cpu",
                            faulthandler="Windows fatal exception: access violation\n")),
            evidence(raised("OSError", "[Errno 2] No such file", faulthandler="Windows fatal exception: access violation\n"))),
        Row("access-violation", "unknown", "Host", evidence(seed(), audits=(audit(),)), evidence(died(-8)), "not-the-collision"),
        Row("access-violation", "unknown", "Host", evidence(died(-7, device="cpu")), evidence(cuda_error(700)), "sigbus"),
    ]  # fmt: skip


FINDINGS = {
    "misaligned": "misaligned", "wrong-device": "wrong-device",
    "out-of-bounds": "out-of-bounds", "use-after-free": "use-after-free", "race": "race",
    "use-before-allocation": "use-before-allocation", "double-free": "double-free", "leak": "leak",
        "device-exception": "device-exception",
    "stack-overflow": "device-stack-overflow", "barrier": "divergent-barrier", "uninitialized": "uninitialized",
    "undefined": "undefined-behaviour", "api-error": "unchecked-api-error",
}  # fmt: skip


def findings() -> list[Row]:
    expandable = {"variables": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}}
    past_end = found(finding("out-of-bounds"))
    lost = outcome(Kind.SOLVER_STATUS, status="NON_FINITE", memory="poison")
    return [
        *(Row(cause, "proven", "Device", evidence(found(finding(kind))), evidence(clean())) for kind, cause in FINDINGS.items()),
        Row("misaligned", "proven", "Host", evidence(found(finding("misaligned", kernel=None, tool="ubsan"), tool="ubsan")),
            evidence(clean("ubsan")), "ubsan"),
        Row("misaligned", "proven", "Device", evidence(cuda_error(716), found(finding("misaligned"))),
            evidence(cuda_error(700), found(finding("misaligned"))), "716-and-memcheck"),
        Row("out-of-bounds", "proven", "Device",
            evidence(found(finding("out-of-bounds"), memory="exact"), clean(memory="pool")),
            evidence(died(-11, faulthandler=OWN_STACK), past_end), "hidden-by-the-pool"),
        Row("host-dereference", "proven", "Host", evidence(found(finding("host-dereference", kernel=None))),
            evidence(found(finding("host-dereference", kernel=None), finding("misaligned"))), "finding"),
        Row("false-alarm", "possible", "Environment", evidence(past_end, environment=expandable), evidence(past_end), "expandable"),
        Row("false-alarm", "possible", "Environment",
            evidence(found(finding("api-error", message="cuCtxGetDevice returned CUDA_ERROR_INVALID_CONTEXT (201)"))),
            evidence(found(finding("api-error", message="cuLaunchKernel returned CUDA_ERROR_INVALID_VALUE (1)"))), "201"),
        Row("reads-outside-its-tensors", "likely", "Device", evidence(lost, outcome(Kind.OK)),
            evidence(lost, outcome(Kind.SOLVER_STATUS, status="NON_FINITE"))),
        Row("unnamed-finding", "possible", "Device", evidence(found(finding("cluster-oddity"))), evidence(clean())),
    ]  # fmt: skip


def cuda() -> list[Row]:
    other = {entry.code: next(it.code for it in CODES if it.code != entry.code) for entry in CODES}
    on_second = {"device": "cuda:1", "solver": "lietorch"}
    blackwell = {"gpus": ["NVIDIA GeForce RTX 5090, sm_120, 31 GiB"]}
    late = rung("inv", "wrong", stream="side")
    return [
        *(Row(entry.cause, entry.confidence, entry.side, evidence(cuda_error(entry.code)), evidence(cuda_error(other[entry.code])))
          for entry in CODES),
        Row("no-kernel-image", "proven", "Environment", evidence(cuda_error(209), audits=(audit(fat_binaries=(("sm_90",),)),),
            environment=blackwell), evidence(cuda_error(98))),
        Row("toolkit-newer-than-driver", "proven", "Environment",
            evidence(cuda_error(222), doctor=doctor("toolkit for driver", "warn", "toolkit 13.0, driver for CUDA up to 12.4")),
            evidence(cuda_error(35))),
        Row("empty-launch", "proven", "Host", evidence(cuda_error(9, input=EMPTY)), evidence(cuda_error(9))),
        Row("empty-launch", "likely", "Host",
            evidence(cuda_error(9, solver="lietorch", input={}),
                     probe=probe(rung("inv", "error", batch="0", detail="RuntimeError: CUDA error: invalid configuration argument"),
                                 rung("inv", "ok"))),
            evidence(cuda_error(9, solver="lietorch", input={}), probe=probe(rung("inv", "ok", batch="0"))), "probed"),
        Row("empty-launch", "proven", "Host",
            evidence(found(finding("api-error", kernel=None,
                message="Program hit CUDA_ERROR_INVALID_VALUE (error 1) due to \"invalid "
                           "argument\" on CUDA API call to cuLaunchKernel."), input=EMPTY)),
            evidence(found(finding("api-error", kernel=None,
                message="Program hit CUDA_ERROR_INVALID_VALUE (error 1) due to \"invalid "
                           "argument\" on CUDA API call to cuMemsetD8_v2."), input=EMPTY)), "memcheck"),
        Row("no-device-guard", "likely", "Host", evidence(cuda_error(700, **on_second)),
            evidence(cuda_error(700, **on_second | {"device": "cuda:0"}))),
        Row("no-device-guard", "proven", "Host",
            evidence(cuda_error(700, **on_second), probe=probe(rung("inv", "ok"), rung("inv", "error", device="cuda:1"))),
            evidence(cuda_error(716, device="cuda:1")), "probed"),
        Row("legacy-stream", "possible", "Host", evidence(off(solver="mast3r-slam:PATH"), probe=probe(rung("inv", "ok"), late)),
            evidence(off(solver="mast3r-slam:PATH"), probe=probe(rung("inv", "wrong"), late))),
        Row("unordered-streams", "likely", "Host", evidence(off(), blocking=(outcome(Kind.OK, parity={"within": True}),)),
            evidence(off(), blocking=(off(),))),
        Row("unnamed-cuda-error", "unknown", "Unknown", evidence(raised("RuntimeError", "CUDA error: of a new kind")),
            evidence(raised("RuntimeError", "an error of a new kind"))),
    ]  # fmt: skip


ROWS = [*memory(), *findings(), *cuda()]
