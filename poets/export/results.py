"""Builds all exports of a run and checks each on test images."""

import hashlib
import logging
import os
import posixpath
from dataclasses import dataclass

from poets.backbones import Backbone
from poets.config import RetrainConfig
from poets.errors import ModelError
from poets.export.frozen import frozen_graph
from poets.export.litert import litert_model
from poets.export.saved_model import write_saved_model
from poets.export.verify import (
    Check,
    Samples,
    check_frozen_graph,
    check_litert,
    check_saved_model,
)
from poets.head import Head
from poets.storage.publish import Publication

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """One verified export.

    Attributes:
      url: where it will be published.
      data: a file's content; None for a folder.
      folder: a local folder; "" for a file.
      check: the result of scoring it.
    """

    url: str
    data: bytes | None
    folder: str
    check: Check

    def add_to(self, publication: Publication) -> None:
        """Adds the export to a publication, which writes it to a temporary name."""
        if self.data is None:
            publication.add_folder(self.url, self.folder)
        else:
            publication.add_file(self.url, self.data)

    def to_json(self) -> dict[str, object]:
        """Returns the export's entry in `metrics.json`."""
        parts = [self.data] if self.data is not None else _contents(self.folder)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        return {
            "sha256": digest.hexdigest(),
            "size_bytes": sum(map(len, parts)),
            "checked_images": self.check.images,
            "max_score_difference": self.check.max_score_difference,
        }


def litert_url(output_graph: str) -> str:
    """Returns the URL of the `.tflite` file beside a graph."""
    return posixpath.splitext(output_graph)[0] + ".tflite"


def build_exports(
    config: RetrainConfig,
    backbone: Backbone,
    head: Head,
    labels: tuple[str, ...],
    samples: Samples,
    work_dir: str,
) -> list[Export]:
    """Returns the exports that the flags ask for, each scored on test images.

    Raises:
      ModelError: if an export's labels differ from the head's.
    """
    graph = frozen_graph(backbone, head, config.final_tensor_name)
    check = check_frozen_graph(graph, labels, backbone, samples)
    exports = [Export(config.output_graph, graph, "", check)]
    try:
        model = litert_model(backbone, head, labels)
    except ModelError as error:
        logger.warning("%s: no .tflite beside the graph", error)
    else:
        path = os.path.join(work_dir, "classifier.tflite")
        with open(path, "wb") as file:
            file.write(model)
        url = litert_url(config.output_graph)
        exports.append(Export(url, model, "", check_litert(path, samples)))
    if config.saved_model_dir:
        folder = os.path.join(work_dir, "saved_model")
        write_saved_model(folder, backbone, head, labels, config.final_tensor_name)
        check = check_saved_model(folder, samples)
        exports.append(Export(config.saved_model_dir, None, folder, check))
    return exports


def _contents(folder: str) -> list[bytes]:
    found = []
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            with open(os.path.join(path, name), "rb") as file:
                found.append(file.read())
    return found
