"""The driver as it may be: a made libcuda that answers, fails, crashes or hangs, asked like the real one; and nvidia-smi."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from test_doctor_ask import script

from harness.doctor import gpus, kernel_log, smi
from harness.doctor.ask import Asker, Problem
from harness.doctor.machine import Machine

compiled = pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="makes libcuda.so.1 with gcc")
QUIET = Machine(system="linux", environ={})

LIBCUDA = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int cuInit(unsigned flags) { INIT; }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int index) { *device = 40 + index; return index == 1 ? 101 : 0; }
int cuDeviceGetName(char* name, int size, int device) { strncpy(name, "Made GPU", size); return 0; }
int cuDeviceGetPCIBusId(char* name, int size, int device) { strncpy(name, "0000:0A:00.0", size); return 0; }
int cuDeviceTotalMem_v2(size_t* size, int device) { *size = 8ull << 30; return 0; }
int cuDeviceGetAttribute(int* value, int key, int device) { *value = key == 75 ? 12 : 0; return key == 17; }
int nvmlInit_v2(void) { return NVML; }
int nvmlSystemGetDriverVersion(char* text, int size) { strncpy(text, "580.95.05", size); return 0; }
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Builds a driver whose cuInit does ``init``, and asks it."""

    def ask(init: str, *, nvml: int = 0, limit_s: float = 10):
        source = tmp_path / "driver.c"
        source.write_text(LIBCUDA.replace("INIT;", init + ";").replace("return NVML", f"return {nvml}"))
        for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
            subprocess.run(["gcc", "-w", "-shared", "-fPIC", str(source), "-o", str(tmp_path / name)], check=True, timeout=60)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
        return Asker(limit_s).child("driver")

    return ask


@compiled
def test_a_driver_that_answers_is_described(driver, tmp_path):
    told = driver("return 0")
    check = gpus.driver(told, smi.Smi("absent"), QUIET)
    assert check.state == "ok" and check.detail == f"580.95.05, CUDA up to 13.0, from {tmp_path}/libcuda.so.1"
    first, second = gpus.gpus(told, smi.Smi("absent"), environ_hides=False)
    assert first.state == "ok" and first.detail == "Made GPU, compute capability 12.0, 8.0 GiB"
    assert second.state == "fail" and "error 101" in second.detail
    assert told["gpus"][0]["kernel_time_limit"] is None  # the made driver refuses that one


@compiled
@pytest.mark.parametrize(
    ("code", "state", "said", "fix"),
    [
        (803, "fail", "cudaErrorSystemDriverMismatch", "restart the machine"),
        (999, "fail", "cudaErrorUnknown", "nvidia_uvm"),
        (100, "warn", "cudaErrorNoDevice", "CUDA_VISIBLE_DEVICES"),
        (34, "fail", "an error without a name", "LD_LIBRARY_PATH"),
        (4242, "fail", "4242", "install"),
    ],
)
def test_a_driver_that_does_not_start_is_named_with_its_fix(driver, code, state, said, fix):
    check = gpus.driver(driver(f"return {code}"), smi.Smi("absent"), QUIET)
    assert check.state == state and said in check.detail and fix in check.fix


@compiled
def test_a_library_of_another_version_than_the_kernel_module(driver):
    check = gpus.driver(driver("return 999", nvml=18), smi.Smi("absent"), QUIET)
    assert check.state == "fail" and "different versions" in check.detail and "restart" in check.fix


@compiled
@pytest.mark.parametrize(("init", "kind", "said"), [("abort()", "died", "SIGABRT"), ("sleep(60)", "hung", "took over 1.5 s")])
def test_a_driver_that_crashes_or_hangs_is_a_finding(driver, init, kind, said):
    told = driver(init, limit_s=1.5)
    assert isinstance(told, Problem) and told.kind == kind
    check = gpus.driver(told, smi.Smi("absent"), QUIET)
    assert check.state == "fail" and said in check.detail and "restart" in check.fix
    assert [c.state for c in gpus.gpus(told, smi.Smi("absent"), environ_hides=False)] == ["skip"]


