"""Decides from pixels whether two files show the same picture.

    pixels ──> gray, 48 x 48 ──> local contrast evened out: a perceptual hash
    two of them ──> correlation: of the whole, mirrored, or one as a part of the other

What is left after evening out is the fine structure, which two photographs of similar
things do not share. It survives recompression, scaling, other brightness and colours,
a caption, and cropping. Of copies of flower photographs, 97 % or more of each kind
correlate by 0.65 or more. So do some series of one motif; other pairs had at most 0.62.
"""

import cv2
import numpy as np

SIDE_PX = 48

SAME = 0.65
"""Least correlation of two files of one picture."""

BLUR_PX = 1.5
"""Standard deviation of the neighbourhood for the local mean and contrast."""

NOISE = 4.0
"""Local contrast, in grey levels, below which an area counts as flat."""

SCALES = (0.93, 0.86, 0.79)
"""Sides of a cropped picture, as shares of the whole; the steps are small enough."""

BORDER_PX = 2
"""Pixels at a cut whose neighbourhood lies outside."""


def small_gray(pixels: np.ndarray) -> np.ndarray:
    """Returns uint8 [SIDE_PX, SIDE_PX] for uint8 [H, W, 3] pixels."""
    size = SIDE_PX, SIDE_PX
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the correlation, -1 to 1, of two `small_gray` in their best position."""
    wholes = _evened(one), _evened(other)
    found = max(
        _correlation(wholes[0], wholes[1]), _correlation(wholes[0], wholes[1][:, ::-1])
    )
    if found >= SAME:
        return found
    return max(found, _as_part(one, wholes[1]), _as_part(other, wholes[0]))


def _evened(gray: np.ndarray) -> np.ndarray:
    """Returns float32 pixels of local mean 0 and, where not flat, local spread 1."""
    levels = gray.astype(np.float32)
    rest = levels - cv2.GaussianBlur(levels, (0, 0), BLUR_PX)
    contrast = np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), BLUR_PX))
    return rest / (contrast + NOISE)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / norm if norm else 0.0


def _as_part(gray: np.ndarray, whole: np.ndarray) -> float:
    """Returns the best correlation of a shrunken picture with parts of another."""
    found = []
    for scale in SCALES:
        side = round(SIDE_PX * scale)
        shrunken = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
        part = _evened(shrunken)[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
        # its correlation with a flat part of the other is 0
        found.append(cv2.matchTemplate(whole, part, cv2.TM_CCORR_NORMED).max())
    return float(max(found))
