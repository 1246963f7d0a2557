"""Look-alikes of the weights of Keras Applications, written by Keras itself."""

import contextlib
import warnings
from unittest import mock

import numpy as np

from poets.backbones.keras_table import NETWORKS

ONE_OF_EACH = (  # a network of every module
    "mobilenet_v2",
    "mobilenet",
    "mobilenetv3-small",
    "efficientnetb0",
    "efficientnetv2-b0",
    "convnext_tiny",
    "densenet121",
    "resnet50",
    "resnet50v2",
    "vgg16",
    "vgg19",
    "nasnetmobile",
    "inception_resnet_v2",
    "inception_v3_keras",
    "xception",
)


def random_weights(model, gain, seed=0):
    """Sets weights so that pictures differ, also behind a hundred normalisations."""
    random = np.random.default_rng(seed)

    def drawn(weight):
        if len(weight.shape) == 0:  # the count of a layer that standardises
            return np.zeros(())
        *given, last = weight.shape
        if weight.path.endswith(("variance", "gamma")):
            return random.uniform(0.5, 1.5, weight.shape)
        if len(given) < 2:
            return random.normal(
                0, 0.1 if not given else given[0] ** -0.5, weight.shape
            )
        inputs = given[:2] if last == 1 else given  # one filter for each channel
        return random.normal(0, (gain / np.prod(inputs)) ** 0.5, weight.shape)

    model.set_weights([drawn(weight) for weight in model.weights])


def write_keras_weights(model_dir, name):
    """Has Keras write random weights under the name of its file; returns the model."""
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format
    from keras.src.utils import file_utils

    function, size_px, _ = NETWORKS[name]
    made = []

    def asked(file, *_, **__):
        made.append(model_dir / file)
        raise InterruptedError

    build = getattr(keras.applications, function)
    flags = {"include_top": False, "pooling": "avg"}
    flags["input_shape"] = (size_px, size_px, 3)
    with (
        mock.patch.object(file_utils, "get_file", asked),
        contextlib.suppress(InterruptedError),
    ):
        build(weights="imagenet", **flags)
    model = build(weights=None, **flags)
    pictures = np.random.default_rng(9).uniform(0, 255, (2, size_px, size_px, 3))
    pictures[1, : size_px // 2] = 20
    for gain in (1.0, 1.25, 1.5, 1.75, 2.0):  # with too little, all pictures are alike
        random_weights(model, gain)
        one, other = model.predict(pictures, verbose=0)
        if np.abs(one - other).max() > 0.01 * np.abs(one).max():
            break
    with warnings.catch_warnings(), h5py.File(made[0], "w") as file:
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, for Keras
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    # EfficientNet has one layer more with weights than without.
    with mock.patch.object(file_utils, "get_file", return_value=str(made[0])):
        return build(weights="imagenet", **flags)
