"""A port that updates on the right, from replay to report and diagnosis: they say which mistake it is, not just "different"."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import fake_checkout
import pytest

from harness.cli.repro import SHIPPED
from harness.diagnosis.ofrun import diagnosed_run, documents_of, read_diagnosed
from harness.forms.markdown import markdown
from harness.outcome import Kind
from harness.replay import Request, replay
from harness.report.write import write_report
from harness.run import Run

SPECIMEN = f"{Path(__file__).parent / 'specimens' / 'right_multiplied.py'}:make"
CASE = "synthetic-low-overlap"
SAID = {"specimen": "right-multiplied update with SE(3)'s V", "port": "right-multiplied update", "own": ""}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The specimen, a checkout whose ``retr`` multiplies on the right, and one that is right, on one case."""
    folder = tmp_path_factory.mktemp("right")
    left = "maths.compose(maths.exp(a), self.data)"
    port = fake_checkout.make(folder / "port", poses=(left, "maths.compose(self.data, maths.exp(a))"))
    own = fake_checkout.make(folder / "own")
    solvers = (SPECIMEN, f"mast3r-slam:{port}", f"mast3r-slam:{own}")
    done = replay(Request((SHIPPED / CASE,), solvers, jobs=2, out=folder / "runs", command="test"))
    write_report(done.folder)
    return done


def test_the_outcomes_name_the_update_from_their_traces(run: Run) -> None:
    causes = {name: (o.parity or {}).get("trace_cause") or "" for name, o in zip(SAID, run.outcomes, strict=True)}
    assert {name: cause.partition(":")[0] for name, cause in causes.items()} == SAID
    assert all(o.kind is Kind.OK and o.iterations for o in run.outcomes)
    specimen, _, own = run.outcomes
    assert specimen.expected is False and own.expected and (specimen.iterations or 0) > 2 * (own.iterations or 0)


def test_report_and_diagnosis_say_it_and_how_to_mend_it(run: Run) -> None:
    bugs = {bug.solvers[0]: bug for bug in diagnosed_run(run, documents_of(run)[0]).bugs}
    assert set(bugs) == {o.solver for o in run.outcomes[:2]}
    for name, outcome in zip(SAID, run.outcomes[:2], strict=False):
        said = bugs[outcome.solver].diagnosis
        assert said.cause == "wrong-update" and said.sentence.startswith(f"Mathematics: {SAID[name]}: from iteration")
        assert "apply the step on the left" in said.fix
    page = unescape((run.folder / "index.html").read_text(encoding="utf-8"))
    for name in ("right-multiplied update with SE(3)'s V", "right-multiplied update"):
        assert f"Mathematics: {name}: from iteration" in page
    assert "right-multiplied update" in markdown(read_diagnosed(run.folder))
    kept = [json.loads(file.read_text()) for file in (run.folder / "outcomes").glob("*.json")]
    assert sum("right-multiplied update" in str(it["diagnosis"]) for it in kept) == 2
