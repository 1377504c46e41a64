"""``lietorch`` and ``pypose``: which lietorch is which, single operations, and pypose on every shipped case."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from test_solvers import B, expected, operands

from harness import registry, solvers
from harness.adapters import libraries
from harness.adapters.which_lietorch import MISSING, NAMESAKE, PRINCETON, UNKNOWN, which_lietorch
from harness.case import OPS
from harness.cli.repro import SHIPPED
from harness.compare import pose_matrix
from harness.errors import SolverUnavailable
from harness.outcome import Kind
from harness.replay import Request, replay

pypose_here = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("pypose"), reason="pypose is not installed: pip install -e .[test]"
)
BOOM = "raise SystemExit('it was imported')"


def package(folder, *files, backends=False):
    """Files of a package called lietorch, each of which would end the process if it were imported."""
    for name in files:
        file = folder / "lietorch" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(BOOM)
    if backends:
        (folder / "lietorch_backends.py").write_text(BOOM)
    return [str(folder)]


@pytest.mark.parametrize(
    ("files", "backends", "kind", "said"),
    [
        ((), False, MISSING, "there is no module lietorch"),
        (("__init__.py", "groups.py", "group_ops.py"), True, PRINCETON, "is Princeton's lietorch, with lietorch_backends"),
        (("__init__.py", "groups.py", "group_ops.py"), False, PRINCETON, "lietorch_backends is not there"),
        (
            ("__init__.py", "bspline.py", "generic.py", "nn/m2.py"),
            False,
            NAMESAKE,
            "another project of the same name, PyPI's lietorch",
        ),
        (("bspline.py", "nn/r2.py"), True, NAMESAKE, "PDE-G-CNN"),  # a leftover extension makes it no other package
        (("__init__.py", "mine.py"), False, UNKNOWN, "neither Princeton's groups.py"),
    ],
)
def test_which_lietorch_it_is_is_read_off_its_files(tmp_path, files, backends, kind, said):
    found = which_lietorch(package(tmp_path, *files, backends=backends))
    assert found.kind == kind and said in found.reason
    assert found.usable == (kind == PRINCETON and backends)
    assert found.usable or "git+https://github.com/princeton-vl/lietorch.git" in found.fix
    assert "lietorch" not in sys.modules


def test_the_version_of_a_namesake_is_not_believed(tmp_path):
    path = package(tmp_path, "__init__.py", "bspline.py", "generic.py")
    info = tmp_path / "lietorch-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lietorch\nVersion: 0.3\nSummary: Lie Groups for PyTorch\n")
    assert which_lietorch(path).kind == NAMESAKE


def test_the_solver_refuses_the_namesake_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "which_lietorch", lambda: which_lietorch(package(tmp_path, "__init__.py", "bspline.py")))
    with pytest.raises(SolverUnavailable, match=r"PyPI's lietorch.*PDE-G-CNN.*pip uninstall lietorch"):
        libraries.lietorch()


def test_what_is_not_there_is_not_available(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "which_lietorch", lambda: which_lietorch([str(tmp_path)]))
    with pytest.raises(SolverUnavailable, match="no module lietorch"):
        libraries.lietorch()
    monkeypatch.setitem(sys.modules, "pypose", None)
    monkeypatch.delitem(sys.modules, "harness.adapters.pypose_sim3", raising=False)
    with pytest.raises(SolverUnavailable, match="pip install pypose"):
        libraries.pypose()


def test_a_lietorch_built_for_another_torch_says_so(tmp_path, monkeypatch):
    path = package(tmp_path, "__init__.py", "groups.py", "group_ops.py", backends=True)
    (tmp_path / "lietorch" / "__init__.py").write_text("raise ImportError('undefined symbol: _ZN2at4_ops')")
    monkeypatch.setattr(sys, "path", [*path, *sys.path])
    monkeypatch.delitem(sys.modules, "lietorch", raising=False)
    with pytest.raises(SolverUnavailable, match=r"undefined symbol.*build it against the torch"):
        libraries.lietorch()


def test_other_peoples_are_known_but_run_only_when_asked_for():
    assert {"lietorch", "pypose"} <= set(registry.known()) and not {"lietorch", "pypose"} & set(registry.BUILTIN)
    sources = registry.resolve("pypose").fingerprint()
    assert sources != registry.resolve("lietorch").fingerprint()


@pypose_here
@pytest.mark.parametrize("name", OPS)
def test_pyposes_operations_agree_with_matrices(name):
    made = solvers.load(registry.resolve("pypose"))
    x = operands(name)
    rows = np.asarray(made.op(name, {key: torch.from_numpy(value) for key, value in x.items()}), dtype=float)
    assert rows.shape == (B, 3 if name == "act" else 8)
    for row, wanted in zip(rows, expected(name, x), strict=True):
        mine = row if name == "act" else pose_matrix(row)
        assert np.abs(mine - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


@pypose_here
def test_pypose_on_shipped_cases_of_every_sort(tmp_path):
    """It is right wherever quaternions are unit: pypose takes them as they come, where the oracle and lietorch normalise."""
    names = sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir())
    chosen = [*names[::4], *(name for name in names if name.startswith("op-") or "quaternion" in name)]
    run = replay(
        Request(tuple(SHIPPED / name for name in dict.fromkeys(chosen)), ("pypose",), jobs=2, out=tmp_path, command="test")
    )
    ran = [o for o in run.outcomes if o.kind is not Kind.UNAVAILABLE]
    assert len(ran) >= len(run.outcomes) - 1 >= 16
    unexpected = {o.case: o for o in ran if o.expected is not True}
    assert set(unexpected) == {"degenerate-quaternion-not-unit"}, [o.verdict for o in unexpected.values()]
    assert unexpected["degenerate-quaternion-not-unit"].parity["oracle"]["rotation_deg"] > 1
    judged = [o for o in ran if o.parity and o.parity.get("oracle") and o.expected]
    assert max(float(o.parity["oracle"]["d_sigma"]) for o in judged) < 0.05
    assert all(o.iterations == o.parity["iterations_oracle"] for o in judged)
