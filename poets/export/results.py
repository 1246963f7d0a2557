"""Builds all exports of a run and checks each on test images."""

import hashlib
import importlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from poets.config import RetrainConfig
from poets.errors import ModelError
from poets.export import TrainedModel
from poets.export.verify import Check, Samples
from poets.formats import FORMATS
from poets.storage.publish import Publication

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """One verified export.

    Attributes:
      url: where it will be published.
      path: the local file or folder.
      check: the result of scoring it.
    """

    url: str
    path: str
    check: Check

    def add_to(self, publication: Publication) -> None:
        """Adds the export to a publication, which writes it to a temporary name."""
        if os.path.isdir(self.path):
            publication.add_folder(self.url, self.path)
        else:
            publication.add_file(self.url, Path(self.path).read_bytes())

    def to_json(self) -> dict[str, object]:
        """Returns the export's entry in `metrics.json`."""
        content = b"".join(Path(path).read_bytes() for path in _files(self.path))
        return {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "checked_images": self.check.images,
            "max_score_difference": self.check.max_score_difference,
        }


def build_exports(
    config: RetrainConfig, model: TrainedModel, samples: Samples, work_dir: str
) -> list[Export]:
    """Writes the exports that the flags ask for below a local folder, and scores each.

    Raises:
      ModelError: if an export's labels differ from the head's, or it cannot be made.
    """
    exports = []
    for name, row in FORMATS.items():
        url = row.url(config)
        if not url:
            continue
        exporter = importlib.import_module(row.exporter)
        path = os.path.join(work_dir, f"export-{name}")
        try:
            exporter.build(model, path)
        except ModelError as error:
            if not row.optional:
                raise
            logger.warning("%s: %s is not written", error, url)
        else:
            exports.append(Export(url, path, exporter.check(path, model, samples)))
    return exports


def _files(path: str) -> list[str]:
    """Returns a file's path, or those of all files below a folder."""
    if not os.path.isdir(path):
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        found += [os.path.join(folder, name) for name in sorted(names)]
    return found
