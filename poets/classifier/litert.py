"""Loads `.tflite` files, exported by a run or made by another program."""

from pathlib import Path

from poets.classifier import EngineClassifier, check_labels, staged
from poets.classifier.scaling import set_scaling
from poets.classifier.tflite_metadata import read_labels_file, read_normalization
from poets.features.engine_litert import connect
from poets.features.engines import Normalization
from poets.report.labels import labels_of, parse_labels, run_beside


def load(
    model: str, labels: tuple[str, ...] | None, normalization: Normalization | None
) -> EngineClassifier:
    """Returns the classifier in a `.tflite` file; see `poets.classifier`."""

    def load_local(path: str) -> EngineClassifier:
        data = Path(path).read_bytes()
        names = labels
        if names is None:
            inside = parse_labels(read_labels_file(data, model) or b"", model)
            names = inside or labels_of(model, run_beside(model))
        network = connect(path, model)
        own = set_scaling(
            network, normalization, lambda: read_normalization(data, model), model
        )
        check_labels(names, network.output_size, model)
        return EngineClassifier(names, "litert", path, network, own)

    return staged(model, load_local)
