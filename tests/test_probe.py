"""The op ladder on planted faults: each is put on the rung it is on, and the rest is climbed all the same."""

from __future__ import annotations

import os
from collections import Counter

import probe_faults
import pytest

from harness.probe.climb import Climb
from harness.probe.conclusion import conclusion, findings, first_failing
from harness.probe.lane import Lane, Seen
from harness.probe.rungs import CRASH, ERROR, OK, UNAVAILABLE, WRONG, Result, Rung, ladder


def short(devices, groups=("SO3", "Sim3")):
    """Without batch 4097 and the near-zero rungs, which test_probe_pypose climbs."""
    return tuple(r for r in ladder(devices, groups) if r.batch != 4097 and not r.near_zero)


def climb(folder, fault, **more):
    file = probe_faults.write(folder, fault)
    (folder / "probe").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.probe.climb.ladder", short)
        return Climb(str(file), folder / "probe", jobs=1, **more).run()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return climb(tmp_path_factory.mktemp("many"), "many", rung_limit_s=6)


def of(probe, op, group="Sim3", **more):
    wanted = [r for r in probe.results if r.rung.op == op and r.rung.group == group]
    return [r for r in wanted if all(getattr(r.rung, name) == value for name, value in more.items())]


def finding_at(probe, op, group):
    [found] = [f for f in findings(probe.results) if f.first.rung.op == op and f.first.rung.group == group]
    return found


def test_a_healthy_file_is_ok_on_every_rung_and_a_fresh_interpreter_says_the_same(tmp_path):
    probe = climb(tmp_path, "healthy", fork=False)
    assert {r.result for r in probe.results} == {OK}
    assert len(probe.results) == len({r.rung for r in probe.results}) > 200
    assert {r.rung.group for r in probe.results} == {"SO3", "Sim3"}
    assert first_failing(probe.results) is None
    assert "rungs are ok on cpu" in conclusion("healthy.py", probe.results)
    assert probe.environment["torch"] and probe.environment["library"] == "healthy.py"


def test_a_segfault_at_one_size_is_named_to_the_size(many):
    dead = [r for r in of(many, "inv") if r.result == CRASH]
    assert (
        dead[0].rung == Rung("inv", "Sim3", "float32", "cpu", 7) and dead[0].exit["name"] == "SIGSEGV" and dead[0].exit["crashed"]
    )
    assert "many.py" in dead[0].detail and "in inv" in dead[0].detail
    assert all(r.result == OK for batch in (0, 1) for r in of(many, "inv", batch=batch))
    assert all(r.result == CRASH or r.not_climbed for r in of(many, "inv", batch=7))
    found = finding_at(many, "inv", "Sim3")
    assert found.where == "Sim3.inv at batch 7" and found.how == "dies of SIGSEGV"
    assert not found.cause  # one op of one group is no proof of anything


def test_the_first_failing_rung_is_the_lowest(many):
    first = first_failing(many.results)
    assert first == next(r for r in many.results if r.result in (CRASH, WRONG, ERROR))
    assert first.rung.is_plain and first.rung.batch == 1 and first.rung.dtype == "float32"


def test_a_wrong_adjoint_is_wrong_and_by_how_much(many):
    wrong = of(many, "adjT")
    assert all(r.result == (WRONG if r.rung.batch else OK) for r in wrong)
    full = [r for r in wrong if r.rung.batch and r.rung.dtype in ("float32", "float64")]  # adj in half is another fault here
    assert all(r.error > 0.01 and "off in row" in r.detail for r in full)
    assert finding_at(many, "adjT", "Sim3").how.startswith("is wrong by up to")


def test_a_hang_that_holds_the_interpreter_is_ended_and_named(many):
    hung = [r for r in of(many, "log") if r.result == CRASH]
    assert hung[0].rung == Rung("log", "Sim3", "float32", "cpu", 1) and hung[0].exit is None
    assert hung[0].detail.startswith("hang, at") and "many.py" in hung[0].detail and "in log" in hung[0].detail
    assert all(r.result == OK for r in of(many, "log", dtype="float64"))
    assert (
        finding_at(many, "log", "Sim3").how == "hangs" and finding_at(many, "log", "Sim3").where == "Sim3.log in float32 at batch 1"
    )


def test_an_undefined_result_for_half_is_no_refusal(many):
    [adj], [act], [refused] = of(many, "adj", dtype="float16"), of(many, "act", dtype="float16"), of(many, "act", dtype="bfloat16")
    assert adj.result == WRONG and "zeros or NaN came back instead of a refusal of float16" in adj.detail
    assert act.result == WRONG and "undefined tensor came back instead of a refusal" in act.detail
    assert refused.result == OK and refused.detail.startswith("refuses: TypeError")
    assert all(r.result == OK for op in ("adj", "act") for r in of(many, op) if r.rung.dtype in ("float32", "float64"))
    assert any("dispatch" in f.cause for f in findings(many.results))


def test_layouts_are_told_apart(many):
    strided = [r for r in of(many, "log", "SO3") if r.result == WRONG]
    assert strided and all(r.rung.layout == "strided" for r in strided)
    assert "contiguous" in next(f.cause for f in findings(many.results) if f.first in strided)
    misaligned = [r for r in of(many, "adj", "SO3") if r.result == ERROR]
    assert misaligned and all(r.rung.layout == "offset" and "misaligned" in r.detail for r in misaligned)
    assert "aligned" in finding_at(many, "adj", "SO3").cause


def test_another_thread_is_told_apart(many):
    wrong = [r for r in of(many, "act", "SO3") if r.result == WRONG]
    assert wrong and all(r.rung.thread == "other" for r in wrong)
    assert "thread it is called on" in finding_at(many, "act", "SO3").cause


