"""Pictures of a run: ``case_pictures`` of a case, ``run_pictures`` of the whole, and the style and script they need once a page."""

from __future__ import annotations

import numpy as np

from harness.report.pictures import colormap
from harness.report.pictures.compose import case_pictures, run_pictures, source

__all__ = ["PICTURES_CSS", "PICTURES_JS", "case_pictures", "run_pictures"]


def _hexes(colours: np.ndarray) -> list[str]:
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours]


PICTURES_CSS = source(
    "pictures.css", SEQUENTIAL=", ".join(_hexes(colormap.sequential())), DIVERGING=", ".join(_hexes(colormap.diverging()))
)
PICTURES_JS = source("pictures.js").replace("PALETTE = []", f"PALETTE = {_hexes(colormap.sequential())}")
