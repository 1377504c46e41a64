"""What a pattern of results says. The rungs are the ladder's own; the collision's pattern is as it was measured on a GPU."""

from __future__ import annotations

import dataclasses
import itertools
import json
import lzma
from pathlib import Path

import pytest

from harness.exitcode import decode
from harness.probe.conclusion import conclusion, findings, first_failing, where
from harness.probe.rungs import (
    CRASH,
    ERROR,
    NOT_CLIMBED,
    NOTHING_CAME,
    OK,
    UNAVAILABLE,
    WRONG,
    Result,
    Rung,
    below_a_death,
    is_simpler,
    ladder,
)

RECORDINGS = Path(__file__).parent / "recordings"
LADDER = ladder(("cpu", "cuda:0"))
SIGSEGV = dataclasses.asdict(decode(-11, windows=False))
VIOLATION = dataclasses.asdict(decode(0xC0000005, windows=True))


def run(fate):
    """Results of the whole ladder, climbed as the probe climbs it: ``fate(rung)`` is a result or None for ok."""
    results, deaths = [], []
    for rung in LADDER:
        why = below_a_death(rung, deaths)
        result = Result(rung, UNAVAILABLE, detail=why) if why else fate(rung) or Result(rung, OK, 0.0)
        results.append(result)
        if result.result == CRASH:
            deaths.append(rung)
    return results


def collided(exit):
    """Every kernel's host stub runs the CPU function on device pointers: all die but on no rows, Identity is torch alone."""

    def fate(rung):
        if rung.device == "cuda:0" and rung.op != "Identity" and rung.batch and rung.dtype in ("float32", "float64"):
            return Result(rung, CRASH, detail=f"{exit['name']}: died, at group_ops.py line 17 in forward", exit=exit)
        return None

    return run(fate)


@pytest.mark.parametrize("exit", [SIGSEGV, VIOLATION], ids=["Linux", "Windows"])
def test_the_collision_is_put_on_the_cuda_path_of_every_op(exit):
    results = collided(exit)
    [finding] = findings(results)
    assert finding.where == "every op but Identity on cuda:0 at every batch but 0"
    assert finding.how == f"dies of {exit['name']}"
    assert "host symbol collision" in finding.cause and "right on the CPU" in finding.cause
    assert "-static-global-template-stub=true" in finding.fix and "harness audit" in finding.fix
    assert first_failing(results).rung == Rung("inv", "SO3", "float32", "cuda:0", 1)
    assert "alignment" not in conclusion("lietorch", results)


def turned_round(spared=None):
    """The linker took the launch stubs for both: kernels on host memory do nothing, and the path on the GPU is right."""

    def fate(rung):
        if (
            rung.device == "cpu"
            and rung.op != "Identity"
            and rung.batch
            and rung.dtype in ("float32", "float64")
            and rung.op != spared
        ):
            return Result(rung, WRONG, float("inf"), detail=NOTHING_CAME)
        return None

    return run(fate)


def test_the_collision_turned_round_is_put_on_the_cpu_path():
    """As measured with a lietorch whose objects were linked in the other order."""
    found = [f for f in findings(turned_round()) if f.first.rung.op in ("inv", "act", "retr")]
    assert found and all("host symbol collision" in f.cause and "right on a GPU" in f.cause for f in found)


def test_a_real_lietorch_whose_stubs_came_first_is_named():
    """7856 calls on an NVIDIA H200, lietorch e7df865 built with weak stubs and no inlining, its GPU object linked first."""
    kept = json.loads(lzma.decompress((RECORDINGS / "probe-lietorch-stubs-first.json.xz").read_bytes()))
    results = []
    for *call, result, error, detail in kept["rungs"]:
        results.append(Result(Rung(*call), result, None if error is None else float(error), detail))
    causes = {f.first.rung.op: f.cause for f in findings(results) if f.first.rung.device == "cpu" and f.first.rung.batch}
    assert all("host symbol collision" in causes[op] for op in ("inv", "mul", "act", "retr", "exp", "log", "adj", "adjT"))
    sided = [f for f in findings(results) if f.first.rung.stream == "side"]
    assert sided and all("another stream" in f.cause for f in sided)
    # The NaN near zero are the collision's and the side stream's; closed forms lose digits, and give no NaN.
    small = [f for f in findings(results) if f.first.rung.near_zero]
    assert [(f.first.rung.device, f.cause.split(",")[0].split(" (")[0]) for f in small] == [
        ("cpu", "the same calls are right on a GPU"), ("cuda:0", "closed forms such as"),
    ]  # fmt: skip
    assert "on cpu" in small[0].where and "on cuda:0" in small[1].where and small[1].how == "is wrong by up to 0.0089"