def test_a_process_that_leaves_without_a_word_is_a_crash_of_its_rung(many):
    dead = [r for r in of(many, "inv", "SO3") if r.result == CRASH]
    assert dead and "exit 0" in dead[0].detail


def test_wrong_shapes_and_types_are_wrong(many):
    assert all(r.result == WRONG and "came back where" in r.detail for r in of(many, "adjT", "SO3"))


def test_calls_without_a_fault_are_ok_beside_all_the_others(many):
    faulty = {("Sim3", op) for op in ("inv", "adjT", "log", "adj", "act", "act4")} | {
        ("SO3", op) for op in ("inv", "log", "act", "act4", "adj", "adjT")
    }
    others = [r for r in many.results if (r.rung.group, r.rung.op) not in faulty]
    assert len(others) > 100 and all(r.result == OK for r in others)


@pytest.mark.slow
def test_a_death_that_an_earlier_rung_caused_is_not_put_on_the_later_one(tmp_path):
    probe = climb(tmp_path, "dies_of_the_one_before")
    tried_alone = [r for r in of(probe, "matrix") if "alone it ends like this" in r.detail]
    assert tried_alone and all(r.result == OK for r in tried_alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a new interpreter for every process has no forks to lose")
@pytest.mark.parametrize(
    ("fault", "how"),
    [("kills_its_parent", "dies of SIGKILL"), pytest.param("prints_without_end", "prints without end", marks=pytest.mark.slow)],
)
def test_when_the_process_that_forks_is_lost_its_forks_results_are_not(tmp_path, monkeypatch, fault, how):
    monkeypatch.setattr("harness.process.MAX_OUTPUT_BYTES", 2 << 20)
    probe = climb(tmp_path, fault)
    at = Rung("inv", "Sim3", "float32", "cpu", 7)
    failed = [r for r in probe.results if r.failed]
    assert {(r.rung.op, r.rung.group, r.rung.dtype, r.rung.batch) for r in failed} == {("inv", "Sim3", "float32", 7)}
    assert first_failing(probe.results).rung == at and failed[0].result == CRASH
    assert sum(r.result == OK for r in probe.results) > 200  # before it and after it
    [found] = findings(probe.results)
    assert (found.where, found.how) == ("Sim3.inv in float32 at batch 7", how)
    if fault == "prints_without_end":
        assert "MiB of output, and the harness ended it" in failed[0].detail and failed[0].exit is None
        assert "killed from outside" not in str(failed)
    assert not [file for name in ("stdout", "stderr") for file in (tmp_path / "probe").glob(f"*/{name}")]


def test_what_comes_back_may_be_no_readable_tensor_and_ends_no_process(tmp_path):
    probe = climb(tmp_path, "sparse")
    adj = [r for r in of(probe, "adj") if r.rung.batch]
    assert adj and all(r.result == WRONG and "a tensor came back that cannot be read" in r.detail for r in adj)
    adjT = [r for r in of(probe, "adjT") if r.rung.batch]
    assert adjT and all(r.result == ERROR and "cannot be judged: MemoryError: boo" in r.detail for r in adjT)
    assert not [r for r in probe.results if r.result == CRASH]


def seen(results=(), at=None, death=None):
    return Seen(tuple(results), at, death, False, None, (), (), None, None, False)


def test_no_call_is_blamed_for_processes_that_made_none():
    rungs = list(short(("cpu",), ("SO3",)))[:3]
    got = []
    lane = Lane("lane", list(rungs), got.append)
    asked = []

    class Climber:
        def ask(self, name, wanted):
            asked.append(name)
            # The second is lost between two rungs; then each dies before it has begun any.
            return seen([Result(rungs[0], OK, 0.0)], None) if len(asked) == 2 else seen(death=("SIGKILL: killed", None))

    lane.climb(Climber())
    assert len(asked) == 4  # once more after each that made no call, and not once for each rung
    assert [(r.rung, r.result) for r in got] == [(rungs[0], OK), (rungs[1], ERROR), (rungs[2], ERROR)]
    assert all(r.detail.startswith("could not be tried: the process died before anything was tried: SIGKILL") for r in got[1:])
    [found] = findings(got)
    assert found.how.startswith("could not be tried") and found.count == 2


@pytest.mark.slow
def test_where_everything_dies_it_costs_two_deaths_a_call_and_identity_lives(tmp_path):
    probe = climb(tmp_path, "everything_dies")
    assert all(r.result == OK for r in probe.results if r.rung.op == "Identity")
    deaths = Counter((r.rung.op, r.rung.group, r.rung.dtype) for r in probe.results if r.result == CRASH and r.rung.batch)
    assert max(deaths.values()) == 2
    dead = [r for r in probe.results if r.rung.op != "Identity"]
    assert all(r.result in (CRASH, UNAVAILABLE) for r in dead)
    assert all(r.not_climbed for r in dead if r.result == UNAVAILABLE)
    assert "every op but Identity" in conclusion("x", probe.results)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os.abort()", "the process died before anything was tried: SIGABRT"),
        ("raise ImportError('no kernel')", "its import raises ImportError: no kernel"),
        ("import sys; sys.exit(3)", "its import raises SystemExit: 3"),
        ("x = 1", "has no class SO3, RxSO3, SE3 or Sim3"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why(tmp_path, source, said):
    file = tmp_path / "broken.py"
    file.write_text(source, encoding="utf-8")
    (tmp_path / "probe").mkdir()
    probe = Climb(str(file), tmp_path / "probe", jobs=1).run()
    assert said in probe.broken and probe.results == ()
