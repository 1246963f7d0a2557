"""Draws pictures of five kinds of flowers, as training images for the demo.

    OUT/daisy/daisy_00001.jpg          white petals around a yellow disk
    OUT/dandelion/dandelion_00001.jpg  yellow heads of many rays, or balls of seeds
    OUT/roses/roses_00001.jpg          spirals of overlapping petals
    OUT/sunflowers/...                 yellow petals around a big dark disk
    OUT/tulips/...                     cups on stems with long leaves

    python demo/flowers.py OUT [--per_label 100] [--size 160..320] [--seed 0] [--odd]

Size, angle, colour, light, focus and background vary, labels share colours, and leaves
cover parts. The n-th picture of a label depends only on the seed. OUT is written
atomically and replaces only a folder that this program has drawn.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from pen import GOLDEN_ANGLE, Colour, Pen, directions, jitter, rotation, shade
from PIL import Image

MARKER = ".drawn_by_flowers.json"  # marks a folder that may be replaced

WHITE, IVORY, PINK, RED = (
    (248, 246, 242),
    (240, 226, 196),
    (232, 130, 160),
    (190, 25, 40),
)
YELLOW, ORANGE, PURPLE = (246, 206, 30), (238, 140, 25), (120, 45, 130)
LEAF, GRASS, SKY, SOIL = (58, 105, 42), (96, 140, 56), (120, 170, 225), (112, 84, 62)
BROWN, FLUFF = (78, 48, 26), (225, 225, 220)

PETALS: dict[
    str, dict[Colour, float]
] = {  # label -> colour of petals -> relative frequency
    "daisy": {WHITE: 9, PINK: 1, IVORY: 1, YELLOW: 0.4},
    "dandelion": {YELLOW: 6, FLUFF: 3, ORANGE: 1},
    "roses": {RED: 5, PINK: 3, WHITE: 1, YELLOW: 0.5, ORANGE: 0.3},
    "sunflowers": {YELLOW: 8, ORANGE: 2, RED: 0.2},
    "tulips": {RED: 3, PINK: 1.5, YELLOW: 2, PURPLE: 3, WHITE: 0.5, ORANGE: 1},
}


def choose(rng: np.random.Generator, weights: dict[Colour, float]) -> Colour:
    """Returns a random colour, weighted by frequency."""
    shares = np.array(list(weights.values()))
    return list(weights)[rng.choice(len(weights), p=shares / shares.sum())]


def daisy(pen: Pen, colour: Colour) -> None:
    """Draws narrow petals around a small yellow disk."""
    count, disk = int(pen.rng.integers(12, 24)), pen.rng.uniform(0.2, 0.36)
    petal = {"width": pen.rng.uniform(0.2, 0.32), "start": 0.1, "roundness": 0.5}
    for light in (0.85, 1.0):
        pen.ring(count, 0.85, shade(colour, light), **petal)
    pen.disk(disk, shade(YELLOW, 0.7))
    pen.seeds(disk * 0.95, 40, ORANGE, YELLOW)


def dandelion(pen: Pen, colour: Colour) -> None:
    """Draws a head of many rays, or a ball of seeds."""
    if colour[2] < 150:
        pen.disk(0.5, shade(colour, 0.7))
        for length, light in ((1.0, 0.85), (0.85, 0.95), (0.65, 1.0), (0.42, 1.05)):
            rays = int(45 * length + 8)
            pen.ring(rays, length, shade(colour, light), width=0.09, roundness=0.4)
        return
    pen.disk(0.12, BROWN)
    for index in range(pen.rng.integers(60, 110)):
        grey = jitter(pen.rng, colour, 14)
        out = directions(index * GOLDEN_ANGLE) * 0.95 * pen.rng.uniform(0.1, 1) ** 0.3
        pen.line(np.array([(0, 0), out]), shade(grey, 0.85))
        tips = out + 0.12 * directions(np.arange(5) * 1.3 + index)
        pen.line(np.insert(tips, range(5), out, axis=0), grey)


def roses(pen: Pen, colour: Colour) -> None:
    """Draws broad petals in a spiral, from the outside in."""
    count, first = pen.rng.integers(16, 26), pen.rng.uniform(0, 2 * np.pi)
    for index in range(count):
        left = 1 - index / count
        at = 0.5 * left * directions(first + index * GOLDEN_ANGLE)
        tint = jitter(pen.rng, shade(colour, 0.72 + 0.33 * left), 7)
        radius = 0.5 * left**0.8 + 0.06
        pen.disk(radius, shade(tint, 0.68), at)
        pen.disk(radius * 0.93, tint, at * 1.04)
        pen.disk(radius * 0.72, shade(tint, 0.86), at * 0.72)
    turns = np.linspace(0, pen.rng.uniform(3.5, 5.5) * np.pi, 40)
    spiral = 0.3 * (turns / turns[-1])[:, None] * directions(turns + first)
    pen.line(spiral, shade(colour, 0.55), 0.035)


def sunflowers(pen: Pen, colour: Colour) -> None:
    """Draws pointed petals around a big disk, which is usually dark."""
    disk, count = pen.rng.uniform(0.38, 0.55), int(pen.rng.integers(16, 28))
    start = disk * 0.8
    petal = {"width": pen.rng.uniform(0.2, 0.3), "roundness": 0.9, "belly": 0.45}
    for light in (0.8, 1.0):
        pen.ring(count, 1 - start, shade(colour, light), start=start, **petal)
    seeds = choose(pen.rng, {BROWN: 8, SOIL: 2, LEAF: 1})
    pen.disk(disk, shade(seeds, 0.7))
    pen.seeds(disk * 0.95, 80, shade(seeds, 0.7), shade(seeds, 1.5))


def tulips(pen: Pen, colour: Colour) -> None:
    """Draws a cup from the side, or rarely six broad petals from above."""
    if pen.rng.random() < 0.08:
        for light in (0.85, 1.0):
            pen.ring(3, 1.0, shade(colour, light), width=0.85)
        pen.seeds(0.18, 12, (40, 40, 30), YELLOW)
        return
    opening = pen.rng.uniform(0.05, 0.4)
    for side, light in ((-0.5, 0.8), (0.5, 0.8), (-1, 0.9), (1, 0.92), (0, 1.04)):
        foot = pen.centre + pen.view @ (side * 0.22, 0.75)
        cup = Pen(pen.picture, pen.rng, foot, pen.view)
        length, width = 1.75 - 0.15 * (side == 0), pen.rng.uniform(0.8, 0.95)
        tint = jitter(pen.rng, shade(colour, light), 6)
        cup.petal(side * opening - np.pi / 2, length, width, tint, belly=0.45)


KINDS = {kind.__name__: kind for kind in (daisy, dandelion, roses, sunflowers, tulips)}


def stem(pen: Pen, label: str) -> None:
    """Draws a bent stem, with the leaves of its kind."""
    rng, green = pen.rng, jitter(pen.rng, LEAF, 15)
    upright = np.eye(2) * abs(np.linalg.det(pen.view)) ** 0.5
    down = np.linspace(0, 5, 12)
    path = np.stack([rng.normal(0, 0.06) * down**2, down], axis=1)
    width = 0.14 if label in ("tulips", "sunflowers") else 0.08
    Pen(pen.picture, rng, pen.centre, upright).line(path, green, width)
    foot = pen.centre + upright @ path[rng.integers(4, 8)]
    for side in (-1, 1):
        leaf = Pen(pen.picture, rng, foot, upright)
        if label == "tulips":
            leaf.petal(side * rng.uniform(0.1, 0.5) - np.pi / 2, 2.6, 0.5, green)
        elif label in ("roses", "sunflowers"):
            leaf.petal(side * rng.uniform(0.8, 1.5) - np.pi / 2, 1.2, 0.6, green)


def leaves(whole: Pen, count: int, highest: float = 0.0) -> None:
    """Draws blades of grass and leaves over a picture, rooted below `highest`."""
    rng = whole.rng
    for _ in range(count):
        root = whole.view @ (rng.random(), rng.uniform(highest, 1.2))
        green = jitter(rng, LEAF if rng.random() < 0.5 else GRASS, 20)
        length, width = rng.uniform(0.15, 0.45), rng.uniform(0.015, 0.08)
        pen = Pen(whole.picture, rng, root, whole.view)
        pen.petal(rng.normal(-np.pi / 2, 0.6), length, width, green)


def cloud(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: int,
    light: Colour,
    dark: Colour,
) -> np.ndarray:
    """Returns uint8 [H, W, 3] between two colours, in patches of `cell` pixels."""
    coarse = rng.random([int(side / cell) + 2 for side in shape], np.float32)
    share = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    ramp = np.linspace(np.array(light), np.array(dark), 256).astype(np.uint8)
    return ramp[(share.clip(0, 1) * 255).astype(np.uint8)]


def background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns uint8 [H, W, 3]: a meadow, soil, the sky, a wall, or spots of light."""
    green = jitter(rng, LEAF, 18)
    meadow = cloud(rng, shape, 30, shade(green, 0.5), jitter(rng, GRASS, 25))
    whole = Pen(meadow, rng, np.zeros(2), np.diag(shape[::-1]).astype(float))
    kinds, shares = (
        ["meadow", "soil", "sky", "wall", "lights"],
        [0.25, 0.2, 0.2, 0.1, 0.25],
    )
    kind, highest = rng.choice(kinds, p=shares), 0.0
    if kind == "wall":
        plain = jitter(rng, (rng.uniform(50, 200),) * 3, 30)
        return cloud(rng, shape, 120, plain, shade(plain, 0.6))
    if kind == "soil":
        whole.picture = cloud(rng, shape, 6, jitter(rng, SOIL, 15), shade(SOIL, 0.5))
    elif kind == "sky":
        highest = rng.uniform(0.5, 0.95)
        sky = cloud(rng, shape, 90, jitter(rng, SKY, 20), (225, 232, 240))
        horizon = int(highest * shape[0])
        whole.picture[:horizon] = sky[:horizon]
    spots = {colour: 1.0 for colours in PETALS.values() for colour in colours}
    if kind == "lights":
        for _ in range(rng.integers(6, 25)):
            lamp = jitter(rng, choose(rng, spots | {GRASS: 20.0, LEAF: 20.0}), 15)
            whole.disk(rng.uniform(0.03, 0.12), lamp, rng.random(2))
        return cv2.GaussianBlur(whole.picture, (0, 0), rng.uniform(3, 9))
    leaves(whole, int(rng.integers(8, 35)), highest)
    for _ in range(rng.integers(0, 8)):  # other objects in the colours of petals
        at = rng.random(), rng.uniform(highest, 1)
        whole.disk(rng.uniform(0.008, 0.03), choose(rng, spots), at)
    return cv2.GaussianBlur(whole.picture, (0, 0), rng.uniform(0.4, 4))


def photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Applies uneven light, blur and noise to a picture, like a camera."""
    height, width = picture.shape[:2]
    corners = rng.uniform(0.6, 1.3, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (width, height))[..., None]
    taken = picture * (light * rng.normal(1, 0.05, 3).astype(np.float32))
    if rng.random() < 0.5:
        taken = cv2.GaussianBlur(taken, (0, 0), rng.exponential(0.6) + 0.3)
    grain = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0, 8)
    return (taken + grain).clip(0, 255).astype(np.uint8)


def draw(label: str, rng: np.random.Generator, sizes: tuple[int, int]) -> np.ndarray:
    """Returns uint8 [H, W, 3], each side within `sizes`: one to eight flowers."""
    height, width = (int(side) for side in rng.integers(sizes[0], sizes[1] + 1, 2))
    picture = background(rng, (height, width))
    colour = choose(rng, PETALS[label])
    count = rng.choice([1, 2, 3, 5, 8], p=[0.5, 0.2, 0.15, 0.1, 0.05])
    places = 0.5 + rng.uniform(-0.12, 0.12, (count, 2)) * count**0.5
    for x, y in sorted(places.tolist(), key=lambda place: place[1]):  # near ones last
        if rng.random() < 0.15:
            colour = choose(rng, PETALS[label])
        radius = min(height, width) * rng.uniform(0.24, 0.5) / count**0.45
        tilt, spin = rng.uniform(0, 2 * np.pi, 2)
        if label == "tulips":
            tilt, spin, radius = rng.normal(0, 0.25), 0.0, radius * 0.8
        squash = np.diag([rng.uniform(0.65, 1.0), 1.0])
        view = radius * rotation(tilt) @ squash @ rotation(spin)
        pen = Pen(picture, rng, np.array([x * width, y * height]), view)
        if rng.random() < 0.8:
            stem(pen, label)
        KINDS[label](pen, jitter(rng, colour, 10))
    if rng.random() < 0.4:
        whole = Pen(picture, rng, np.zeros(2), np.diag([width, height]).astype(float))
        leaves(whole, int(rng.integers(1, 6)), highest=0.5)
    return photograph(picture, rng)


def draw_folder(
    folder: Path, per_label: int, sizes: tuple[int, int], seed: int
) -> None:
    """Draws `per_label` pictures of each label, as JPEGs of varying quality."""
    for label_index, label in enumerate(KINDS):
        (folder / label).mkdir()
        for index in range(1, per_label + 1):
            rng = np.random.default_rng([seed, label_index, index])
            picture = draw(label, rng, sizes)
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 96))]
            _, data = cv2.imencode(".jpg", picture[..., ::-1], quality)
            (folder / label / f"{label}_{index:05}.jpg").write_bytes(data.tobytes())


def draw_odd(folder: Path, sizes: tuple[int, int], seed: int) -> None:
    """Adds five unusual files: transparent, grey, rotated by EXIF, WebP and broken."""
    rng = np.random.default_rng([seed, len(KINDS)])
    pictures = {label: Image.fromarray(draw(label, rng, sizes)) for label in KINDS}
    clear = pictures["daisy"].copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "daisy/odd_transparent.png")
    pictures["dandelion"].convert("L").save(folder / "dandelion/odd_grey.jpg")
    turned = pictures["roses"].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: viewers rotate it by 90 degrees to the right
    turned.save(folder / "roses/odd_turned.jpg", exif=exif)
    pictures["sunflowers"].save(folder / "sunflowers/odd.webp")
    pictures["tulips"].save(whole := io.BytesIO(), "JPEG")
    (folder / "tulips/odd_broken.jpg").write_bytes(whole.getvalue()[:300])


def draw_all(
    out: Path, per_label: int, sizes: tuple[int, int], seed: int, odd: bool
) -> None:
    """Draws to a temporary folder, which replaces `out` when it is complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        made = Path(beside, "new")
        made.mkdir()
        draw_folder(made, per_label, sizes, seed)
        if odd:
            draw_odd(made, sizes, seed)
        about = {"per_label": per_label, "size": sizes, "seed": seed, "odd": odd}
        (made / MARKER).write_text(json.dumps(about) + "\n")
        if out.exists():
            out.rename(Path(beside, "earlier"))
        made.rename(out)


