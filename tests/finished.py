"""A pytest plugin: one finished run that many tests look at, and never change.

A test module asks for it by `pytest_plugins = ["tests.finished"]`.
"""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import retraining


@dataclass(frozen=True)
class Finished:
    """A run with intermediate graphs, on images among which are some odd ones.

    Attributes:
      folder: where all its files are.
      image_dir: the images.
      lines: what it logged.
      broken: paths of images that cannot be decoded.
      turned: path of a test image with an EXIF orientation.
      png: path of a test image that is a PNG, whatever its name says.
    """

    folder: Path
    image_dir: Path
    lines: tuple[str, ...]
    broken: tuple[str, ...]
    turned: str
    png: str

    @property
    def metrics(self) -> dict:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def split(self) -> list[dict[str, str]]:
        """The rows of split.csv."""
        return retraining.read_csv(self.folder / "split.csv")

    def is_right(self, row: dict[str, str]) -> bool:
        """Returns whether the prediction of a row of split.csv is its label."""
        return self._folder_of[row["predicted_label"]] == row["label"]

    @cached_property
    def _folder_of(self) -> dict[str, str]:
        return {row["label"]: row["folder"] for row in self.metrics["labels"]}

    @property
    def graph(self) -> Path:
        return self.folder / "retrained_graph.pb"

    @property
    def saved_model(self) -> Path:
        return self.folder / "saved_model" / "1"

    @property
    def labels(self) -> list[str]:
        return (self.folder / "retrained_labels.txt").read_text().splitlines()


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    parent = tmp_path_factory.mktemp("finished")
    image_dir = retraining.write_images(parent / "images")
    names = islice(retraining.names_for("daisy", "test"), 5, None)
    turned, png = (f"daisy/{next(names)}" for _ in range(2))
    rng = np.random.default_rng(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = retraining.jpeg(rng, 1, side_px=60, exif=exif)
    (image_dir / turned).write_bytes(data)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(retraining.jpeg(rng, 1))) as image:
        image.save(buffer, "PNG")
    (image_dir / png).write_bytes(buffer.getvalue())
    broken = ("daisy/broken.jpg", "tulips/empty.png")
    (image_dir / broken[0]).write_bytes(data[:300])
    (image_dir / broken[1]).write_bytes(b"")
    (image_dir / "tulips" / "twin.jpg").write_bytes(
        (
            image_dir / "tulips" / next(retraining.names_for("tulips", "train"))
        ).read_bytes()
    )
    lines = retraining.retrain(
        parent / "out",
        image_dir,
        intermediate_store_frequency=25,
        print_misclassified_test_images=True,
        report=True,
    )
    return Finished(parent / "out", image_dir, tuple(lines), broken, turned, png)
