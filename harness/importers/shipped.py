"""The corpus in ``cases/``: ``python -m harness.importers.shipped --tum DIR --out cases`` writes all of it, and its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.case import Case
from harness.casefile import write_case
from harness.errors import HarnessError
from harness.importers.degenerate import degenerate_cases, identity_inverse
from harness.importers.synthetic import synthetic_cases
from harness.importers.tum import ATTRIBUTION, Kind, Matching, import_tum
from harness.jsonfile import write_bytes

SIZE = (128, 96)
MAX_TOTAL_BYTES = 8_000_000


@dataclass(frozen=True)
class Real:
    """One pair of a sequence's folder, by index into its depth images."""

    folder: str
    pair: tuple[int, int]
    kind: Kind
    matches: Matching = "projective"

    @property
    def id(self) -> str:
        words = [
            self.folder.removeprefix("tum_").replace("_", "-"),
            *map(str, self.pair),
            "ray" if self.kind == "ray_dist" else "calib",
        ]
        return "-".join(["real", *words] + ["features"] * (self.matches == "features"))


REAL = (
    Real("tum_fr1_desk", (0, 1), "ray_dist"),
    Real("tum_fr1_desk", (0, 4), "calib"),
    Real("tum_fr1_desk", (0, 8), "ray_dist"),
    Real("tum_fr1_desk", (0, 8), "calib"),
    Real("tum_fr1_desk", (4, 8), "ray_dist"),
    Real("tum_fr1_desk", (0, 8), "ray_dist", "features"),
    Real("tum_fr1_rpy", (0, 1), "calib"),
    Real("tum_fr1_rpy", (0, 2), "ray_dist"),
    Real("tum_fr1_rpy", (0, 3), "ray_dist"),
    Real("tum_fr1_rpy", (4, 5), "calib"),
    Real("tum_fr1_rpy", (6, 7), "ray_dist"),
    Real("tum_fr1_rpy", (4, 5), "calib", "features"),
)


def write_shipped(folder: Path, tum_root: Path) -> list[Case]:
    """Write every shipped case and ``README.md`` into a folder; cases that are there are replaced. Raises ``HarnessError``."""
    written = []
    for case in shipped_cases(tum_root):
        written.append(write_case(case, folder / case.id, replace=True))
    write_bytes(folder / "README.md", readme(written).encode())
    total = sum(file.stat().st_size for case in written for file in (folder / case.id).iterdir())
    if total > MAX_TOTAL_BYTES:
        raise HarnessError(f"{folder}: the cases take {total} bytes; the limit is {MAX_TOTAL_BYTES}")
    return written


def shipped_cases(tum_root: Path) -> Iterator[Case]:
    for real in REAL:
        yield import_tum(tum_root / real.folder, real.pair, SIZE, real.kind, real.matches, id=real.id)
    yield from synthetic_cases()
    yield from degenerate_cases()
    yield identity_inverse()


def readme(cases: list[Case]) -> str:
    """The table of the cases, and whose data they are made from."""
    rows = [_row(case) for case in cases]
    return f"""# Cases

Written by `python -m harness.importers.shipped --tum DIR --out cases`; do not edit by hand. Each folder is one input of the pose
solver: `case.json` (options, memory layout, what must happen and why, where it is from) and `tensors.safetensors` (the values).
`harness case show cases/ID` prints one, `harness case verify cases` checks all.

Cases named `real-` are computed from the TUM RGB-D benchmark at {SIZE[0]}x{SIZE[1]} and carry this attribution; its licence,
CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), holds for them:

> {ATTRIBUTION}

Pairs of `tum_fr1_rpy` are indices into the eight depth images that were kept of it. In the `features` cases about 1 to 3 % of the
pixels have a match, which the tracker itself would refuse (its `min_match_frac` is 5 %) before it called the solver.
All other cases are made by this repository's code and share its licence, Apache-2.0.

| case | kind | points | must end in | because |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def _row(case: Case) -> str:
    document = case.document
    end = " or ".join(status.value for status in document.expect.statuses) or " or ".join(document.expect.outcomes)
    points = "-" if document.kind == "op" else document.n_points
    return f"| `{case.id}` | {document.kind} | {points} | {end} | {document.expect.because} |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.importers.shipped", description="Write the shipped cases.")
    parser.add_argument("--tum", type=Path, required=True, help="the folder with tum_fr1_desk and tum_fr1_rpy")
    parser.add_argument("--out", type=Path, default=Path("cases"), help="where to write (default: cases)")
    options = parser.parse_args(arguments)
    try:
        written = write_shipped(options.out, options.tum)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(written)} cases in {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