def parse_sizes(text: str) -> tuple[int, int]:
    """Parses `160..320` or `224`; returns the shortest and the longest side."""
    shortest, _, longest = text.partition("..")
    sides = [
        int(side) if side.isdecimal() else 0 for side in (shortest, longest or shortest)
    ]
    if not 32 <= sides[0] <= sides[1] <= 4096:
        raise argparse.ArgumentTypeError(
            f"no sizes in {text!r}; give pixels within 32..4096, like 224 or 160..320"
        )
    return sides[0], sides[1]


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; exits with 2 for the user's mistakes, before it draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to create")
    parser.add_argument("--per_label", type=int, default=100, help="pictures per label")
    parser.add_argument(
        "--size", type=parse_sizes, default="160..320", help="in pixels"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    parser.add_argument(
        "--odd", action="store_true", help="add rare formats and a broken file"
    )
    args = parser.parse_args(arguments)
    out: Path = args.out.absolute()
    for flag, lowest in (("per_label", 1), ("seed", 0)):
        if (given := getattr(args, flag)) < lowest:
            parser.error(f"--{flag} is {given}; give {lowest} or more")
    taken = out.exists() and not (out / MARKER).is_file()
    if taken and not (out.is_dir() and not any(out.iterdir())):
        parser.error(f"{str(out)!r} was not drawn by this program; name another folder")

    started_s = time.perf_counter()
    try:
        draw_all(out, args.per_label, args.size, args.seed, args.odd)
    except OSError as error:
        parser.exit(1, f"cannot draw into {str(out)!r}: {error}; try another folder\n")
    pictures = len(KINDS) * (args.per_label + args.odd)
    took_s = time.perf_counter() - started_s
    print(
        f"drew {pictures} pictures of {len(KINDS)} kinds in {took_s:.1f} s: {args.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