@compiled
def test_a_library_that_is_no_driver_at_all(tmp_path, monkeypatch):
    (tmp_path / "libcuda.so.1").write_bytes(b"\x7fELF" + bytes(100))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    told = Asker(10).child("driver")
    assert told["library"] is None and "libcuda.so.1" in told["missing"]


# --- nvidia-smi ---

ROW = "0, 00000000:0A:00.0, Made GPU, 580.95.05, 8192, 8000, [N/A], Default, Enabled, 0\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="plants shell scripts")


def planted(tmp_path, text: str) -> Machine:
    script(tmp_path, "nvidia-smi", text)
    return Machine(system="linux", environ={"PATH": str(tmp_path)})


@posix
@pytest.mark.parametrize(
    ("text", "state", "verdict"),
    [
        (f"printf '{ROW}'", "answered", "ok"),
        ("sleep 60", "hung", "fail"),
        ("head -c 100000 /dev/urandom", "garbled", "warn"),
        ("true", "garbled", "warn"),
        ("echo No devices were found", "garbled", "warn"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18", "failed", "fail"),
        ('echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9', "failed", "fail"),
        ("kill -SEGV $$", "failed", "fail"),
        ("yes", "failed", "fail"),
    ],
)
def test_nvidia_smi_that_answers_hangs_prints_garbage_or_fails(tmp_path, text, state, verdict):
    found = smi.ask(planted(tmp_path, f"export PATH=/usr/bin:/bin\n{text}"), Asker(1.5))
    assert found.state == state
    check = smi.judge(found, has_driver=True)
    assert check.state == verdict
    assert "\x1b" not in check.detail and len(check.detail) < 800


@posix
def test_nvidia_smi_that_speaks_of_a_mismatch_says_restart(tmp_path):
    found = smi.ask(planted(tmp_path, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"), Asker(5))
    assert "restart the machine" in smi.judge(found, has_driver=False).fix


@pytest.mark.parametrize("text", [ROW[:40], "x" + ROW, ROW + "junk\n", ROW.replace("Default", "a,b"), '"' * 200_000, "\0" * 50])
def test_rows_that_are_not_as_asked_are_garbled(text):
    assert smi.parse(text).state == "garbled"


def test_what_nvidia_smi_does_not_know_is_left_out():
    (gpu,) = smi.parse(ROW).gpus
    assert "driver_model.current" not in gpu and gpu["driver_version"] == "580.95.05"


def test_a_gpu_is_one_line_of_both_views():
    told = {"library": "l", "init": 0, "cuda": 13000, "nvml": None, "gpus": [GPU]}
    (check,) = gpus.gpus(told, smi.parse(ROW.replace("[N/A]", "WDDM")), environ_hides=False)
    assert check.state == "ok"
    assert check.detail == "Made GPU, compute capability 9.0, 8.0 GiB, 7.8 GiB free, WDDM, ECC enabled"


@pytest.mark.parametrize(
    ("old", "new", "state", "said"),
    [
        ("Enabled, 0", "Enabled, 3", "fail", "3 memory errors"),
        ("8000", "200", "warn", "only 200 MiB"),
        ("Enabled, 0", "[GPU requires reset], 0", "fail", "needs a reset"),
    ],
)
def test_faults_that_nvidia_smi_tells(old, new, state, said):
    told = {"library": "l", "init": 0, "cuda": 13000, "nvml": None, "gpus": [GPU]}
    (check,) = gpus.gpus(told, smi.parse(ROW.replace(old, new)), environ_hides=False)
    assert check.state == state and said in check.detail


def test_a_gpu_that_only_nvidia_smi_shows():
    told = {"library": "l", "init": 0, "cuda": 13000, "nvml": None, "gpus": []}
    (check,) = gpus.gpus(told, smi.parse(ROW), environ_hides=True)
    assert check.state == "warn" and "CUDA_VISIBLE_DEVICES hides it" in check.detail


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({"compute_mode": 2}, "fail", "prohibited"),
        ({"compute_mode": 3}, "warn", "one process at a time"),
        ({"major": 3, "minor": 5}, "fail", "too old"),
    ],
)
def test_faults_that_cuda_tells(changes, state, said):
    told = {"library": "l", "init": 0, "cuda": 13000, "nvml": None, "gpus": [GPU | changes]}
    (check,) = gpus.gpus(told, smi.Smi("absent"), environ_hides=False)
    assert check.state == state and said in check.detail


GPU = {
    "index": 0, "name": "Made GPU", "bus": "0000:0a:00.0", "memory_bytes": 8 << 30, "major": 9, "minor": 0, "compute_mode": 0,
    "kernel_time_limit": 0, "ecc": 1, "tcc": 0, "cooperative": 1,
}  # fmt: skip


def test_no_driver_is_a_failure_only_where_there_is_a_gpu(tmp_path):
    told = {"library": None, "missing": "no file", "init": None, "cuda": None, "nvml": None, "gpus": []}
    machine = Machine(system="linux", root=tmp_path, environ={})
    assert gpus.driver(told, smi.Smi("absent"), machine).state == "skip"
    assert gpus.driver(told, smi.parse(ROW), machine).state == "fail"
    device = tmp_path / "sys/bus/pci/devices/0000:0a:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    check = gpus.driver(told, smi.Smi("absent"), machine)
    assert check.state == "fail" and "though there is an NVIDIA GPU" in check.detail
    (device / "class").write_text("0x040300\n")  # its sound device
    assert gpus.driver(told, smi.Smi("absent"), machine).state == "skip"


@pytest.mark.parametrize(
    ("who", "cuda", "version", "state", "fix"),
    [
        ("torch", "12.8", (525, 60), "ok", ""),
        ("torch", "12.8", (520,), "fail", "CUDA 11"),
        ("torch", "13.0", (575, 57), "fail", "CUDA 12"),
        ("cuda-core", "13.0.1", (575, 57), "fail", "sim3solve[cu12]"),
        ("cuda-core", "13.0.1", (580, 1), "ok", ""),
        ("cuda-core", "12.9.4", (527, 41), "ok", ""),
        ("torch", "13.0", (), "skip", ""),
        ("torch", "27.1", (580,), "skip", ""),
        ("torch", None, (580,), "skip", ""),
    ],
)
def test_the_driver_that_a_cuda_build_needs(who, cuda, version, state, fix):
    check = gpus.driver_for(who, cuda, version)
    assert check.state == state and fix in check.fix


# --- the system's log ---


@pytest.mark.parametrize(
    ("text", "state", "said", "fix"),
    [
        ("[1.0] usb 1-1: new device\n", "ok", "none", ""),
        ("[9.1] NVRM: Xid (PCI:0000:0a:00): 79, pid=1, GPU has fallen off the bus.\n", "warn", "fell off the bus", "checked"),
        ("NVRM: Xid (PCI:0000:0a:00): 31, pid=7, name=python\n" * 3, "warn", "Xid 31 (3 times)", "memcheck"),
        ("NVRM: Xid (PCI:0000:0a:00): 9999, x\n", "warn", "Xid 9999", "memcheck"),
    ],
)
def test_xid_numbers_in_the_log(text, state, said, fix):
    check = kernel_log.judge(kernel_log.Log(text), "linux")
    assert check.state == state and said in check.detail and fix in check.fix


@posix
def test_a_log_that_may_not_be_read_is_no_finding(tmp_path):
    script(tmp_path, "dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1")
    found = kernel_log.ask(Machine(system="linux", environ={"PATH": str(tmp_path)}), Asker(5))
    check = kernel_log.judge(found, "linux")
    assert check.state == "skip" and "Operation not permitted" in check.detail


def test_resets_of_the_display_driver_in_windows_log():
    event = "<Event><System><Provider Name='Display'/><EventID Qualifiers='0'>4101</EventID></System></Event>"
    check = kernel_log.judge(kernel_log.Log(event * 2 + event.replace("4101", "153")), "win32")
    assert check.state == "warn" and "2 resets" in check.detail and "153" in check.detail and "TDR" in check.fix
    assert kernel_log.judge(kernel_log.Log(""), "win32").state == "ok"
