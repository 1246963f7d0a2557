"""Draws five kinds of flowers, so that the job has pictures where there are none.

    OUT/daisy/daisy_00001.jpg          white petals around a yellow disk
    OUT/dandelion/dandelion_00001.jpg  yellow heads of many rays, or white puffs
    OUT/roses/roses_00001.jpg          spirals of overlapping petals
    OUT/sunflowers/...                 yellow petals around a big dark disk
    OUT/tulips/...                     cups on stems with long leaves

    python demo/flowers.py OUT [--per_label 100] [--size 160..320] [--seed 0] [--odd]

Size, angle, colour, light, focus and background vary, colours overlap between labels,
and leaves hide parts. The same seed draws the same pictures, however many there are.
OUT appears whole, and replaces only a folder that was drawn by this program.
"""

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

MARKER = ".drawn_by_flowers.json"  # in a folder that may be drawn anew
GOLDEN_ANGLE = np.pi * (3 - 5**0.5)

WHITE, IVORY, PINK, RED = (248, 246, 242), (240, 226, 196), (232, 130, 160), (190, 25, 40)
YELLOW, ORANGE, PURPLE, BROWN = (246, 206, 30), (238, 140, 25), (120, 45, 130), (78, 48, 26)
LEAF, GRASS, SKY, SOIL = (58, 105, 42), (96, 140, 56), (120, 170, 225), (112, 84, 62)

Colour = tuple[float, float, float]


@dataclass
class Pen:
    """Draws on a picture in the coordinates of a flower, whose radius is 1.

    Attributes:
      picture: uint8 [H, W, 3], RGB.
      rng: decides all that varies.
      centre: of the flower, x and y in pixels.
      view: [2, 2], from the flower's coordinates to pixels.
    """

    picture: np.ndarray
    rng: np.random.Generator
    centre: np.ndarray
    view: np.ndarray

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return np.round((points @ self.view.T + self.centre) * 16).astype(np.int32)

    def fill(self, outline: np.ndarray, colour: Colour) -> None:
        cv2.fillPoly(self.picture, [self._pixels(outline)], colour, cv2.LINE_AA, 4)

    def line(self, points: np.ndarray, colour: Colour, width: float = 0.02) -> None:
        pixels = max(1, round(width * abs(np.linalg.det(self.view)) ** 0.5))
        path = [self._pixels(points)]
        cv2.polylines(self.picture, path, False, colour, pixels, cv2.LINE_AA, 4)

    def disk(self, radius: float, colour: Colour, x: float = 0, y: float = 0) -> None:
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        self.fill(circle * radius + (x, y), colour)

    def petal(
        self,
        angle: float,
        length: float,
        width: float,
        colour: Colour,
        start: float = 0.0,
        roundness: float = 0.7,
        belly: float = 1.2,
    ) -> None:
        """Draws a petal from `start` outwards, darker at its rim and along its fold."""
        along = np.linspace(0, 1, 9)
        half = width / 2 * np.sin(np.pi * along**belly) ** roundness
        upper = np.stack([along * length, half], axis=1)
        outline = np.concatenate([upper, upper[::-1] * (1, -1)])
        turn = rotation(angle)
        for scale, light in ((1.0, 0.78), (0.86, 1.0)):
            shape = outline * (0.5 + scale / 2, scale) + (start, 0)
            self.fill(shape @ turn.T, shade(colour, light))
        fold = np.array([[start + 0.1 * length, 0], [start + 0.75 * length, 0]])
        self.line(fold @ turn.T, shade(colour, 0.86), 0.015)

    def ring(self, count: int, colour: Colour, length: float, **petal: float) -> None:
        """Draws petals all around, no two quite the same."""
        first = self.rng.uniform(0, 2 * np.pi)
        for index in self.rng.permutation(count):
            self.petal(
                first + (index + self.rng.uniform(-0.3, 0.3)) * 2 * np.pi / count,
                length * self.rng.uniform(0.86, 1.05),
                colour=jitter(self.rng, colour, 12),
                **petal,
            )

    def seeds(self, radius: float, count: int, inner: Colour, outer: Colour) -> None:
        """Draws the florets of a disk, in the spirals of the golden angle."""
        for index in range(count):
            share = (index + 0.5) / count
            x, y = radius * share**0.5 * np.array(direction(index * GOLDEN_ANGLE))
            tint = tuple(np.multiply(inner, 1 - share) + np.multiply(outer, share))
            self.disk(radius * 0.8 / count**0.5, jitter(self.rng, tint, 18), x, y)


def direction(angle: float) -> tuple[float, float]:
    """Returns x and y of a step of length 1."""
    return np.cos(angle), np.sin(angle)


def rotation(angle: float) -> np.ndarray:
    """Returns the [2, 2] matrix that turns by `angle` radians."""
    x, y = direction(angle)
    return np.array([[x, -y], [y, x]])


def shade(colour: Colour, light: float) -> Colour:
    """Returns a colour in more or less light."""
    return tuple(np.clip(np.multiply(colour, light), 0, 255).tolist())


def jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    """Returns a colour near another, in brightness above all."""
    moved = np.add(colour, rng.normal(0, amount) + rng.normal(0, amount / 2, 3))
    return tuple(np.clip(moved, 0, 255).tolist())


def choose(rng: np.random.Generator, weights: dict[Colour, float]) -> Colour:
    """Returns one of the colours, jittered."""
    colours, shares = list(weights), np.array(list(weights.values()))
    return jitter(rng, colours[rng.choice(len(colours), p=shares / shares.sum())], 10)