def test_one_op_that_is_right_on_the_cpu_is_no_collision():
    assert not any("collision" in f.cause for f in findings(turned_round(spared="act")))


def test_an_error_after_an_empty_launch_is_put_on_the_empty_launch():
    """CUDA 13 calls it an invalid argument; the call after the one that launched nothing may be the one that raises."""

    def fate(rung):
        if rung.device == "cuda:0" and rung.op in ("inv", "mul") and rung.batch in (0, 1) and rung.dtype == "float32":
            return Result(rung, ERROR, detail="AcceleratorError: CUDA error: invalid argument")
        return None

    assert all("launch of 0 blocks" in f.cause for f in findings(run(fate)))


def test_a_collision_costs_two_processes_a_call():
    deaths = [r for r in collided(SIGSEGV) if r.result == CRASH]
    calls = {(r.rung.op, r.rung.group, r.rung.dtype) for r in deaths}
    assert len(deaths) == 2 * len(calls)
    assert all(r.rung.is_plain for r in deaths)


@pytest.mark.parametrize(
    "spared",
    [
        lambda rung: rung.device == "cpu",  # dies on the CPU too
        lambda rung: rung.op not in ("act", "act4"),  # one op lives
        lambda rung: rung.group != "SE3",  # one group lives
    ],
    ids=["cpu dies too", "one op lives", "one group lives"],
)
def test_it_is_not_called_a_collision_when_the_pattern_is_another(spared):
    base = {r.rung: r for r in collided(SIGSEGV)}

    def fate(rung):
        if (
            rung.device == "cpu"
            and spared(rung)
            and rung.op != "Identity"
            and rung.batch
            and spared(Rung("inv", "SO3", "x", "cpu", 1))
        ):
            return Result(rung, CRASH, detail="SIGSEGV: died", exit=SIGSEGV)
        result = base[rung]
        return (
            result if result.result == CRASH and (spared(dataclasses.replace(rung, device="cpu")) or rung.device == "cpu") else None
        )

    found = findings(run(fate))
    assert found and not any("collision" in f.cause for f in found)


def test_an_abort_everywhere_is_no_collision():
    aborted = dataclasses.asdict(decode(-6, windows=False))
    assert not any("collision" in f.cause for f in findings(collided(aborted)))


def test_work_on_the_legacy_stream_is_told_from_a_wrong_result():
    def fate(rung):
        return Result(rung, WRONG, float("inf"), "NaN") if rung.stream == "side" and rung.batch and rung.op != "Identity" else None

    [finding] = findings(run(fate))
    assert (
        "on a side stream" in finding.where
        and finding.how == "gives NaN"
        and "another stream than the current one" in finding.cause
    )


def test_an_unchecked_empty_launch_is_named():
    def fate(rung):
        if rung.device == "cuda:0" and rung.batch == 0:
            return Result(rung, ERROR, detail="RuntimeError: CUDA error: invalid configuration argument")
        return None

    [finding] = findings(run(fate))
    assert finding.where == "every op on cuda:0 at batch 0" and "0 blocks" in finding.cause


def test_no_kernel_image_is_told_from_a_collision():
    def fate(rung):
        wrong = rung.device == "cuda:0" and rung.batch and rung.op != "Identity"
        return Result(rung, ERROR, detail="RuntimeError: CUDA error: no kernel image is available") if wrong else None

    [finding] = findings(run(fate))
    assert "no code for this GPU" in finding.cause


def test_what_cancels_near_zero_is_told_from_a_wrong_op():
    def fate(rung):
        wrong = rung.near_zero and rung.dtype == "float32" and rung.batch and rung.group in ("SE3", "Sim3")
        return Result(rung, WRONG, 0.006, "0.006 off") if wrong else None

    [finding] = findings(run(fate))
    assert finding.where == "exp, log and retr near 0 of SE3 and Sim3 in float32 at every batch but 0"
    assert finding.how == "is wrong by up to 0.006" and "cancel" in finding.cause


def test_nan_near_zero_is_not_put_down_to_cancelling_forms():
    def fate(rung):
        wrong = rung.near_zero and rung.batch and rung.dtype == "float32"
        error = float("inf") if rung.op.startswith("exp") else 0.006
        return Result(rung, WRONG, error, "off") if wrong else None

    nan, lost = findings(run(fate))
    assert nan.how == "gives NaN" and nan.where == "exp near 0 in float32 at every batch but 0" and not nan.cause
    assert lost.how == "is wrong by up to 0.006" and "cancel" in lost.cause


