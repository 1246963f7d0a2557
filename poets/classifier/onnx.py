"""Loads `.onnx` files, exported by a run or made by another program."""

from poets.classifier import EngineClassifier, check_labels, staged
from poets.classifier.scaling import set_scaling
from poets.features.engine_onnx import LABELS, connect
from poets.features.engines import Normalization
from poets.report.labels import labels_of, run_beside


def load(
    model: str, labels: tuple[str, ...] | None, normalization: Normalization | None
) -> EngineClassifier:
    """Returns the classifier in an `.onnx` file; see `poets.classifier`."""

    def load_local(path: str) -> EngineClassifier:
        network = connect(path, model)
        names = labels
        if names is None:
            inside = tuple(network.metadata.get(LABELS, "").splitlines())
            names = inside or labels_of(model, run_beside(model))
        own = set_scaling(network, normalization, lambda: network.pixel_range, model)
        check_labels(names, network.output_size, model)
        return EngineClassifier(names, "onnx", path, network, own)

    return staged(model, load_local)
