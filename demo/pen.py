"""Draws petals, disks and seeds, for `flowers.py`."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)

Colour = tuple[float, ...]  # R, G, B in 0..255


def directions(angles: float | np.ndarray) -> np.ndarray:
    """Returns unit vectors, [2] or [N, 2]."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def rotation(angle: float) -> np.ndarray:
    """Returns the [2, 2] matrix that rotates by `angle` radians."""
    return np.stack([directions(angle), directions(angle + np.pi / 2)], axis=1)


def shade(colour: Colour, light: float) -> Colour:
    """Returns a lighter or darker colour."""
    return tuple(min(255.0, channel * light) for channel in colour)


def jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """Returns a colour near another; mainly the brightness differs."""
    every, *each = rng.normal(0, amount, 4)
    moved = (
        channel + every + own / 2 for channel, own in zip(colour, each, strict=True)
    )
    return tuple(min(255.0, max(0.0, channel)) for channel in moved)


@lru_cache
def petal_outline(roundness: float, belly: float) -> np.ndarray:
    """Returns the [18, 2] outline of a petal of size 1, widest at x = `belly`."""
    along = np.linspace(0, 1, 9)
    half = 0.5 * np.sin(np.pi * along ** -(np.log(2) / np.log(belly))) ** roundness
    upper = np.stack([along, half], axis=1)
    return np.concatenate([upper, upper[::-1] * (1, -1)])


CIRCLE = directions(np.linspace(0, 2 * np.pi, 20, endpoint=False))


@dataclass
class Pen:
    """Draws on a picture in the coordinates of a flower, whose radius is 1.

    Attributes:
      picture: uint8 [H, W, 3], RGB.
      rng: for all random choices.
      centre: x and y of the flower, in pixels.
      view: [2, 2], maps the flower's coordinates to pixels.
    """

    picture: np.ndarray
    rng: np.random.Generator
    centre: np.ndarray
    view: np.ndarray

    def _pixels(self, points: np.ndarray) -> list[np.ndarray]:
        return [((points @ self.view.T + self.centre) * 16).astype(np.int32)]

    def fill(self, outline: np.ndarray, colour: Colour) -> None:
        cv2.fillPoly(self.picture, self._pixels(outline), colour, cv2.LINE_AA, 4)

    def line(self, points: np.ndarray, colour: Colour, width: float = 0.01) -> None:
        width_px = max(1, round(width * abs(np.linalg.det(self.view)) ** 0.5))
        path = self._pixels(points)
        cv2.polylines(self.picture, path, False, colour, width_px, cv2.LINE_AA, 4)

    def disk(self, radius: float, colour: Colour, at: Iterable[float] = (0, 0)) -> None:
        self.fill(CIRCLE * radius + tuple(at), colour)

    def petal(
        self,
        angle: float,
        length: float,
        width: float,
        colour: Colour,
        start: float = 0.0,
        roundness: float = 0.7,
        belly: float = 0.55,
    ) -> None:
        """Draws a petal from `start` outwards, darker at the rim and along the fold."""
        outline = petal_outline(roundness, belly) * (length, width)
        turn = rotation(angle).T
        self.fill((outline + (start, 0)) @ turn, shade(colour, 0.78))
        self.fill((outline * (0.93, 0.86) + (start, 0)) @ turn, colour)
        fold = np.array([(0.1 * length + start, 0), (0.75 * length + start, 0)])
        self.line(fold @ turn, shade(colour, 0.86))

    def ring(self, count: int, length: float, colour: Colour, **petal: float) -> None:
        """Draws a ring of petals, with small random differences."""
        step, first = 2 * np.pi / count, self.rng.uniform(0, 2 * np.pi)
        for index in self.rng.permutation(count):
            angle = first + (index + self.rng.uniform(-0.3, 0.3)) * step
            reach = length * self.rng.uniform(0.86, 1.05)
            self.petal(angle, reach, colour=jitter(self.rng, colour, 10), **petal)

    def seeds(self, radius: float, count: int, inner: Colour, outer: Colour) -> None:
        """Draws the florets of a disk, in the spirals of the golden angle."""
        for index in range(count):
            share = (index + 0.5) / count
            tint = jitter(self.rng, outer if self.rng.random() < share else inner, 12)
            at = radius * share**0.5 * directions(index * GOLDEN_ANGLE)
            self.disk(radius * 0.8 / count**0.5, tint, at)
