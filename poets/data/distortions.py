"""Makes distorted copies of training images, as the original's flags describe them.

The picture is scaled up by `random_crop` percent and a random share of `random_scale`
percent. A random square of the backbone's size is cut out of it, flipped in half of the
cases, and multiplied by a random brightness. Each copy has its own random generator,
seeded by the image's content, so it is the same on any machine and in any order.
"""

from dataclasses import dataclass, fields

import numpy as np

from poets.config import RetrainConfig
from poets.data.images import sample


@dataclass(frozen=True)
class Distortions:
    """The distortions and their strength (percent)."""

    flip_left_right: bool
    random_crop: int
    random_scale: int
    random_brightness: int
    seed: int

    @classmethod
    def of(cls, config: RetrainConfig) -> "Distortions":
        """Returns the distortions that the flags ask for."""
        return cls(*(getattr(config, each.name) for each in fields(cls)))

    def variant(self, copy: int) -> str:
        """Returns the key of a copy's bottleneck in the store, "" for the image."""
        return (
            f"flip={int(self.flip_left_right)},crop={self.random_crop},"
            f"scale={self.random_scale},brightness={self.random_brightness},"
            f"seed={self.seed},copy={copy}"
        )

    def distort(
        self, pixels: np.ndarray, size_px: int, digest: bytes, copy: int
    ) -> np.ndarray:
        """Returns a distorted copy of a picture.

        Args:
          pixels: uint8 [H, W, 3].
          size_px: S, the size the backbone reads.
          digest: of the image's content.
          copy: the number of the copy, 0 or more.

        Returns:
          float32 [S, S, 3]; brightness may raise values above 255, as in the original.
        """
        words = np.frombuffer(digest[:16], np.uint32).tolist()
        random = np.random.default_rng([self.seed, copy, *words])
        height, width = pixels.shape[:2]
        scale = 1 + self.random_crop / 100
        scale *= random.uniform(1, 1 + self.random_scale / 100)
        scaled_px = max(size_px, int(scale * size_px))
        left, top = random.integers(0, scaled_px - size_px + 1, 2)
        step_x, step_y = width / scaled_px, height / scaled_px
        copied = sample(pixels, size_px, step_x, step_y, left * step_x, top * step_y)
        if self.flip_left_right and random.random() < 0.5:
            copied = copied[:, ::-1]
        spread = self.random_brightness / 100
        return copied * np.float32(random.uniform(1 - spread, 1 + spread))
