"""Writes the networks of a backbone as the files that an engine loads.

    model_dir/mobilenet_0.25_128-ddb3e9765ec0.tflite     converted once, kept

The network's digest is in the file name, so it is never another one's. Without LiteRT,
a frozen graph from `pixels` to `output` is written for this run only.
"""

import logging
import os

from poets.backbones import Backbone
from poets.backbones.graph import convert_to_litert, pixel_graph
from poets.config import RetrainConfig
from poets.errors import ModelError, StorageError
from poets.features.network import Network
from poets.features.store import store_url
from poets.storage import exists, is_local, open_storage, read_url
from poets.storage.publish import write_atomically

logger = logging.getLogger(__name__)

GPU_DEVICE = "/dev/nvidiactl"


def networks_of(
    config: RetrainConfig, backbone: Backbone, work_dir: str
) -> tuple[Network, ...]:
    """Returns the networks of a backbone with the models that the processes load.

    Args:
      config: `engine`, `bottleneck_dir`, and `model_dir` for converted models.
      backbone: a network, or several side by side.
      work_dir: local folder that lives as long as the run.

    Raises:
      ModelError: if `--engine=litert` is asked for and a network does not convert.
    """
    return tuple(
        Network(
            store_url(config.bottleneck_dir, part.name, part.digest),
            *_engine_and_model(config, part, work_dir),
            part.bottleneck_size,
        )
        for part in backbone.parts or (backbone,)
    )


def _engine_and_model(
    config: RetrainConfig, backbone: Backbone, work_dir: str
) -> tuple[str, str]:
    """Returns the name of the engine and its model, a local file."""
    engine = config.engine
    if engine == "auto" and os.path.exists(GPU_DEVICE):
        engine = "tensorflow"
    if engine != "tensorflow":
        try:
            return "litert", _litert_path(config, backbone, work_dir)
        except ModelError as error:
            if engine == "litert":
                raise
            logger.warning("%s: using the TensorFlow engine instead", error)
    path = os.path.join(work_dir, f"{backbone.digest[:12]}.pb")
    with open(path, "wb") as file:
        file.write(pixel_graph(backbone))
    return "tensorflow", path


def _litert_path(config: RetrainConfig, backbone: Backbone, work_dir: str) -> str:
    url = store_url(config.model_dir, backbone.name, backbone.digest) + ".tflite"
    filesystem, path = open_storage(url)
    if exists(url):
        if is_local(filesystem):
            return path
        data = read_url(url)
    else:
        logger.info("converting %s to LiteRT, once", backbone.name)
        data = convert_to_litert(pixel_graph(backbone))
        try:
            write_atomically(url, data)
            if is_local(filesystem):
                return path
        except StorageError as error:
            logger.warning("%s: the converted backbone is not kept", error)
    staged = os.path.join(work_dir, f"{backbone.digest[:12]}.tflite")
    with open(staged, "wb") as file:
        file.write(data)
    return staged
