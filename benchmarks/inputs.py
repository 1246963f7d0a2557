"""Finds the photographs and the models, or makes substitutes.

Real ones are in `../shared/data` and `../shared/models` beside the project, or in the
folder of POETS_TEST_DATA. Otherwise `demo/flowers.py` draws flowers, and the archives
hold a MobileNet with random weights (`tests/models.py`): speeds are then about the
same, accuracies are meaningless.
"""

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from poets.data.packs import parquet

PROJECT = Path(__file__).resolve().parent.parent
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG")
PACK_IMAGES = 50_000
"""Images in a pack of `pack_many`: 128 MB of the small photographs."""

DRAWN = {  # flags of demo/flowers.py
    "flower_photos_128": ["--per_label=860", "--size=128..128"],
    "flower_photos_full": ["--per_label=100", "--size=240..500"],
}


@dataclass(frozen=True)
class Case:
    """One set of photographs with one backbone."""

    photographs: str
    image_size_px: int

    @property
    def architecture(self) -> str:
        return f"mobilenet_0.25_{self.image_size_px}"

    @property
    def archive(self) -> str:
        return f"mobilenet_v1_0.25_{self.image_size_px}_frozen.tgz"


SMALL = Case("flower_photos_128", 128)
FULL = Case("flower_photos_full", 224)


@dataclass(frozen=True)
class Inputs:
    """The files of a case.

    Attributes:
      case: the case.
      image_dir: one folder per label.
      archive: the packed model, for `model_dir`.
      graph: the frozen graph of the archive, unpacked.
      real: whether neither the photographs nor the model are substitutes.
    """

    case: Case
    image_dir: Path
    archive: Path
    graph: Path
    real: bool

    @property
    def name(self) -> str:
        return f"{self.case.architecture} on {self.case.photographs}"


def photographs(image_dir: Path) -> Iterator[Path]:
    """Yields the JPEG files of all label folders, sorted."""
    for path in sorted(image_dir.glob("*/*")):
        if path.suffix in IMAGE_SUFFIXES:
            yield path


def find_inputs(case: Case, work: Path, per_label: int | None = None) -> Inputs:
    """Returns the inputs of a case; makes substitutes in `work` for missing ones.

    Args:
      case: the photographs and the backbone.
      work: an existing folder for substitutes, which later runs use again.
      per_label: limit of photographs per label, if given.
    """
    image_dir, archive = _find(case.photographs), _find(case.archive)
    real = image_dir is not None and archive is not None
    image_dir = image_dir or draw_flowers(case, work)
    archive = archive or make_archive(case, work)
    if per_label is not None:
        image_dir = _some_of(image_dir, per_label, work / f"{case.photographs}_quick")
    graph = work / f"{case.architecture}.pb"
    unpack_graph(archive, graph)
    return Inputs(case, image_dir, archive, graph, real)


def _find(name: str) -> Path | None:
    roots = [PROJECT.parent / "shared"]
    if given := os.environ.get("POETS_TEST_DATA"):
        roots = [Path(given), Path(given).parent]
    for root in roots:
        for folder in (root, root / "data", root / "models"):
            if (folder / name).exists():
                return folder / name
    return None


def unpack_graph(archive: Path, graph: Path) -> None:
    """Writes the frozen graph of an archive to the file `graph`."""
    member = f"{archive.name.removesuffix('_frozen.tgz')}/frozen_graph.pb"
    with tarfile.open(archive) as tgz:
        file = tgz.extractfile(member)
        graph.write_bytes(file.read() if file else b"")


def draw_flowers(case: Case, work: Path) -> Path:
    """Draws as many flowers of the same size as the case has photographs."""
    target = work / f"{case.photographs}_drawn"
    if not target.exists():
        script = PROJECT / "demo" / "flowers.py"
        subprocess.run(
            [sys.executable, script, target, "--seed=0", *DRAWN[case.photographs]],
            check=True,
            stdout=sys.stderr,
        )
    return target


def make_archive(case: Case, work: Path) -> Path:
    """Writes an archive with random weights."""
    from tests.models import write_mobilenet_archive  # imports TensorFlow

    return write_mobilenet_archive(work, 0.25, case.image_size_px)


def _some_of(image_dir: Path, per_label: int, target: Path) -> Path:
    """Returns a folder with links to the first photographs of each label."""
    shutil.rmtree(target, ignore_errors=True)
    for folder in sorted(path for path in image_dir.iterdir() if path.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:per_label]:
            (target / folder.name / path.name).symlink_to(path.resolve())
    return target


def write_many(image_dir: Path, count: int, target: Path) -> Path:
    """Writes `count` different files by repeating the photographs.

    Poets uses files of equal content only once, so each copy has its number after the
    JPEG end marker, which decoders ignore.

    Args:
      image_dir: one folder per label.
      count: number of files, spread evenly over the labels.
      target: the new folder; an existing one with as many files is used unchanged.
    """
    done = target / "count.json"
    if done.exists() and json.loads(done.read_text()) == count:
        return target
    shutil.rmtree(target, ignore_errors=True)
    for i, source in enumerate(_spread(photographs(image_dir), count)):
        copy = target / source.parent.name / f"{i:06d}_{source.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes() + f"copy {i}".encode())
    done.write_text(json.dumps(count))
    return target


def link_many(image_dir: Path, count: int, target: Path) -> Path:
    """Makes `count` images that take no disk space, from a few photographs.

    Each is a hard link to a copy of a photograph, named by a number and its name.

    Args:
      image_dir: one folder per label.
      count: number of links, spread evenly over the labels.
      target: the new folder.
    """
    copies = target.with_name(f"{target.name}_of")
    sources = []
    for path in photographs(image_dir):
        copy = copies / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        sources.append(shutil.copy(path, copy))
    for number, source in enumerate(_spread(sources, count)):
        os.link(source, target / source.parent.name / f"{number:09d}-{source.name}")
    return target


def pack_many(image_dir: Path, count: int, target: Path) -> Path:
    """Writes the images of `link_many` into Parquet packs of PACK_IMAGES each.

    Args:
      image_dir: one folder per label.
      count: number of images, spread evenly over the labels.
      target: the new folder.
    """
    paths = {
        f"{source.parent.name}/{number:09d}-{source.name}": source
        for number, source in enumerate(_spread(photographs(image_dir), count))
    }
    content = functools.cache(Path.read_bytes)
    order = sorted(paths)
    labels = sorted({path.partition("/")[0] for path in order})
    target.mkdir()
    for start in range(0, count, PACK_IMAGES):
        pictures = (
            (path, path.partition("/")[0], 1, content(paths[path]))
            for path in order[start : start + PACK_IMAGES]
        )
        number = start // PACK_IMAGES
        with pa.OSFile(str(target / f"images-{number:05d}.parquet"), "wb") as sink:
            parquet.write(sink, pictures, labels)
    return target


def _spread(sources: Iterable[Path], count: int) -> Iterator[Path]:
    """Returns `count` photographs, taken from the labels in turn."""
    by_label: dict[str, list[Path]] = {}
    for source in sources:
        by_label.setdefault(source.parent.name, []).append(source)
    labels = list(map(itertools.cycle, by_label.values()))
    return itertools.islice(map(next, itertools.cycle(labels)), count)


def linked(path: str) -> str:
    """Returns the photograph, as label/name, for an image of `link_many`."""
    label, _, name = path.partition("/")
    return f"{label}/{name.partition('-')[2]}"
