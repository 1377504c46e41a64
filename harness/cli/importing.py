"""``harness import``: make cases from public data sets and from made scenes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.case import Case
from harness.casefile import write_case
from harness.cli import console
from harness.errors import UsageError
from harness.importers.synthetic import SCENES, synthetic_case
from harness.importers.tum import import_tum_words

app = typer.Typer(no_args_is_help=True, help="Make cases from TUM RGB-D sequences and from made scenes.")
Out = Annotated[Path, typer.Option(help="Folder that gets the case, under its id.")]
Size = Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels; MASt3R-SLAM works at 512x384.")]
_MATCHES = "projective (under the true pose) or features (SIFT, with its real outliers)."
_INTRINSICS = "fx,fy,cx,cy in pixels, or fr1, fr2, fr3; default: K.txt or the folder's name."
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite a case of that id.")]


@app.command(
    "tum",
    epilog="Example: harness import tum ~/rgbd_dataset_freiburg1_desk --pair 0:8 --size 512x384. A and B count depth images in "
    "order of time, or are timestamps.",
)
def tum_command(
    folder: Annotated[Path, typer.Argument(help="A sequence as downloaded: depth.txt, rgb.txt, groundtruth.txt, depth/, rgb/.")],
    pair: Annotated[str, typer.Option(help="A:B, the keyframe and the frame to track.")],
    size: Size = "512x384",
    kind: Annotated[str, typer.Option(help="ray_dist or calib.")] = "ray_dist",
    matches: Annotated[str, typer.Option(help=_MATCHES)] = "projective",
    intrinsics: Annotated[str | None, typer.Option(help=_INTRINSICS)] = None,
    groundtruth: Annotated[Path | None, typer.Option(help="Trajectory file; default: groundtruth.txt of the folder.")] = None,
    id: Annotated[str | None, typer.Option(help="Id of the case; default: made from folder and pair.")] = None,
    out: Out = Path("my-cases"),
    replace: Replace = False,
) -> None:  # fmt: skip
    """A case of two frames of a TUM RGB-D sequence with their true relative pose."""
    _write(import_tum_words(folder, pair, size, kind, matches, intrinsics, groundtruth, id), out, replace)


@app.command("synthetic", epilog="Example: harness import synthetic outliers --size 512x384 --out my-cases")
def synthetic_command(
    scene: Annotated[str, typer.Argument(help=f"One of: {', '.join(scene.id for scene in SCENES)}; or all.")],
    size: Size = "512x384",
    out: Out = Path("my-cases"),
    replace: Replace = False,
) -> None:
    """A case of a made scene with known truth."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if found is None or not (int(found[1]) and int(found[2])):
        raise UsageError(f"--size {size}: must be WIDTHxHEIGHT, for example 512x384")
    chosen = [each for each in SCENES if scene in (each.id, "all")]
    if not chosen:
        raise UsageError(f"scene {scene}: unknown (there are: {', '.join(each.id for each in SCENES)})")
    for each in chosen:
        _write(synthetic_case(each, (int(found[1]), int(found[2]))), out, replace)


def _write(case: Case, out: Path, replace: bool) -> None:
    written = write_case(case, out / case.id, replace=replace)
    n_valid = int(written.values["valid_opt"].sum())
    console.out.print(f"{written.path}: {written.document.kind}, {written.document.n_points} points, {n_valid} valid")
