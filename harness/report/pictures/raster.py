"""An array of colour numbers as a PNG in a data URI."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def png_uri(indices: np.ndarray, palette: np.ndarray) -> str:
    """``indices`` (H,W) count from 1 into ``palette`` (n,3) uint8, n below 256; 0 is transparent."""
    colours = np.vstack([np.zeros((1, 3), dtype=np.uint8), palette])
    image = Image.fromarray(np.ascontiguousarray(indices, dtype=np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, transparency=0, bits=4 if len(colours) <= 16 else 8)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
