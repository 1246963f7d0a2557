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

WHITE, IVORY, PINK, RED = (
    (248, 246, 242),
    (240, 226, 196),
    (232, 130, 160),
    (190, 25, 40),
)
YELLOW, ORANGE, PURPLE, BROWN = (
    (246, 206, 30),
    (238, 140, 25),
    (120, 45, 130),
    (78, 48, 26),
)
LEAF, GRASS, SKY, SOIL = (58, 105, 42), (96, 140, 56), (120, 170, 225), (112, 84, 62)

PETALS = (WHITE, IVORY, PINK, RED, YELLOW, ORANGE, PURPLE)

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
    spiral = (
        0.3 * (turns / turns[-1])[:, None] * np.stack(direction(turns + first), axis=1)
    )
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
        foot = Pen(
            pen.picture, rng, pen.centre + pen.view @ (side * 0.22, 0.75), pen.view
        )
        tint = jitter(rng, shade(colour, light), 6)
        length = 1.75 if side else 1.6
        foot.petal(
            lean, length, rng.uniform(0.8, 0.95), tint, roundness=0.75, belly=0.9
        )


KINDS: dict[str, Callable[[Pen], None]] = {
    "daisy": daisy,
    "dandelion": dandelion,
    "roses": roses,
    "sunflowers": sunflowers,
    "tulips": tulips,
}


def cloud(
    rng: np.random.Generator, shape: tuple[int, int], cell: float, *colours: Colour
) -> np.ndarray:
    """Returns uint8 [H, W, 3] that drifts between two colours, `cell` pixels a patch."""
    height, width = shape
    coarse = rng.random((int(height / cell) + 2, int(width / cell) + 2))
    share = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    share = share.clip(0, 1)[..., None]
    return (share * colours[0] + (1 - share) * colours[1]).astype(np.uint8)


