"""What the tests of the retraining job share: drawn images, flags, a run.

Pictures are noise around a label's colour: a head on any backbone finds most of them,
and not all. Names are chosen so that each split of each label has images.
"""

import contextlib
import csv
import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from poets.data.split import SPLITS, percentage_of
from poets.flags import config_from_args
from poets.job import run

FOLDERS = ("Red Roses", "daisy", "tulips")
PER_SPLIT = {"train": 12, "validation": 4, "test": 5}
IMAGES = len(FOLDERS) * sum(PER_SPLIT.values())


def jpeg(rng: np.random.Generator, channel: int, side_px: int = 40, **save) -> bytes:
    """Returns a picture in which one colour is a little stronger than the others."""
    pixels = rng.integers(0, 160, (side_px, side_px + 8, 3)).astype(np.uint8)
    pixels[:, :, channel] += np.uint8(rng.integers(0, 24))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **save)
    return file.getvalue()


def split_of(path: str) -> str:
    """Returns the split that a path gets by default."""
    percentage = percentage_of(path)
    return SPLITS[1] if percentage < 10 else SPLITS[2] if percentage < 20 else SPLITS[0]


def names_for(folder: str, split: str) -> Iterator[str]:
    """Gives names without end whose images go into a split."""
    number = 0
    while True:
        number += 1
        if split_of(f"{folder}/{number}.jpg") == split:
            yield f"{number}.jpg"


def write_images(image_dir: Path, folders: Sequence[str] = FOLDERS, seed=0) -> Path:
    """Draws `PER_SPLIT` images for each label and returns the folder."""
    rng = np.random.default_rng(seed)
    for channel, folder in enumerate(folders):
        (image_dir / folder).mkdir(parents=True)
        for split, count in PER_SPLIT.items():
            for _, name in zip(range(count), names_for(folder, split), strict=False):
                (image_dir / folder / name).write_bytes(jpeg(rng, channel % 3))
    return image_dir


def flags_for(folder: Path, image_dir: Path, **more: object) -> dict[str, object]:
    """Returns flags for a short run that leaves everything below a folder."""
    return {
        "image_dir": str(image_dir),
        "architecture": "scattering_96",
        "processes": 1,  # another takes longer to start than these images take
        "how_many_training_steps": 60,
        "output_graph": str(folder / "retrained_graph.pb"),
        "output_labels": str(folder / "retrained_labels.txt"),
        "saved_model_dir": str(folder / "saved_model" / "1"),
        "checkpoint_path": str(folder / "checkpoint"),
        "summaries_dir": str(folder / "summaries"),
        "bottleneck_dir": str(folder / "bottlenecks"),
        "intermediate_output_graphs_dir": str(folder / "intermediate") + "/",
        "model_dir": str(image_dir.parent / "models"),
        "report": False,  # has tests of its own
        **more,
    }


def without_exports() -> contextlib.AbstractContextManager[object]:
    """Has jobs of this process leave no model, but all the rest.

    Models are most of the work of a short job, and have tests of their own.
    """
    return mock.patch("poets.retraining.build_exports", return_value=[])


def retrain(
    folder: Path, image_dir: Path, exports: bool = True, **more: object
) -> list[str]:
    """Runs the job in this process and returns what it logged."""
    made = contextlib.nullcontext() if exports else without_exports()
    with made, logged() as lines:
        run(config_from_args(flags_for(folder, image_dir, **more)))
    return lines


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Gives the list of messages that our loggers write in the body."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("poets")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a table with a header."""
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def is_running(pid: int) -> bool:
    """Returns whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    """Returns the processes that a process started."""
    while True:
        try:
            texts = [
                Path(f"/proc/{pid}/task/{thread}/children").read_text()
                for thread in os.listdir(f"/proc/{pid}/task")
            ]
            return [int(child) for text in texts for child in text.split()]
        except OSError:  # a thread has ended, and another has its children
            if not Path(f"/proc/{pid}").exists():
                raise
