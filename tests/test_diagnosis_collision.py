"""The collision is claimed of a call that was under way, and proven by the very symbol of that call."""

from __future__ import annotations

import pytest
from diagnosis_evidence import INV_SYMBOL, LIETORCH_STACK, OWN_STACK, SEED_INPUT, SOLVE_INPUT, audit, died, evidence, seed

from harness.diagnosis import diagnose
from harness.diagnosis.documents import Collision
from harness.diagnosis.evidence import Evidence
from harness.diagnosis.symbols import Call, nearest
from harness.outcome import Diagnosis


def told(e: Evidence) -> Diagnosis:
    diagnosis = diagnose(e)
    assert diagnosis is not None
    return diagnosis


def is_collision(e: Evidence) -> bool:
    return told(e).cause == "host-symbol-collision"


@pytest.mark.parametrize(
    "stage", ["imported", "loaded", "context", "iteration 3", "solved", "written", "again: end of each window"]
)
def test_a_death_without_a_stack_is_only_a_collision_where_the_solve_had_just_begun(stage: str) -> None:
    for e in (
        evidence(seed(stage=stage, faulthandler="")),
        evidence(seed(stage=stage, faulthandler=""), audits=(audit(INV_SYMBOL),)),
    ):
        assert not is_collision(e)
    assert is_collision(evidence(seed(stage="solving", faulthandler="")))


@pytest.mark.parametrize(("stage", "within"), [("solving", True), ("iteration 3", True), ("context", False), ("solved", False)])
def test_with_an_operation_in_the_stack_the_solve_must_be_under_way(stage: str, within: bool) -> None:
    assert is_collision(evidence(seed(stage=stage))) is within


CHOLESKY = """Fatal Python error: Segmentation fault

Current thread 0x00007f3a5c5d2740 (most recent call first):
  File "/opt/site-packages/lietorch/extras.py", line 12 in cholesky
  File "/home/me/harness/worker.py", line 141 in _solve
"""
IN_TORCH = LIETORCH_STACK.replace('lietorch/group_ops.py", line 12 in forward', 'torch/_tensor.py", line 9 in __torch_function__')


@pytest.mark.parametrize(
    "stack",
    [CHOLESKY, LIETORCH_STACK.replace("in inv", "in Identity"), IN_TORCH, LIETORCH_STACK.replace("/lietorch/", "/mine/")],
    ids=["extras", "Identity", "torch", "another package"],
)
def test_a_stack_without_an_operation_of_lietorchs_own_is_none(stack: str) -> None:
    assert not is_collision(evidence(seed(faulthandler=stack, solver="mast3r-slam:PATH", input=SOLVE_INPUT)))
    if "Identity" in stack:  # whatever the case's operation is
        assert not is_collision(evidence(seed(faulthandler=stack)))


def test_identity_calls_nothing_of_the_extension() -> None:
    assert not is_collision(evidence(seed(faulthandler="", input=SEED_INPUT | {"op": "identity"})))


def test_a_tracker_without_a_stack_may_be_a_port() -> None:
    gone = seed(faulthandler="", solver="mast3r-slam:PATH", input=SOLVE_INPUT)
    assert (told(evidence(gone)).cause, told(evidence(gone)).confidence) == ("host-symbol-collision", "possible")
    assert told(evidence(gone, audits=(audit(INV_SYMBOL),))).confidence == "likely"


def test_on_the_cpu_no_launch_can_be_mistaken() -> None:
    assert not is_collision(evidence(seed(device="cpu"), audits=(audit(INV_SYMBOL),)))


@pytest.mark.parametrize(
    "other",
    [
        INV_SYMBOL.replace("Sim3", "SO3"), INV_SYMBOL.replace("float", "double"), INV_SYMBOL.replace("forward", "backward"),
        INV_SYMBOL.replace("inv", "exp"),
    ],
    ids=["group", "number type", "direction", "operation"],
)  # fmt: skip
def test_a_symbol_of_another_call_makes_it_likely_and_the_own_one_proves_it(other: str) -> None:
    assert told(evidence(seed(), audits=(audit(other),))).confidence == "likely"
    assert told(evidence(seed(), audits=(audit(other, INV_SYMBOL),))).confidence == "proven"


