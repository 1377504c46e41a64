"""``mast3r-slam:PATH`` on checkouts of our own: the tracker as it stands, edited in the ways people edit, and broken."""

from __future__ import annotations

import ast

import fake_checkout
import pytest

from harness.adapters.checkout import _config, _named_in
from harness.cli.repro import SHIPPED
from harness.errors import SolverUnavailable, UsageError
from harness.outcome import Kind
from harness.registry import checkout_of, of_tracker, resolve
from harness.replay import Request, replay

_RAY, _CALIB, _NAN = "synthetic-depth-steps", "synthetic-scale-change-calib", "degenerate-nan-invalid"


def outcomes(out, solvers, *cases):
    """{(case, solver index): outcome}, run as any replay is."""
    names = [str(name) for name in solvers]
    run = replay(Request(tuple(SHIPPED / case for case in cases), tuple(names), jobs=2, out=out, command="test"))
    return {(o.case, names.index(o.solver)): o for o in run.outcomes}


def one_file(checkout):
    """A port as small as they come: poses and solve in one file, the settings an argument, and no other file."""
    package = checkout / "mast3r_slam"
    tracker = (package / "tracker.py").read_text().replace("from mast3r_slam import poses", "")
    tracker = tracker.replace("from mast3r_slam.config import config", (package / "poses.py").read_text())
    tracker = tracker.replace(
        'self, model, frames, device):\n        self.cfg = config["tracking"]', "self, cfg):\n        self.cfg = cfg"
    )
    for file in package.glob("*.py"):
        file.unlink()
    (package / "tracker.py").write_text(tracker)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """One replay for all checkouts: as it stands; its own settings; updating without retr; without solve; with no trace; broken."""
    folder = tmp_path_factory.mktemp("checkouts")
    made = {
        "plain": fake_checkout.make(folder / "plain"),
        "no_retr": fake_checkout.make(
            folder / "no_retr", tracker=("T_CkCf.retr(step)", "type(T_CkCf)(compose(exp(step), T_CkCf.data))")
        ),
        "no_solve": fake_checkout.make(folder / "no_solve", tracker=("def solve(self", "def _step(self")),
        "constructor": fake_checkout.make(
            folder / "constructor", tracker=("def __init__(self, model, frames, device)", "def __init__(self)")
        ),
        "needs_frame": fake_checkout.make(folder / "needs_frame", tracker=("T_CkCf, old =", "Frame(3); T_CkCf, old =")),
        "own_bug": fake_checkout.make(
            folder / "own_bug", tracker=("from mast3r_slam import poses", "from mast3r_slam import gone")
        ),
        "in_one_file": fake_checkout.make(folder / "in_one_file"),
        "in_the_frame": fake_checkout.make(folder / "in_the_frame", frame=("START: lie.Sim3", "class Sim3: pass")),
    }
    one_file(made["in_one_file"])
    edited = made["no_solve"] / "mast3r_slam" / "tracker.py"
    edited.write_text(edited.read_text().replace("self.solve(", "self._step("))
    names = [f"mast3r-slam:{path}" for path in made.values()] + [f"mast3r-slam:{made['plain'] / 'config' / 'two.yaml'}"]
    found = outcomes(folder / "runs", names, _RAY, _CALIB, _NAN)
    keys = [*made, "own_settings"]
    return {(case, keys[i]): outcome for (case, i), outcome in found.items()}


@pytest.mark.parametrize("case", [_RAY, _CALIB])
def test_a_checkouts_tracker_runs_without_what_the_solve_does_not_need(seen, case):
    outcome = seen[case, "plain"]
    assert outcome.kind is Kind.OK and outcome.expected and outcome.status == "CONVERGED", outcome.exception
    assert outcome.parity["oracle"]["d_sigma"] < 0.05


@pytest.mark.parametrize("case", [_RAY, _CALIB])
@pytest.mark.parametrize("checkout", ["plain", "constructor"])
def test_every_iteration_of_it_is_seen_as_the_oracle_has_it(seen, case, checkout):
    outcome = seen[case, checkout]
    assert outcome.iterations == outcome.parity["iterations_oracle"] == len(outcome.trace) > 2
    assert outcome.parity["first_divergence"] is None
    assert outcome.trace[-1].T_CkCf == pytest.approx(outcome.T_CkCf, abs=1e-6)
    assert all(it.cost > 0 and it.delta_norm > 0 and it.n_matches > 1000 for it in outcome.trace)
    assert [stage for stage, _ in outcome.stages if stage.startswith("iteration")] == [
        f"iteration {k}" for k in range(outcome.iterations)
    ]


def test_a_port_of_one_file_without_settings_runs(seen):
    outcome = seen[_RAY, "in_one_file"]
    assert outcome.kind is Kind.OK and outcome.expected, (outcome.reason, outcome.exception)


def test_poses_of_a_module_that_is_not_imported_are_said_to_be_there(seen):
    outcome = seen[_RAY, "in_the_frame"]
    assert outcome.kind is Kind.UNAVAILABLE and "Sim3 is of mast3r_slam.frame, which is not imported" in outcome.reason


