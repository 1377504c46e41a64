"""Two colour maps with even steps to the eye, computed in the OKLab colour space (B. Ottosson, 2020).

Lightness alone carries the order of the sequential one, so it survives every kind of colour blindness and a grey printer. Neither
reaches black or white: on a dark page and on a light one both ends stand out from the paper.
"""

from __future__ import annotations

from functools import cache

import numpy as np

STEPS = 32
"""Colours in a map: finer than an eye tells apart in an image, and few enough for PNG to pack well."""

_TO_LMS = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def sequential() -> np.ndarray:
    """(STEPS, 3) uint8 sRGB: deep blue for little, over green, to bright yellow for much."""
    t = np.linspace(0, 1, 513)
    lightness = 0.34 + 0.56 * t
    hue = np.radians(285 - 180 * t)
    chroma = 0.13 + 0.03 * t
    return _even(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1), STEPS)


@cache
def diverging() -> np.ndarray:
    """(STEPS + 1, 3) uint8 sRGB: blue below, grey at zero, orange above, both ends equally far from the middle."""
    t = np.linspace(-1, 1, 513)
    hue = np.radians(np.where(t < 0, 255, 60))
    chroma = 0.16 * np.abs(t) ** 0.8
    lightness = 0.62 + 0.17 * t
    return _even(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1), STEPS + 1)


def _even(oklab: np.ndarray, steps: int) -> np.ndarray:
    """Colours at equal distances along a path in OKLab, as bytes of sRGB."""
    length = np.concatenate([[0], np.linalg.norm(np.diff(oklab, axis=0), axis=1).cumsum()])
    at = np.linspace(0, length[-1], steps)
    path = np.stack([np.interp(at, length, channel) for channel in oklab.T], 1)
    linear = np.clip((path @ _TO_LMS.T) ** 3 @ _TO_LINEAR.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * srgb), dtype=np.uint8)