def test_without_known_types_a_typed_symbol_proves_nothing() -> None:
    untyped = seed(input={name: value for name, value in SEED_INPUT.items() if name != "dtypes"})
    assert told(evidence(untyped, audits=(audit(INV_SYMBOL),))).confidence == "likely"


def test_the_symbol_of_the_call_is_quoted_and_no_other() -> None:
    others = [INV_SYMBOL.replace("Sim3", group) for group in ("SE3", "SO3", "RxSO3")]
    diagnosis = told(evidence(seed(), audits=(audit(*others, INV_SYMBOL),)))
    [quoted] = [fact.quote for fact in diagnosis.facts if fact.where.startswith("audit.json: collisions")]
    assert quoted.startswith(INV_SYMBOL)


def test_an_operation_of_ones_own_is_not_lietorchs() -> None:
    """Its function happens to be called inv; the audit is of lietorch."""
    own = died(-11, faulthandler=OWN_STACK.replace("in launch", "in inv"))
    assert told(evidence(own, audits=(audit(INV_SYMBOL),))).confidence == "likely"
    case_of_inv = died(-11, faulthandler=OWN_STACK, input=SEED_INPUT)
    assert not is_collision(evidence(case_of_inv, audits=(audit(INV_SYMBOL),)))


def test_windows_objects_are_named_as_they_are_there() -> None:
    assert '"build/temp*/**/*.obj"' in told(evidence(seed(0xC0000005, windows=True))).test
    assert '"build/temp*/**/*.o"' in told(evidence(seed())).test


@pytest.mark.parametrize(
    ("symbol", "readable", "apart"),
    [
        ("_Z18inv_forward_kernelI4Sim3IfEfEvPKT0_PS2_i", INV_SYMBOL, ()),
        ("??$inv_forward_kernel@V?$Sim3@M@@M@@YAXPEBMPEAMH@Z",
         "void __cdecl inv_forward_kernel<class Sim3<float>, float>(float const *, float *, int)", ()),
        ("_Z3invN3x4Sim3E", "inv(x::Sim3)", ()),
        ("inv", "inv", ()),
        ("_Z18inv_forward_kernelI4Sim3IfEfEvPKT0_PS2_i", "", ("mangled",)),
        ("_Z18inv_forward_kernelI3SO3IdEdEvPKT0_PS2_i", "void inv_forward_kernel<SO3<double>, double>(double const*, double*, int)",
         ("group", "number type")),
        ("_Z3inv", "void inv<Sim3<c10::Half>, c10::Half>(c10::Half const*)", ("number type",)),
        ("_Z10invert_rowsIfEvPKfPfi", "void invert_rows<float>(float const*, float*, int)", None),
        ("_Z3foo", "void foo<inv>(inv*)", None),
    ],
    ids=["itanium", "msvc", "no template", "extern C", "not demangled", "another", "half", "a longer name", "a type's name"],
)  # fmt: skip
def test_what_a_name_says(symbol: str, readable: str, apart: tuple[str, ...] | None) -> None:
    named = nearest([Collision(symbol, readable, "cpu.o", "gpu.o", "audit.json")], Call(("inv",), "Sim3", ("float32",)))
    assert [it.apart for it in named] == ([] if apart is None else [apart])


def test_a_backward_pass_is_another_call() -> None:
    [forward, _] = pair = [
        Collision("a", INV_SYMBOL, "cpu.o", "gpu.o", "1"),
        Collision("b", INV_SYMBOL.replace("forward", "backward"), "cpu.o", "gpu.o", "2"),
    ]
    assert nearest(reversed(pair), Call(("inv",), "Sim3", ("float32",)))[0].collision == forward
    call = Call(("inv",), "Sim3", ("float32",), backward=True)
    assert [it.exact for it in nearest(pair, call)] == [True, False] and nearest(pair, call)[0].collision == pair[1]
    stack = LIETORCH_STACK.replace("in forward", "in backward")
    assert told(evidence(seed(faulthandler=stack), audits=(audit(INV_SYMBOL),))).confidence == "likely"


def test_a_stack_and_a_symbol_of_any_length_cost_nothing() -> None:
    long = Collision("_Zx", "a" * 4000 + "::" * 2000 + "<" * 4000, "c", "g", "w")
    assert nearest([long], Call(("inv",), "Sim3", ())) == ()
