"""Finds how to scale pixels for a model that an engine runs.

The first source that applies wins. Our own exports take unscaled pixels.

    --input_mean, --input_std   given by the user
    metadata                    TFLite's normalization, ONNX's pixel range, for floats
    the input's name            converters keep that of a retrained graph
    8 bits                      0..255 is the whole range of the type; MediaPipe and
                                Android also ignore the metadata then
"""

from collections.abc import Callable

import numpy as np

from poets.errors import ModelError
from poets.features.engines import RAW, ImageEngine, Normalization

INPUTS = {  # placeholder -> (mean, std) of the original scripts
    "input": (127.5, 127.5),  # mobilenet_*
    "Mul": (128.0, 128.0),  # inception_v3
    "Placeholder": (0.0, 255.0),  # TensorFlow Hub modules
}

BY_NAME = {
    "pixels": RAW,  # our own exports
    **{name: Normalization([mean], [std]) for name, (mean, std) in INPUTS.items()},
}

TOLERANCE = 0.01
"""How far 8-bit rounding may move scores out of 0..1."""


def set_scaling(
    network: ImageEngine,
    given: Normalization | None,
    described: Callable[[], Normalization | None],
    source: str,
) -> Normalization | None:
    """Sets the scaling of a network, and checks that it gives scores.

    Args:
      network: the engine with the model.
      given: the user's normalization, which overrides the model's.
      described: returns the one in the model's metadata, or None.
      source: the model's name in messages.

    Returns:
      The normalization; None for the whole range of integers.

    Raises:
      ModelError: if no source gives one, or the outputs are not scores.
    """
    by_name = BY_NAME.get(network.input_name)
    if given or network.takes_integers:
        found = given or by_name
    else:
        found = described() or by_name
        if found is None:
            raise ModelError(
                f"{source!r} does not define how to scale pixels: it has no "
                "normalization in its metadata, and its input is named "
                f"{network.input_name!r}, not {', '.join(map(repr, BY_NAME))}; give "
                "--input_mean and --input_std, 127.5 and 127.5 for a network that "
                "takes -1 to 1, 0 and 255 for 0 to 1"
            )
    network.normalize(found)
    _check_scores(network, source)
    return found


def _check_scores(network: ImageEngine, source: str) -> None:
    """Raises ModelError unless a grey picture gets scores of 0 to 1."""
    size_px = network.image_size_px
    try:
        (scores,) = network.run([np.full((size_px, size_px, 3), 128, np.float32)])
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