def daisy(pen: Pen) -> None:
    """Draws white petals, seldom pink or yellow ones, around a yellow disk."""
    rng = pen.rng
    colour = choose(rng, {WHITE: 8, PINK: 1, YELLOW: 1, IVORY: 1})
    count, width = rng.integers(12, 24), rng.uniform(0.2, 0.32)
    start = rng.uniform(0.05, 0.15)
    pen.ring(count, shade(colour, 0.85), 0.85, width=width, start=start, roundness=0.5)
    pen.ring(count, colour, 0.82, width=width, start=start, roundness=0.5)
    middle = choose(rng, {YELLOW: 4, ORANGE: 1})
    disk = rng.uniform(0.2, 0.36)
    pen.disk(disk, shade(middle, 0.75))
    pen.seeds(disk * 0.95, 40, shade(middle, 0.8), middle)


def dandelion(pen: Pen) -> None:
    """Draws a yellow head of many rays, or the white ball of seeds after it."""
    rng = pen.rng
    if rng.random() < 0.35:
        pen.disk(0.12, BROWN)
        for index in range(rng.integers(60, 110)):
            reach = 0.95 * rng.uniform(0.1, 1) ** 0.3
            end = reach * np.array(direction(index * GOLDEN_ANGLE))
            grey = jitter(rng, (225, 225, 220), 14)
            pen.line(np.array([(0, 0), end]), shade(grey, 0.85), 0.01)
            for spoke in np.arange(5) * 1.3 + index:
                tip = end + np.multiply(direction(spoke), 0.12)
                pen.line(np.array([end, tip]), grey, 0.01)
        return
    colour = choose(rng, {YELLOW: 5, ORANGE: 1})
    pen.disk(0.5, shade(colour, 0.7))
    for length, light in ((1.0, 0.85), (0.85, 0.95), (0.65, 1.0), (0.42, 1.05)):
        count = int(60 * length + 8)
        thin = rng.uniform(0.07, 0.1)
        pen.ring(count, shade(colour, light), length, width=thin, roundness=0.4)
    pen.disk(0.12, shade(colour, 0.8))


def roses(pen: Pen) -> None:
    """Draws broad petals in a spiral, from the outermost to the bud."""
    rng = pen.rng
    colour = choose(rng, {RED: 4, PINK: 3, WHITE: 1.5, YELLOW: 1, ORANGE: 1, IVORY: 1})
    count = rng.integers(16, 26)
    first = rng.uniform(0, 2 * np.pi)
    for index in range(count):
        left = 1 - index / count
        angle = first + index * GOLDEN_ANGLE
        x, y = np.multiply(direction(angle), 0.5 * left)
        tint = jitter(rng, shade(colour, 0.72 + 0.33 * left), 7)
        radius = 0.5 * left**0.8 + 0.06
        pen.disk(radius, shade(tint, 0.68), x, y)
        pen.disk(radius * 0.93, tint, x * 1.04, y * 1.04)
        pen.disk(radius * 0.72, shade(tint, 0.86), x * 0.72, y * 0.72)
    turns = np.linspace(0, rng.uniform(3.5, 5.5) * np.pi, 40)
    spiral = 0.3 * (turns / turns[-1])[:, None] * np.stack(direction(turns + first), axis=1)
    pen.line(spiral, shade(colour, 0.55), 0.035)


def sunflowers(pen: Pen) -> None:
    """Draws pointed yellow petals around a big disk, dark with few exceptions."""
    rng = pen.rng
    colour = choose(rng, {YELLOW: 6, ORANGE: 2, RED: 0.3})
    disk = rng.uniform(0.38, 0.55)
    count, width = rng.integers(16, 28), rng.uniform(0.2, 0.3)
    petal = {"width": width, "start": disk * 0.8, "roundness": 0.9, "belly": 0.9}
    pen.ring(count, shade(colour, 0.8), 1 - disk * 0.8, **petal)
    pen.ring(count, colour, 0.95 - disk * 0.8, **petal)
    seeds = choose(rng, {BROWN: 5, ORANGE: 0.7, LEAF: 0.7})
    pen.disk(disk, shade(seeds, 0.7))
    pen.seeds(disk * 0.95, 90, shade(seeds, 0.7), shade(seeds, 1.5))


def tulips(pen: Pen) -> None:
    """Draws a cup from the side, or seldom six broad petals from above."""
    rng = pen.rng
    colour = choose(rng, {RED: 3, PINK: 2, YELLOW: 2, PURPLE: 2, WHITE: 1, ORANGE: 1})
    if rng.random() < 0.12:
        for light in (0.85, 1.0):
            pen.ring(3, shade(colour, light), 1.0, width=0.85, roundness=0.6)
        pen.seeds(0.18, 12, (40, 40, 30), YELLOW)
        return
    open_by = rng.uniform(0.05, 0.4)
    petals = [(-0.5, 0.8), (0.5, 0.8), (-1, 0.9), (1, 0.92), (0, 1.04)]
    for side, light in petals:
        lean = -np.pi / 2 + side * open_by
        foot = Pen(pen.picture, rng, pen.centre + pen.view @ (side * 0.22, 0.75), pen.view)
        tint = jitter(rng, shade(colour, light), 6)
        length = 1.75 if side else 1.6
        foot.petal(lean, length, rng.uniform(0.8, 0.95), tint, roundness=0.75, belly=0.9)
