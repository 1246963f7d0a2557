"""Loads backbones from TensorFlow Hub handles and SavedModel folders.

Both generations load: TensorFlow 2 SavedModels and the hub's own TensorFlow 1 format.
Variables become constants, so that the result is a frozen graph like any other.
Pictures are fed in 0..1, as the hub's image signatures specify.

    model_dir/<SHA-1 of the handle>/      where the hub's own library keeps a module

On a storage that TensorFlow cannot read, modules have the same names and are copied to
a local folder for loading.
"""

import hashlib
import logging
import os
import tempfile
from dataclasses import replace
from typing import Any

import pyarrow.fs

from poets.backbones import Backbone
from poets.backbones.freezing import freeze, frozen_backbone
from poets.config import RetrainConfig
from poets.errors import ConfigError, ModelError, first_line
from poets.storage import exists, is_local, join, kind_of, open_storage, scheme_of
from poets.storage.publish import Publication
from poets.storage.reading import stage_folder
from poets.system.runtime import tf

logger = logging.getLogger(__name__)

SIGNATURES = ("image_feature_vector", "default", "serving_default", "serve")
OUTPUTS = ("feature_vector", "default", "outputs", "output_0")


def load(config: RetrainConfig) -> Backbone:
    """Returns the backbone that `--tfhub_module` names.

    Raises:
      ConfigError: if neither it nor the flags fix the image size.
      ModelError: if it cannot be loaded, or has no signature from images to features.
    """
    handle = config.tfhub_module
    with tempfile.TemporaryDirectory(prefix="poets-saved-model-") as staging:
        folder = _local_folder(handle, config.model_dir, staging)
        function = _image_function(folder, handle)
        size_px = _image_size_px(function, config)
        graph = _freeze(function, size_px, handle)
    return replace(
        frozen_backbone(handle, graph, size_px, mean=0.0, std=255.0),
        bottleneck_input_name="input/BottleneckInputPlaceholder",
        head_scope="final_retrain_ops",
    )


def _local_folder(handle: str, model_dir: str, staging: str) -> str:
    if scheme_of(handle) in ("http", "https"):
        return _resolve(handle, model_dir, staging)
    kind = kind_of(handle)
    if kind != pyarrow.fs.FileType.Directory:
        found = "nothing" if kind == pyarrow.fs.FileType.NotFound else "a file"
        raise ModelError(
            f"--tfhub_module={handle!r}: found {found}; give a SavedModel folder or a "
            "hub handle that begins with https://"
        )
    filesystem, root = open_storage(handle)
    if is_local(filesystem):
        return root
    stage_folder(handle, staging)
    return staging


def _resolve(handle: str, model_dir: str, staging: str) -> str:
    filesystem, path = open_storage(model_dir)
    kept = join(model_dir, hashlib.sha1(handle.encode()).hexdigest())
    if is_local(filesystem):
        return _download(handle, path)
    if exists(kept):
        stage_folder(kept, staging)
        return staging
    found = _download(handle, staging)
    with Publication() as publication:
        publication.add_folder(kept, found)
        publication.commit()
    return found


def _download(handle: str, cache_dir: str) -> str:
    try:
        import tensorflow_hub as hub
    except ModuleNotFoundError as error:
        raise ModelError(
            f"--tfhub_module={handle!r} needs {error.name}, which is not installed; "
            "pip install 'poets[hub]'"
        ) from error
    own_cache = "TFHUB_CACHE_DIR" not in os.environ
    if own_cache:
        os.environ["TFHUB_CACHE_DIR"] = cache_dir
    try:
        return hub.resolve(handle)
    except Exception as error:
        raise ModelError(
            f"cannot download --tfhub_module={handle!r}: {error}; without a network, "
            "give the folder of an unpacked SavedModel"
        ) from error
    finally:
        if own_cache:
            del os.environ["TFHUB_CACHE_DIR"]


def _image_function(folder: str, handle: str) -> Any:
    is_of_hub_1 = os.path.exists(os.path.join(folder, "tfhub_module.pb"))
    try:
        module = tf.saved_model.load(folder, tags=[] if is_of_hub_1 else None)
    except Exception as error:
        raise ModelError(
            f"--tfhub_module={handle!r} is not a SavedModel: {first_line(error)}"
        ) from error
    for name in SIGNATURES:
        if function := module.signatures.get(name):
            function._keeps = module  # the variables live as long as the module
            return function
    found = ", ".join(map(repr, module.signatures)) or "none"
    raise ModelError(
        f"--tfhub_module={handle!r} has no signature for images: found {found}; "
        f"expected one of {', '.join(SIGNATURES)}"
    )


def _image_size_px(function: Any, config: RetrainConfig) -> int:
    inputs = list(function.structured_input_signature[1].values())
    if len(inputs) != 1 or inputs[0].dtype != tf.float32 or inputs[0].shape.rank != 4:
        raise ModelError(
            f"--tfhub_module={config.tfhub_module!r} takes {inputs}; a backbone takes "
            "one float32 tensor of images [N, S, S, 3]"
        )
    _, height, width, channels = inputs[0].shape
    if channels not in (None, 3):
        raise ModelError(
            f"--tfhub_module={config.tfhub_module!r} takes images of {channels} "
            "channels; a backbone takes 3: red, green, blue"
        )
    size_px = config.input_size_px or height
    if not size_px:
        raise ConfigError(
            f"--tfhub_module={config.tfhub_module!r} takes images of any size; give "
            "the size it was trained for with --input_size_px"
        )
    if any(fixed not in (None, size_px) for fixed in (height, width)):
        raise ConfigError(
            f"--tfhub_module={config.tfhub_module!r} takes images of {height} x "
            f"{width} pixels, not {size_px} x {size_px}; leave --input_size_px out"
        )
    return size_px


def _freeze(function: Any, size_px: int, handle: str) -> bytes:
    outputs = function.structured_outputs
    name = next((name for name in OUTPUTS if name in outputs), None)
    if name is None and len(outputs) == 1:
        name = next(iter(outputs))
    if name is None:
        raise ModelError(
            f"--tfhub_module={handle!r} gives {', '.join(sorted(outputs))}; a backbone "
            f"has one output, or one called {' or '.join(OUTPUTS)}"
        )
    shape = outputs[name].shape
    lengths = shape[1:].as_list() if shape.rank else [None]  # [D], or [1, 1, D]
    if (
        outputs[name].dtype != tf.float32
        or not lengths
        or lengths[-1] is None
        or any(length not in (None, 1) for length in lengths[:-1])
    ):
        raise ModelError(
            f"--tfhub_module={handle!r} gives {outputs[name]}; a bottleneck is float32 "
            "[N, D] with a known D"
        )
    input_key = next(iter(function.structured_input_signature[1]))

    def features(images: Any) -> Any:
        found = function(**{input_key: images})[name]
        return tf.reshape(found, [-1, lengths[-1]])

    return freeze(features, size_px)
