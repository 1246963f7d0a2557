"""Finds how to scale pixels for a `.tflite`. Our own exports take them unscaled.

The first source that applies wins:

    --input_mean, --input_std   given by the user
    TFLite Metadata             its normalisation, for a float input
    the input's name            `tflite_convert` keeps that of a retrained graph
    8 bits                      0..255 is the whole range of the type; MediaPipe and
                                Android also ignore the metadata then
"""

import numpy as np

from poets.classifier import INPUTS
from poets.classifier.tflite_metadata import read_normalization
from poets.errors import ModelError
from poets.features.engine_litert import LiteRT, connect
from poets.features.engines import Normalization

BY_NAME = {
    "pixels": Normalization([0.0], [1.0]),  # our own exports
    **{name: Normalization([mean], [std]) for name, (mean, std) in INPUTS.items()},
}

TOLERANCE = 0.01
"""How far 8-bit rounding may move scores out of 0..1."""


def load_scorer(
    path: str, source: str, normalization: Normalization | None
) -> tuple[LiteRT, Normalization | None]:
    """Returns the engine for a local `.tflite`, and its normalization.

    Args:
      path: the file.
      source: its name in messages.
      normalization: the user's, which overrides the file's.

    Raises:
      ModelError: if no source gives one, or the outputs are not scores.
    """
    engine = connect(path, source)
    fed = normalization or _own_normalization(engine, path, source)
    engine.normalize(fed)
    _check_scores(engine, source)
    return engine, fed


def _own_normalization(engine: LiteRT, path: str, source: str) -> Normalization | None:
    """Returns the model's own normalization; None for the whole range of integers."""
    by_name = BY_NAME.get(engine.input_name)
    if engine.is_quantised:
        return by_name
    with open(path, "rb") as file:
        found = read_normalization(file.read(), source) or by_name
    if found is None:
        raise ModelError(
            f"{source!r} does not say how it wants pixels: it has no normalisation in "
            f"TFLite Metadata, and its input is named {engine.input_name!r}, not "
            f"{', '.join(map(repr, BY_NAME))}; give --input_mean and --input_std, "
            "127.5 and 127.5 for a network that wants -1 to 1, 0 and 255 for 0 to 1"
        )
    return found


def _check_scores(engine: LiteRT, source: str) -> None:
    """Raises ModelError unless a grey picture gets scores of 0 to 1."""
    size_px = engine.image_size_px
    try:
        (scores,) = engine.run([np.full((size_px, size_px, 3), 128, np.float32)])
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{source!r} does not answer on a grey picture: {error}; convert it with "
            "built-in operations only"
        ) from error
    low, high = scores.min(), scores.max()
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise ModelError(
            f"{source!r} gives {low:.3g} to {high:.3g} on a grey picture, not scores "
            "of 0 to 1; convert it with a softmax as its last layer"
        )