def test_a_tracker_that_updates_without_retr_is_seen_by_its_own_variable(seen):
    plain, without = seen[_RAY, "plain"], seen[_RAY, "no_retr"]
    assert len(without.trace) == len(plain.trace)
    for mine, theirs in zip(without.trace, plain.trace, strict=True):
        assert mine.T_CkCf == pytest.approx(theirs.T_CkCf, abs=1e-6) and mine.cost == pytest.approx(theirs.cost)


def test_a_tracker_without_solve_is_seen_by_its_retr(seen):
    plain, without = seen[_RAY, "plain"], seen[_RAY, "no_solve"]
    assert without.expected and len(without.trace) == len(plain.trace)
    assert without.trace[0].cost != without.trace[0].cost  # nobody said it
    assert without.trace[0].delta_norm == pytest.approx(plain.trace[0].delta_norm)


def test_its_own_settings_run_where_a_settings_file_is_named(seen):
    outcome = seen[_RAY, "own_settings"]
    assert outcome.iterations == 2 and outcome.status == "MAX_ITERATIONS"
    assert seen[_RAY, "plain"].iterations > 2  # the case's, over the same checkout's


def test_a_nan_under_a_mask_fails_as_it_does_there(seen):
    outcome = seen[_NAN, "plain"]
    assert outcome.kind is Kind.RAISED and "cholesky" in outcome.exception.message and outcome.expected is False


def test_a_solve_that_needs_a_stand_in_says_which(seen):
    outcome = seen[_RAY, "needs_frame"]
    assert outcome.kind is Kind.RAISED and "mast3r_slam.frame.Frame is a stand-in" in outcome.exception.message


def test_a_module_of_the_checkout_that_is_missing_is_its_own_fault(seen):
    outcome = seen[_RAY, "own_bug"]
    assert outcome.kind is Kind.RAISED and "gone" in outcome.exception.message


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import lietorch\ndef f(x: lietorch.Sim3): pass", "lietorch"),
        ("import mast3r_slam.compat as lietorch\nx = lietorch.Sim3.Identity(1)", "mast3r_slam.compat"),
        ("from mast3r_slam.maths import Sim3", "mast3r_slam.maths"),
        ("from .maths import SE3, Sim3 as S", "mast3r_slam.maths"),
        ("from . import maths\nmaths.Sim3(1)", "mast3r_slam.maths"),
        ("import lietorch\nclass Sim3(lietorch.Sim3): pass", "mast3r_slam.mine"),
        ("class Other:\n    class Sim3: pass", None),
        ("import torch\nx = torch.zeros(3)", None),
        ("y = unknown.Sim3", None),
    ],
)
def test_the_class_of_poses_is_found_where_the_source_takes_it_from(source, module):
    assert _named_in(ast.parse(source), "mast3r_slam.mine") == module


def test_names_that_are_no_checkout_are_wrong_use(tmp_path):
    checkout = fake_checkout.make(tmp_path / "it")
    with pytest.raises(UsageError, match=r"no mast3r_slam/tracker\.py"):
        resolve(f"mast3r-slam:{tmp_path}")
    with pytest.raises(UsageError, match="no file"):
        resolve(f"mast3r-slam:{checkout / 'config' / 'none.yaml'}")
    assert resolve(f"mast3r-slam:{checkout}").argument == str(checkout)
    assert checkout_of(checkout / "config" / "two.yaml") == checkout


def test_a_settings_file_of_a_checkout_that_reads_none_is_refused(tmp_path):
    checkout = fake_checkout.make(tmp_path / "it")
    (checkout / "mast3r_slam" / "config.py").unlink()
    with pytest.raises(SolverUnavailable, match=r"two\.yaml: cannot be read: .* has no mast3r_slam/config\.py"):
        _config(checkout, checkout / "config" / "two.yaml")
    assert _config(checkout, checkout) == ({}, {})


@pytest.mark.parametrize(
    ("file", "solver"),
    [
        ("/home/me/MASt3R-SLAM/mast3r_slam/tracker.py", "mast3r-slam:/home/me/MASt3R-SLAM"),
        ("C:\\src\\port\\mast3r_slam\\tracker.py", "mast3r-slam:C:\\src\\port"),
        ("/home/me/port/tracker.py", None), ("/opt/sim3solve/mast3r_slam.py", None), ("mast3r_slam/tracker.py", None), ("", None),
    ],
)  # fmt: skip
def test_the_solver_of_a_recorded_trackers_file(file, solver):
    assert of_tracker(file) == solver


def test_an_edit_of_the_checkout_makes_it_another_solver(tmp_path):
    checkout = fake_checkout.make(tmp_path / "it")
    before = resolve(f"mast3r-slam:{checkout}").fingerprint()
    assert resolve(f"mast3r-slam:{checkout}").fingerprint() == before
    file = checkout / "mast3r_slam" / "poses.py"
    file.write_text(file.read_text() + "\n# an edit\n")
    assert resolve(f"mast3r-slam:{checkout}").fingerprint() != before
