"""A broken torch or driver is a line in the report, never the end of the harness."""

from __future__ import annotations

import pytest

from harness import environment


def test_this_machine_is_described():
    answer = environment.Inquiry().answer()
    assert answer["cores"] >= 1 and answer["memory_bytes"] > 1 << 28
    assert answer["packages"]["numpy"]
    assert isinstance(answer["cuda_available"], bool) and isinstance(answer["gpus"], list)


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import os; os.abort()", "ended with code -6"),
        ("print('not JSON')\n__version__ = 'x'\n", "AttributeError"),
    ],
)
def test_a_broken_torch_is_reported(tmp_path, monkeypatch, torch, said):
    (tmp_path / "torch.py").write_text(torch)
    whole = environment.child_environment
    monkeypatch.setattr(environment, "child_environment", lambda threads: _with_path(whole(threads), tmp_path))
    answer = environment.Inquiry().answer()
    assert said in answer["torch"]
    assert not answer["cuda_available"]
    assert answer["os"]


@pytest.mark.parametrize(("cuda", "asked"), [("None", False), ("'13.0'", True)])
def test_a_torch_without_cuda_is_known_without_importing_it(tmp_path, monkeypatch, cuda, asked):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('it was imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '9.9'\ncuda: object = {cuda}\n")
    whole = environment.child_environment
    monkeypatch.setattr(environment, "child_environment", lambda threads: _with_path(whole(threads), tmp_path))
    answer = environment.Inquiry().answer()
    assert answer["torch"] == ("cannot be imported: it was imported" if asked else "9.9")
    assert answer["cuda_available"] is False and answer["gpus"] == []


def test_a_torch_that_hangs_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    whole = environment.child_environment
    monkeypatch.setattr(environment, "child_environment", lambda threads: _with_path(whole(threads), tmp_path))
    assert "took over 2 s" in environment.Inquiry().answer(timeout_s=2)["torch"]


def _with_path(variables, folder):
    return variables | {"PYTHONPATH": f"{folder}:{variables['PYTHONPATH']}"}


def test_variables_that_change_what_a_gpu_does_are_kept_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert environment.basics()["variables"] == {"CUDA_LAUNCH_BLOCKING": "1"}
