"""The probes of a real lietorch that are kept in tests/recordings, as the diagnosis reads them."""

from __future__ import annotations

import json
import lzma
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.diagnosis.documents import Probe, read_probe

RECORDINGS = Path(__file__).parent / "recordings"
RUNG = ("op", "group", "dtype", "device", "batch", "layout", "stream", "thread", "result", "error", "detail")


@cache
def collided() -> Probe:
    """Its CPU object linked first: every operation dies on the GPU."""
    with TemporaryDirectory() as folder, tarfile.open(RECORDINGS / "seed-lietorch-collided.tar.xz") as archive:
        archive.extract("run/probe.json", folder, filter="data")
        return read_probe(Path(folder) / "run" / "probe.json")


@cache
def stubs_first() -> Probe:
    """Its GPU object linked first, so that its GPU path is as in a sound build: right, but on a side stream."""
    kept = json.loads(lzma.decompress((RECORDINGS / "probe-lietorch-stubs-first.json.xz").read_bytes()))
    rungs = [dict(zip(RUNG, rung, strict=True)) for rung in kept["rungs"]]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "probe.json"
        file.write_text(json.dumps({"target": kept["target"], "rungs": rungs}), encoding="utf-8")
        return read_probe(file)
