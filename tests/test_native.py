"""What only the CPU library promises; what every float32 solver must do is in test_float32_solvers.py."""

from __future__ import annotations

import pytest
from native_runs import NATIVE, bits, each_kind, solve
from problem_factory import REFERENCE, random_case, run, with_options


def test_points_that_leave_the_image_are_too_few() -> None:
    """Enough points count, but fewer than three are seen at the first pose: the cost there is stated all the same."""
    case = with_options(random_case("calib", 3), pixel_border=191.3)
    mine, oracle = run(NATIVE, case), run(REFERENCE, case)
    assert mine.status == oracle.status == "TOO_FEW_MATCHES"
    assert mine.cost == pytest.approx(oracle.cost, rel=1e-3)


@each_kind
def test_the_bits_are_the_same_in_every_run_and_for_any_number_of_threads(kind: str) -> None:
    case = random_case(kind, 15, n=30_000)
    first = bits(solve(case, threads=1))
    assert {bits(solve(case, threads=(1, 2, 3, 8)[i % 4])) for i in range(100)} == {first}