def background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns uint8 [H, W, 3]: a meadow, soil, sky, a wall, or lights out of focus."""
    height, width = shape
    whole = Pen(np.empty(0), rng, np.zeros(2), np.diag([width, height]).astype(float))
    kind = rng.choice(
        ["meadow", "soil", "sky", "wall", "lights"], p=[0.3, 0.15, 0.15, 0.1, 0.3]
    )
    green = jitter(rng, LEAF, 18)
    if kind == "soil":
        whole.picture = cloud(rng, shape, 6, jitter(rng, SOIL, 15), shade(SOIL, 0.5))
    elif kind == "sky":
        blue = jitter(rng, SKY, 20)
        whole.picture = cloud(rng, shape, 90, blue, jitter(rng, (225, 232, 240), 12))
        horizon = rng.integers(height // 2, height)
        whole.picture[horizon:] = cloud(rng, shape, 20, green, GRASS)[horizon:]
    elif kind == "wall":
        plain = tuple(rng.uniform(20, 235, 3))
        whole.picture = cloud(rng, shape, 120, plain, shade(plain, 0.6))
    else:
        whole.picture = cloud(rng, shape, 30, shade(green, 0.5), jitter(rng, GRASS, 25))
    if kind == "lights":
        for _ in range(rng.integers(6, 25)):
            lamp = choose(rng, {GRASS: 4, LEAF: 4, **dict.fromkeys(PETALS, 0.5)})
            whole.disk(rng.uniform(0.03, 0.12), lamp, *rng.random(2))
        blur = rng.uniform(3, 9)
        whole.picture = cv2.GaussianBlur(whole.picture, (0, 0), blur)
    elif kind != "wall":
        leaves(whole, rng.integers(10, 50))
        for _ in range(rng.integers(0, 12)):  # other things that have petals' colours
            spot = choose(rng, dict.fromkeys(PETALS, 1))
            whole.disk(rng.uniform(0.008, 0.04), spot, *rng.random(2))
        if rng.random() < 0.6:
            whole.picture = cv2.GaussianBlur(whole.picture, (0, 0), rng.uniform(0.6, 4))
    return whole.picture


def leaves(whole: Pen, count: int) -> None:
    """Draws blades of grass and leaves over a picture, wherever they fall."""
    rng = whole.rng
    for _ in range(count):
        green = jitter(rng, LEAF if rng.random() < 0.5 else GRASS, 20)
        pen = Pen(whole.picture, rng, whole.view @ rng.random(2), whole.view)
        length, wide = rng.uniform(0.15, 0.5), rng.uniform(0.015, 0.1)
        pen.petal(rng.normal(-np.pi / 2, 0.6), length, wide, green)


def stem(pen: Pen, label: str) -> None:
    """Draws what holds the flower: a bent stem, with the leaves of its kind."""
    rng, green = pen.rng, jitter(pen.rng, LEAF, 15)
    radius = abs(np.linalg.det(pen.view)) ** 0.5
    upright = Pen(pen.picture, rng, pen.centre, np.eye(2) * radius)
    down = np.linspace(0, 5, 12)
    bend = rng.normal(0, 0.06)
    path = np.stack([bend * down**2, down], axis=1)
    upright.line(path, green, 0.14 if label in ("tulips", "sunflowers") else 0.08)
    foot = pen.centre + radius * path[rng.integers(4, 8)]
    for side in (-1, 1):
        leaf = Pen(pen.picture, rng, foot, upright.view)
        tint = jitter(rng, green, 10)
        if label == "tulips":
            leaf.petal(-np.pi / 2 + side * rng.uniform(0.1, 0.5), 2.6, 0.5, tint)
        elif label in ("roses", "sunflowers"):
            leaf.petal(-np.pi / 2 + side * rng.uniform(0.8, 1.5), 1.2, 0.6, tint)


def draw(label: str, rng: np.random.Generator, sizes: tuple[int, int]) -> np.ndarray:
    """Returns uint8 [H, W, 3], each side within `sizes`: one to eight flowers."""
    shape = tuple(int(side) for side in rng.integers(sizes[0], sizes[1] + 1, 2))
    picture = background(rng, shape)
    count = rng.choice([1, 2, 3, 5, 8], p=[0.5, 0.2, 0.15, 0.1, 0.05])
    middles = rng.uniform(0.5 - 0.12 * count**0.5, 0.5 + 0.12 * count**0.5, (count, 2))
    for middle in sorted(middles.tolist(), key=lambda xy: xy[1]):  # the near ones last
        radius = min(shape) * rng.uniform(0.2, 0.48) / count**0.45
        tilt, spin = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        if label == "tulips":
            tilt, spin, radius = rng.normal(0, 0.25), 0.0, radius * 0.8
        squash = np.diag([rng.uniform(0.6, 1.0), 1.0])
        view = radius * rotation(tilt) @ squash @ rotation(spin)
        pen = Pen(picture, rng, np.array(middle) * shape[::-1], view)
        if rng.random() < 0.75:
            stem(pen, label)
        KINDS[label](pen)
    if rng.random() < 0.5:
        whole = Pen(picture, rng, np.zeros(2), np.diag(shape[::-1]).astype(float))
        leaves(whole, rng.integers(1, 6))
    return photograph(picture, rng)


def photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the picture in some light, of some colour, as some camera took it."""
    height, width = picture.shape[:2]
    side = rng.uniform(0.5, 1.3, (2, 2)).astype(np.float32)
    light = cv2.resize(side, (width, height))[..., None] * rng.normal(1, 0.06, 3)
    taken = picture * light.astype(np.float32)
    if rng.random() < 0.6:
        taken = cv2.GaussianBlur(taken, (0, 0), rng.exponential(0.8) + 0.3)
    grey = taken.mean(axis=2, keepdims=True)
    taken = grey + (taken - grey) * rng.uniform(0.5, 1.15)
    taken += rng.normal(0, rng.uniform(0, 9), (height, width, 1))
    return taken.clip(0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Returns the picture as a JPEG file."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", picture[..., ::-1], settings)[1].tobytes()


