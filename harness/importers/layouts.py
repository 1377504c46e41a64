"""Cases whose values are ordinary and whose memory is not: strided, misaligned, expanded and aliased, as upstream makes them."""

from __future__ import annotations

import numpy as np

from harness import scenes
from harness.case import Case, Expectation, Generator, Provenance, TensorSpec
from harness.importers.assemble import make_case
from sim3solve.problem import Status

N = 259  # odd: rows of 12 bytes put every later window of a shared buffer off any 16-byte boundary
PROVENANCE = Provenance(source="made by harness.importers.layouts", licence="Apache-2.0")

Specs = dict[str, TensorSpec]


def layout_cases() -> list[Case]:
    """One case per way of laying out the same inputs."""
    values = scenes.generate(Generator(scene="room", n_points=N, seed=13))
    return [
        _case(
            "offset-views",
            "T_WCk = T_WC[5] and Xk = X[3], of buffers that all keyframes share",
            "Upstream's keyframe store: Xk starts 108 bytes past a multiple of 512, so a 16-byte vector load there faults.",
            values,
            _offset_views(),
        ),
        _case(
            "misaligned",
            "Every tensor starts one element past a 512-byte boundary",
            "Natural alignment is all a tensor promises: no wider load may be assumed.",
            values,
            _misaligned(),
        ),
        _case(
            "column-slice",
            "Xf is three columns of an (N, 6) buffer",
            "Rows lie 24 bytes apart: read as contiguous, half of them come from columns that are not Xf.",
            values,
            {"Xf": _columns(6, 0)},
        ),
        _case(
            "transposed",
            "Xf is the transpose of a (3, N) buffer",
            "The three numbers of a row lie N elements apart: no row is contiguous.",
            values,
            {"Xf": TensorSpec(dtype="float32", shape=(N, 3), stride=(1, N))},
        ),
        _case(
            "expanded",
            "Qk and valid_opt are one element each, expanded",
            "Stride 0 is legal: reading N elements from the first leaves the allocation.",
            values | {"Qk": np.full((N, 1), 2.5, np.float32), "valid_opt": np.ones((N, 1), np.bool_)},
            {
                "Qk": TensorSpec(dtype="float32", shape=(N, 1), stride=(0, 0)),
                "valid_opt": TensorSpec(dtype="bool", shape=(N, 1), stride=(0, 0)),
            },
        ),
        _case(
            "aliased",
            "Xf and Xk are columns of one buffer",
            "Two inputs may share an allocation; neither may be written.",
            values,
            {"Xf": _columns(6, 0, "points"), "Xk": _columns(6, 3, "points")},
        ),
        _case(
            "same-tensor",
            "Xf and Xk are one tensor, and the start is off",
            "A frame tracked against itself: the answer is the identity, and the cost falls to the square of rounding.",
            _against_itself(values),
            {"Xf": _columns(3, 0, "points"), "Xk": _columns(3, 0, "points")},
        ),
    ]


def _case(id: str, title: str, because: str, values: dict[str, np.ndarray], specs: Specs) -> Case:
    return make_case(
        values,
        specs,
        id=f"layout-{id}",
        kind="ray_dist",
        title=title,
        expect=Expectation(statuses=(Status.CONVERGED,), because=because),
        tags=("degenerate", "layout"),
        provenance=PROVENANCE,
    )


def _columns(step: int, offset: int, group: str | None = None) -> TensorSpec:
    """Three columns, from ``offset`` on, of a float32 buffer (N, step)."""
    return TensorSpec(
        dtype="float32",
        shape=(N, 3),
        stride=(step, 1),
        storage_offset=offset,
        data_ptr_mod_512=offset * 4 % 512,
        alias_group=group,
    )


def _offset_views() -> Specs:
    """T_WC is (8, 8) and X is (4, N, 3); each window begins where its buffer does."""

    def window(shape: tuple[int, int], index: int) -> TensorSpec:
        offset = index * shape[0] * shape[1]
        place = {"storage_offset": offset, "data_ptr_mod_512": offset * 4 % 512, "original_storage_offset": offset}
        return TensorSpec.contiguous("float32", shape, **place)

    return {"T_WCk": window((1, 8), 5), "Xk": window((N, 3), 3)}


def _misaligned() -> Specs:
    shapes = {"Xf": (N, 3), "Xk": (N, 3), "T_WCf": (1, 8), "T_WCk": (1, 8), "Qk": (N, 1)}
    specs = {name: TensorSpec.contiguous("float32", shape, storage_offset=1, data_ptr_mod_512=4) for name, shape in shapes.items()}
    return specs | {"valid_opt": TensorSpec.contiguous("bool", (N, 1), storage_offset=1, data_ptr_mod_512=1)}


def _against_itself(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    start = values["T_WCf"].copy()
    start[0, :3] += np.array([0.04, -0.03, 0.02], np.float32)
    return values | {"Xf": values["Xk"], "T_WCf": start}