def pypose(rung):
    """As it was measured: SE3's exp and retr lose digits in one dtype and from two sizes on, all three of Sim3's everywhere."""
    se3 = rung.group == "SE3" and not rung.op.startswith("log") and rung.batch in (7, 4097) and rung.dtype == "float32"
    wrong = rung.near_zero and rung.batch and rung.device == "cpu" and (se3 or rung.group == "Sim3")
    return Result(rung, WRONG, 0.006, "0.006 off") if wrong else None


def test_only_what_failed_is_said_to_fail():
    [finding] = findings(run(pypose))
    assert finding.where == (
        "exp near 0 and retr near 0 of SE3 on cpu in float32 at batch 7 and 4097; "
        "exp, log and retr near 0 of Sim3 on cpu at every batch but 0"
    )


def test_where_no_words_fit_the_failures_it_says_how_many_of_those_meant_they_are():
    def fate(rung):
        hit = rung.op == "inv" and rung.group == "SO3" and rung.device == "cpu" and rung.is_plain
        hit = hit and (rung.dtype, rung.batch) in (("float32", 7), ("float64", 1))
        return Result(rung, WRONG, 0.5, "0.5 off") if hit else None

    [finding] = findings(run(fate))
    assert finding.where == "SO3.inv on cpu at batch 1 and 7 with contiguous operands on the main thread (2 of 4 rungs)"


def test_faults_of_different_kinds_are_different_findings():
    def fate(rung):
        if rung.op == "adjT" and rung.group == "Sim3" and rung.batch:
            return Result(rung, WRONG, 0.5, "0.5 off")
        if rung.op == "inv" and rung.batch == 7:
            return Result(rung, CRASH, detail="SIGSEGV: died", exit=SIGSEGV)
        return None

    found = findings(run(fate))
    assert {f.where for f in found} == {"inv on cpu at batch 7", "inv on cuda:0 at batch 7", "Sim3.adjT at every batch but 0"}
    assert {f.first.result for f in found} == {WRONG, CRASH}
    assert not any("collision" in f.cause for f in found)  # it dies on the CPU as well


def test_all_ok_and_nothing_tried():
    assert conclusion("x", run(lambda rung: None)).endswith("rungs are ok on cpu and cuda:0.")
    assert conclusion("x", [Result(rung, UNAVAILABLE) for rung in LADDER]) == "x: nothing could be tried."


def test_a_death_spares_its_odd_forms_and_two_deaths_the_other_sizes_but_nothing_else():
    plain = Rung("inv", "Sim3", "float32", "cpu", 7)
    odd = dataclasses.replace(plain, layout="strided", thread="other")
    assert below_a_death(odd, [plain]).startswith(NOT_CLIMBED)
    assert below_a_death(plain, [odd]) is None
    for change in ({"op": "log"}, {"group": "SE3"}, {"dtype": "float64"}, {"device": "cuda:0"}, {"batch": 1}):
        assert below_a_death(dataclasses.replace(plain, **change), [plain]) is None
    two = [plain, dataclasses.replace(plain, batch=1)]
    assert below_a_death(dataclasses.replace(plain, batch=4097), two).startswith(NOT_CLIMBED)
    assert below_a_death(dataclasses.replace(plain, batch=0), two) is None


def test_the_ladder_goes_from_plain_to_odd_and_has_no_rung_twice():
    assert len(set(LADDER)) == len(LADDER)
    assert LADDER[0] == Rung("Identity", "SO3", "float32", "cpu", 1)
    place = {rung: i for i, rung in enumerate(LADDER)}
    for a, b in itertools.combinations([r for r in LADDER if r.op == "inv" and r.group == "Sim3" and r.dtype == "float32"], 2):
        if (a.device, a.batch) == (b.device, b.batch) and is_simpler(a, b) and not is_simpler(b, a):
            assert place[a] < place[b]
    assert {r.stream for r in LADDER if r.device == "cpu"} == {"default"} and {r.stream for r in LADDER} == {"default", "side"}


def test_where_names_only_what_distinguishes():
    results = run(
        lambda rung: Result(rung, WRONG, 1.0) if rung.op == "exp" and rung.dtype == "float64" and rung.device == "cpu" else None
    )
    assert where([r for r in results if r.failed], results) == "exp on cpu in float64"
