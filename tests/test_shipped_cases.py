"""The shipped corpus: complete, readable, attributed, small, and true to what each case states."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.case import Case, CaseDocument
from harness.casefile import read_case, write_case
from harness.importers.degenerate import degenerate_cases, identity_inverse
from harness.importers.shipped import REAL, main, readme
from harness.importers.synthetic import SCENES, synthetic_cases
from harness.importers.tum import ATTRIBUTION
from harness.layout import arrays
from sim3solve import reference
from sim3solve.problem import PROBLEMS, Status

CASES = Path(__file__).parents[1] / "cases"
FOLDERS = sorted(file.parent for file in CASES.glob("*/case.json"))
IDS = [folder.name for folder in FOLDERS]

DEMANDED = set(
    """
valid-0 valid-1 valid-2 valid-3 valid-6 collinear zero-invalid nan-invalid inf-invalid zero-valid nan-valid inf-valid
quaternion-not-unit rotation-180 scale-1e-6 scale-1e6 n-0 n-31 n-33 n-1000003 weights-equal contradictory
""".split()  # noqa: SIM905
)


@cache
def shipped(name: str) -> Case:
    return read_case(CASES / name)


def document(name: str) -> CaseDocument:
    return shipped(name).document


each_case = pytest.mark.parametrize("name", IDS)


@each_case
def test_it_reads_and_states_what_must_happen(name):
    found = document(name)
    assert found.id == name
    assert found.title
    assert len(found.expect.because) > 40
    assert found.expect.statuses or found.kind == "op"
    assert found.provenance.source
    assert found.provenance.licence
    no_pose = not any(status.has_pose for status in found.expect.statuses)
    assert (found.expect.outcomes == ("SOLVER_STATUS",)) == (no_pose and found.kind != "op")
    assert found.expect.parity == (found.expect.outcomes == ("OK",))


@pytest.mark.parametrize("name", [name for name in IDS if not name.startswith("op-")])
def test_the_oracle_does_what_the_case_states(name):
    case = shipped(name)
    solution = reference.solve(PROBLEMS[case.document.kind](**arrays(case)), case.options)
    assert solution.status in case.document.expect.statuses
    assert solution.status.has_pose == np.isfinite(solution.T_CkCf).all()
    if solution.status.has_pose and case.document.truth_T_CkCf is not None:
        found, truth = solution.T_CkCf[0], np.array(case.document.truth_T_CkCf)
        depth = float(np.median(np.linalg.norm(case.as_float("Xk")[case.values["valid_opt"][:, 0]], axis=1)))
        degrees = 2.0 if "features" in case.document.tags else 1.0  # about 130 points, some wrong, rounded to pixels of 0.5 degrees
        assert abs(found[3:7] @ truth[3:7]) > math.cos(math.radians(degrees) / 2)
        assert np.linalg.norm(found[:3] - truth[:3]) < 0.03 * depth
        assert abs(math.log(found[7] / truth[7])) < 0.03


def test_every_kind_of_source_is_there():
    count = {
        start: sum(name.startswith(start) for name in IDS) for start in ("real-", "synthetic-", "degenerate-", "layout-", "op-")
    }
    assert count == {"real-": len(REAL), "synthetic-": len(SCENES), "degenerate-": 35, "layout-": 7, "op-": 1}
    assert len(REAL) >= 10
    assert {f"degenerate-{name}" for name in DEMANDED} <= set(IDS)


def test_every_real_pair_appears_in_either_form():
    pairs = {(real.folder, real.pair) for real in REAL}
    assert len(pairs) == 9
    assert {(real.kind, real.matches) for real in REAL} == {
        (kind, matches) for kind in ("ray_dist", "calib") for matches in ("projective", "features")
    }


def test_real_cases_carry_licence_attribution_and_truth():
    for real in REAL:
        found = document(real.id)
        assert found.provenance.licence == "CC BY 4.0"
        assert found.provenance.attribution == ATTRIBUTION
        assert found.truth_T_CkCf is not None
        assert found.n_points == 128 * 96
    for words in ("TUM RGB-D benchmark", "Sturm", "IROS 2012", "Changes made"):
        assert words in ATTRIBUTION
        assert words in (CASES / "README.md").read_text(encoding="utf-8")


def test_only_cases_are_shipped_and_they_are_small():
    files = [file for file in CASES.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 8_000_000
    assert {file.name for file in files} == {"case.json", "tensors.safetensors", "README.md"}


def test_the_table_is_that_of_the_cases():
    order = [real.id for real in REAL] + [case.id for case in made_cases()]
    assert sorted(order) == IDS
    assert (CASES / "README.md").read_text(encoding="utf-8") == readme([shipped(name) for name in order])


@cache
def made_cases() -> tuple[Case, ...]:
    return (*synthetic_cases(), *degenerate_cases(), identity_inverse())


@pytest.mark.parametrize("name", [name for name in IDS if not name.startswith("real-")])
def test_made_cases_are_what_the_code_makes(name):
    """Numbers to a few float32 roundings, because sin and log may differ in the last bit elsewhere; all else exactly."""
    made = next(case for case in made_cases() if case.id == name)
    stored = shipped(name)
    unhashed = {"tensors_sha256": "", "truth_T_CkCf": None}
    assert stored.document.model_copy(update=unhashed) == made.document.model_copy(update=unhashed)
    for tensor, values in made.values.items():
        if values.dtype == np.bool_:
            assert np.array_equal(stored.values[tensor], values)
        else:
            assert np.allclose(stored.values[tensor], values, rtol=1e-5, atol=1e-6 * scale_of(values), equal_nan=True)


def scale_of(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def test_generated_values_are_not_stored_and_have_the_bits_they_had():
    generated = [name for name in IDS if document(name).generator is not None]
    assert generated == ["degenerate-n-1000003"]
    assert [file.name for file in (CASES / generated[0]).iterdir()] == ["case.json"]
    assert document(generated[0]).tensors_sha256 == "67613b717f9fa57b816e8a132b8a43239f1ab9866adae0ba3e45dc1f5ed578f9"


def test_bad_values_lie_where_they_are_said_to():
    for name in ("zero", "nan", "inf"):
        for where in ("valid", "invalid"):
            case = shipped(f"degenerate-{name}-{where}")
            valid = case.values["valid_opt"][:, 0]
            bad = {
                points: ~case.values[points].any(axis=1) if name == "zero" else ~np.isfinite(case.values[points]).all(axis=1)
                for points in ("Xf", "Xk")
            }
            hit = bad["Xf"] | bad["Xk"]
            assert hit.any()
            assert (hit & valid).any() == (where == "valid")


def test_layouts_are_as_hostile_as_they_say():
    specs = {name.removeprefix("layout-"): document(name).tensors for name in IDS if name.startswith("layout-")}
    assert specs["offset-views"]["T_WCk"].storage_offset == 40
    assert specs["offset-views"]["Xk"].data_ptr_mod_512 % 16 == 12
    assert all(spec.data_ptr_mod_512 == spec.itemsize for spec in specs["misaligned"].values())
    assert specs["column-slice"]["Xf"].stride == (6, 1)
    assert specs["expanded"]["Qk"].stride == specs["expanded"]["valid_opt"].stride == (0, 0)
    assert specs["aliased"]["Xf"].alias_group == specs["aliased"]["Xk"].alias_group == "points"
    views = arrays(shipped("layout-aliased"))
    assert np.may_share_memory(views["Xf"], views["Xk"])
    assert arrays(shipped("layout-offset-views"))["Xk"].ctypes.data % 512 == 108
    same = arrays(shipped("layout-same-tensor"))
    assert same["Xf"].ctypes.data == same["Xk"].ctypes.data


def test_the_seed_crash_is_one_operation_on_a_gpu():
    found = document("op-sim3-identity-inv-cuda")
    assert found.op is not None
    assert (found.op.name, found.requires, found.tensors["X"].device) == ("inv", ("cuda",), "cuda:0")
    assert shipped(found.id).values["X"].tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]


def test_outliers_are_about_thirty_percent():
    clean, dirty = (next(case for case in made_cases() if case.id == f"synthetic-{id}") for id in ("room-ray", "outliers"))
    truth = np.array(dirty.document.truth_T_CkCf)
    assert truth.tolist() == list(clean.document.truth_T_CkCf or ())
    valid = dirty.values["valid_opt"][:, 0]
    off = reference.act(truth, dirty.as_float("Xf")) - dirty.as_float("Xk")
    assert 0.25 < (np.linalg.norm(off, axis=1)[valid] > 0.2).mean() < 0.32


def test_writing_again_gives_the_same_bytes(tmp_path):
    case = shipped("layout-aliased")
    write_case(case, tmp_path / case.id)
    for name in ("case.json", "tensors.safetensors"):
        assert (tmp_path / case.id / name).read_bytes() == (CASES / case.id / name).read_bytes()


def test_the_writer_names_what_it_lacks(tmp_path, capsys):
    assert main(["--tum", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "tum_fr1_desk: folder: no such folder" in capsys.readouterr().err


def test_documents_are_plain_json():
    for folder in FOLDERS:
        assert json.loads((folder / "case.json").read_text(encoding="utf-8"))["schema"] == "sim3solve-case/1"


def test_every_status_is_demanded_somewhere():
    demanded = {status for name in IDS for status in document(name).expect.statuses}
    assert demanded == set(Status) - {Status.MAX_ITERATIONS}
