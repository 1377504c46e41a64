"""``sim3solve.solve``: the backend that fits the inputs, one that was asked for, and what to do where one cannot run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problem_factory import oracle_of, shipped

import sim3solve
from harness import layout
from harness.compare import pose_error
from harness.torch_layout import tensors
from sim3solve import native
from sim3solve.problem import PROBLEMS, ProblemError

NAME = "real-fr1-desk-0-8-calib"


def problem(library):
    case = shipped(NAME)
    fields = layout.arrays(case) if library == "numpy" else tensors(case, torch.device("cpu"))
    return PROBLEMS[case.document.kind](**fields), case.options


def assert_oracles_pose(solution):
    error = pose_error(np.asarray(solution.T_CkCf).ravel().tolist(), oracle_of(NAME).T_CkCf, 2.0)
    assert error["rotation_deg"] < 1e-3 and error["translation_rel"] < 1e-4


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("backend", ["auto", "native", "torch", "reference"])
def test_every_backend_gives_the_oracles_pose(library, backend):
    if (library, backend) == ("numpy", "torch"):
        pytest.skip("the PyTorch solver takes tensors")
    solution = sim3solve.solve(*problem(library), backend=backend)
    assert_oracles_pose(solution)
    assert solution.T_CkCf.shape == (1, 8)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_auto_goes_on_without_a_compiler_and_a_named_backend_says_what_is_missing(library, monkeypatch):
    def unavailable(*_):
        raise native.NativeUnavailable("no C++ compiler was found")

    monkeypatch.setattr(native, "solve", unavailable)
    solution = sim3solve.solve(*problem(library))
    assert_oracles_pose(solution)
    assert isinstance(solution.T_CkCf, torch.Tensor if library == "torch" else np.ndarray)
    with pytest.raises(native.NativeUnavailable, match=r"no C\+\+ compiler"):
        sim3solve.solve(*problem(library), backend="native")


def test_an_unknown_backend_is_refused():
    with pytest.raises(ProblemError, match="backend: must be auto, cuda"):
        sim3solve.solve(*problem("numpy"), backend="cude")
