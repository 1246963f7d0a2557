"""Draws digits in several fonts, as training images for the demo.

    OUT/0/0_0001.png ... OUT/9/9_0200.png    64 x 64 pixels, light on dark

    python demo/digits/draw.py OUT [--per_label 200] [--seed 0]

Font, size, slant, width of the pen, position, light, blur and noise vary, and a line
crosses some pictures. The n-th picture of a digit depends only on the seed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

SIZE_PX = 64
FONTS = (
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX),
    *(cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX),
    *(cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX),
)
ITALIC = cv2.FONT_ITALIC


def draw(digit: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a picture of a digit, uint8 [64, 64]."""
    font = int(rng.choice(FONTS)) | (ITALIC if rng.random() < 0.3 else 0)
    height_px, pen_px = rng.integers(28, 44), int(rng.integers(2, 6))
    text = str(digit)
    scale = cv2.getFontScaleFromHeight(font, int(height_px), pen_px)
    (width_px, height_px), _ = cv2.getTextSize(text, font, scale, pen_px)
    picture = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    start = ((SIZE_PX - width_px) // 2, (SIZE_PX + height_px) // 2)
    light = int(rng.integers(150, 256))
    cv2.putText(picture, text, start, font, scale, light, pen_px, cv2.LINE_AA)
    picture = cv2.warpAffine(picture, _bend(rng), (SIZE_PX, SIZE_PX))
    if rng.random() < 0.3:
        ends = rng.integers(0, SIZE_PX, (2, 2)).tolist()
        cv2.line(picture, *ends, int(rng.integers(60, 130)), 1, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.4))
    noise = rng.normal(rng.uniform(0, 30), rng.uniform(2, 14), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _bend(rng: np.random.Generator) -> np.ndarray:
    """Returns a transformation near identity: turned, slanted, stretched, moved."""
    turn, slant = rng.normal(0, 0.12), rng.normal(0, 0.15)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shape = rotation @ [[rng.uniform(0.8, 1.15), slant], [0, rng.uniform(0.85, 1.1)]]
    centre = np.full(2, SIZE_PX / 2)
    return np.c_[shape, centre - shape @ centre + rng.normal(0, 2, 2)]


def draw_all(out: Path, per_label: int, seed: int) -> None:
    """Draws into a temporary folder beside `out`, and renames it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        made = Path(beside, "new")
        for digit in range(10):
            folder = made / str(digit)
            folder.mkdir(parents=True)
            for number in range(1, per_label + 1):
                picture = draw(digit, np.random.default_rng([seed, digit, number]))
                cv2.imwrite(str(folder / f"{digit}_{number:04}.png"), picture)
        made.rename(out)  # also onto an empty folder


def main(arguments: list[str] | None = None) -> int:
    """Runs the program and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    parser.add_argument("--per_label", type=int, default=200, help="pictures per digit")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    args = parser.parse_args(arguments)
    if args.per_label < 1 or args.seed < 0:
        parser.error("--per_label must be 1 or more, --seed 0 or more")
    try:
        draw_all(args.out.absolute(), args.per_label, args.seed)
    except OSError as error:
        parser.exit(1, f"cannot draw into {str(args.out)!r}: {error}; name a new one\n")
    print(f"drew {10 * args.per_label} digits: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
