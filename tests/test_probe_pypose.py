"""The whole ladder on pypose: everything is right but what cancels near zero in float32, which is pypose's, and is said."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("pypose", reason="pypose is not installed: pip install -e .[test]")


@pytest.mark.slow
def test_pypose_is_right_but_near_zero_in_float32():
    argv = [sys.executable, "-m", "harness", "probe", "pypose", "--device", "cpu", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False)
    document = json.loads(done.stdout)
    rungs = document["rungs"]
    assert len(rungs) == 2648 and {rung["group"] for rung in rungs} == {"SO3", "RxSO3", "SE3", "Sim3"}
    assert {rung["batch"] for rung in rungs} == {0, 1, 7, 4097}
    bad = [rung for rung in rungs if rung["result"] != "ok"]
    assert bad and all(rung["result"] == "wrong" and rung["op"].endswith("near 0") and rung["dtype"] == "float32" for rung in bad)
    assert {rung["group"] for rung in bad} == {"SE3", "Sim3"}
    assert 1e-3 < max(rung["error"] for rung in bad) < 0.1
    assert done.returncode == 1 and "cancel" in document["conclusion"]
    refused = [rung for rung in rungs if rung["dtype"] in ("float16", "bfloat16")]
    assert len(refused) == 2 * 11 * 4 and all(rung["result"] == "ok" for rung in refused)