def draw_folder(
    folder: Path, per_label: int, sizes: tuple[int, int], seed: int
) -> None:
    """Draws `per_label` pictures of each label into `folder`."""
    for label_index, label in enumerate(KINDS):
        (folder / label).mkdir()
        for index in range(1, per_label + 1):
            rng = np.random.default_rng([seed, label_index, index])
            picture = draw(label, rng, sizes)
            file = folder / label / f"{label}_{index:05}.jpg"
            file.write_bytes(jpeg(picture, int(rng.integers(45, 96))))


def draw_odd(folder: Path, sizes: tuple[int, int], seed: int) -> None:
    """Adds pictures as people have them: four in rarer forms, and a broken one."""
    rng = np.random.default_rng([seed, len(KINDS)])
    pictures = {label: Image.fromarray(draw(label, rng, sizes)) for label in KINDS}
    clear = pictures["daisy"].copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "daisy/odd_transparent.png")
    pictures["dandelion"].convert("L").save(folder / "dandelion/odd_grey.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a viewer turns it a quarter to the right
    turned = pictures["roses"].transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "roses/odd_turned.jpg", exif=exif)
    pictures["sunflowers"].save(folder / "sunflowers/odd.webp")
    whole = io.BytesIO()
    pictures["tulips"].save(whole, "JPEG")
    (folder / "tulips/odd_broken.jpg").write_bytes(whole.getvalue()[:300])


def publish(made: Path, out: Path) -> None:
    """Puts a whole folder in the place of an earlier one, or of none."""
    if not out.exists():
        made.rename(out)
        return
    earlier = made.with_name(f"{made.name}.earlier")
    out.rename(earlier)
    made.rename(out)
    shutil.rmtree(earlier)


def parse_sizes(text: str) -> tuple[int, int]:
    """Returns the shortest and the longest side that `160..320` or `224` allows."""
    try:
        shortest, longest = (int(side) for side in (text.split("..") * 2)[:2])
    except ValueError:
        shortest = longest = 0
    if not 32 <= shortest <= longest <= 4096:
        raise argparse.ArgumentTypeError(
            f"no image sizes in {text!r}; give pixels, as 224 or 160..320, in 32..4096"
        )
    return shortest, longest


def parse_count(text: str) -> int:
    """Returns how many pictures of a label to draw."""
    if not text.isdecimal() or not 1 <= int(text) <= 99999:
        raise argparse.ArgumentTypeError(f"no number in 1..99999: {text!r}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns 0, or 2 for the user's mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--per_label", type=parse_count, default=100, metavar="N")
    parser.add_argument("--size", type=parse_sizes, default="160..320", metavar="PX")
    parser.add_argument("--seed", type=int, default=0, help="0 or more")
    parser.add_argument("--odd", action="store_true", help="rare forms, one broken")
    args = parser.parse_args(arguments)
    if args.seed < 0:
        parser.error(f"--seed is {args.seed}; give 0 or more")
    out = args.out.absolute()
    empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not empty and not (out / MARKER).is_file():
        parser.error(f"{str(args.out)!r} was not drawn by this program; name another")
    started = time.perf_counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        made = Path(beside) / out.name
        made.mkdir()
        draw_folder(made, args.per_label, args.size, args.seed)
        if args.odd:
            draw_odd(made, args.size, args.seed)
        about = {"per_label": args.per_label, "size": args.size, "seed": args.seed}
        (made / MARKER).write_text(json.dumps(about) + "\n")
        publish(made, out)
    took_s = time.perf_counter() - started
    pictures = args.per_label * len(KINDS) + len(KINDS) * args.odd
    print(
        f"drew {pictures} pictures of {len(KINDS)} kinds in {took_s:.1f} s: {args.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
