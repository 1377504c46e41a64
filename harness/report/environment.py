"""The machine and the software of a run, named as people name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.text import clean

_NAMES = {
    "os": "Operating system", "python": "Python", "machine": "Architecture", "cpu": "Processor", "cores": "Processor cores",
    "memory_bytes": "Memory", "git": "Revision of the harness", "harness": "Harness", "torch": "PyTorch",
    "cuda_build": "PyTorch's CUDA", "architectures": "PyTorch's GPU architectures", "cxx11_abi": "PyTorch has the C++11 ABI",
    "cuda_available": "PyTorch sees a GPU", "cuda_error": "What CUDA said", "gpus": "GPUs",
}  # fmt: skip
_PACKAGES = "packages"


def environment_rows(environment: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(name, value) of everything that is known, packages after the machine."""
    alone = [(key, item) for key, item in environment.items() if key != _PACKAGES]
    packages = environment.get(_PACKAGES)
    rows = [row for key, item in alone for row in _rows(_name(key), key, item)]
    if isinstance(packages, Mapping):
        named = [f"{name} {_plain(str(name), version)}" for name, version in packages.items() if name not in environment]
        rows.append(("Packages", ", ".join(named) or "none"))
    return tuple((clean(name), clean(value)) for name, value in rows)


def _name(key: str) -> str:
    words = key.removesuffix("_bytes").replace("_", " ")
    return _NAMES.get(key) or words[:1].upper() + words[1:]


def _rows(name: str, key: str, item: Any) -> Iterator[tuple[str, str]]:
    """A nested mapping as one row each; a list is one text unless it holds mappings."""
    if isinstance(item, Mapping):
        for part, value in item.items():
            yield from _rows(f"{name}, {_name(str(part))}", str(part), value)
    elif isinstance(item, list) and any(isinstance(entry, Mapping) for entry in item):
        for i, entry in enumerate(item):
            yield from _rows(f"{name} {i}", key, entry)
    else:
        yield name, _plain(key, item)


def _plain(key: str, item: Any) -> str:
    if item is None:
        return "none" if key == "cuda_build" else "not known"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, list):
        return ", ".join(str(entry) for entry in item) or "none"
    if key.endswith("_bytes") and isinstance(item, int):
        return f"{item / 2**30:.1f} GiB"
    return str(item)
