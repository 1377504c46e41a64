"""What an audit says counts for the file, the GPU and the symbol that the outcome is about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diagnosis_evidence import audit, cuda_error, evidence, raised

from harness.diagnosis import diagnose
from harness.diagnosis.documents import read_audit
from harness.diagnosis.evidence import Evidence
from harness.outcome import Diagnosis

TWO = {"gpus": ["NVIDIA H200, sm_90, 139 GiB", "NVIDIA GeForce RTX 5090, sm_120, 31 GiB"]}
MISSING = "_ZN3c104impl3cow11cow_deleterEPv"
UNDEFINED = f"/opt/lietorch_backends.so: undefined symbol: {MISSING}"


def told(e: Evidence) -> Diagnosis:
    diagnosis = diagnose(e)
    assert diagnosis is not None
    return diagnosis


def of_209(device: str, *fat_binaries: tuple[str, ...], **environment: object) -> Diagnosis:
    audits = (audit(fat_binaries=fat_binaries),) if fat_binaries else ()
    return told(evidence(cuda_error(209, device=device), audits=audits, environment=TWO | environment))


@pytest.mark.parametrize(
    ("device", "fat_binaries", "cause"),
    [
        ("cuda:0", [("sm_90",)], "contradiction"),
        ("cuda:1", [("sm_90",)], "no-kernel-image"),
        ("cuda:1", [("compute_90",)], "contradiction"),
        ("cuda:1", [("sm_90", "compute_90")], "contradiction"),
        ("cuda:0", [("sm_100", "compute_100")], "no-kernel-image"),
        ("cuda:0", [("sm_90a",)], "contradiction"),
        ("cuda:1", [("compute_90a",)], "no-kernel-image"),
        ("cuda:0", [("sm_90",), ("sm_80",)], "no-kernel-image"),
        ("cuda:2", [("sm_90",)], "no-kernel-image"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_held_is_judged_for_the_gpu_of_the_outcome(device: str, fat_binaries: list[tuple[str, ...]], cause: str) -> None:
    assert of_209(device, *fat_binaries).cause == cause


def test_what_lacks_the_gpu_is_quoted_and_the_fix_is_for_it() -> None:
    diagnosis = of_209("cuda:1", ("sm_120",), ("sm_80", "sm_90"))
    assert diagnosis.cause == "no-kernel-image" and "(sm_120)" in diagnosis.sentence
    quotes = [fact.quote for fact in diagnosis.facts]
    assert "lietorch_gpu.o: sm_80, sm_90" in quotes and "lietorch_gpu.o: sm_120" not in quotes
    assert 'TORCH_CUDA_ARCH_LIST="12.0+PTX"' in diagnosis.fix


def test_an_sm_86_runs_the_code_of_an_sm_80() -> None:
    here = {"gpus": ["NVIDIA GeForce RTX 3090, sm_86, 24 GiB"]}
    e = evidence(cuda_error(209), audits=(audit(fat_binaries=(("sm_80",),)),), environment=here)
    assert told(e).cause == "contradiction"


def test_torch_itself_may_be_what_lacks_the_gpu() -> None:
    diagnosis = of_209("cuda:1", ("sm_120",), architectures=["sm_80", "sm_90"])
    assert diagnosis.cause == "no-kernel-image" and "torch itself holds no code" in diagnosis.sentence
    assert diagnosis.fix == "install a torch that is built for sm_120"
    assert of_209("cuda:1", architectures=["sm_80", "sm_120"]).sentence.startswith("Environment: no kernel image: the extension")


def document(folder: Path, *symbols: tuple[str, str | None], ok: bool) -> Path:
    """As ``harness audit --json`` writes it: every symbol that is wanted of torch, and who has it."""
    verdict = {"check": "torch", "state": "ok" if ok else "fail", "what": f"{len(symbols)} symbols wanted of torch", "fix": ""}
    wanted = [{"file": "x.so", "symbol": symbol, "exported_by": by, "demangled": symbol} for symbol, by in symbols]
    file = folder / "audit.json"
    file.write_text(json.dumps({
        "files": [], "collisions": [], "architectures": [], "undefined_torch": wanted, "verdicts": [verdict] if symbols else [],
    }))  # fmt: skip
    return file


@pytest.mark.parametrize(
    ("symbols", "ok", "cause", "confidence"),
    [
        ((), True, "abi-mismatch", "likely"),
        ((("_ZN2atE", "libtorch_cpu.so"),), True, "abi-mismatch", "likely"),
        (((MISSING, "libc10.so"), ("_ZN2atE", "libtorch_cpu.so")), True, "contradiction", "unknown"),
        (((MISSING, ""), ("_ZN2atE", "libtorch_cpu.so")), False, "abi-mismatch", "proven"),
        ((("_ZN2atE", ""),), False, "abi-mismatch", "likely"),
        (((MISSING, None),), False, "abi-mismatch", "likely"),
    ],
    ids=["no torch", "another file", "it is there", "it is not", "another lacks", "no torch to ask"],
)  # fmt: skip
def test_an_audit_speaks_of_the_symbols_that_it_looked_up(
    tmp_path: Path, symbols: tuple[tuple[str, str | None], ...], ok: bool, cause: str, confidence: str
) -> None:
    diagnosis = told(evidence(raised("ImportError", UNDEFINED), audits=(read_audit(document(tmp_path, *symbols, ok=ok)),)))
    assert (diagnosis.cause, diagnosis.confidence) == (cause, confidence)


def test_a_long_symbol_is_looked_up_in_full(tmp_path: Path) -> None:
    long = "_ZN3c10" + "4name" * 200 + "E"
    said = raised("ImportError", f"/opt/x.so: undefined symbol: {long}")
    assert told(evidence(said, audits=(read_audit(document(tmp_path, (long, ""), ok=False)),))).confidence == "proven"
