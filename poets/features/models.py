"""Writes the backbone as the file that an engine loads.

    model_dir/mobilenet_0.25_128-ddb3e9765ec0.tflite     converted once, kept

The backbone's digest is in the file name, so it is never another network's. Without
LiteRT, a frozen graph from `pixels` to `output` is written for this run only.
"""

import logging
import os
from dataclasses import dataclass

from poets.backbones import Backbone
from poets.backbones.graph import convert_to_litert, pixel_graph
from poets.config import RetrainConfig
from poets.errors import ModelError, StorageError
from poets.features.store import store_url
from poets.storage import exists, is_local, open_storage, read_url
from poets.storage.publish import write_atomically

logger = logging.getLogger(__name__)

GPU_DEVICE = "/dev/nvidiactl"


@dataclass(frozen=True)
class EngineModel:
    """An engine's name and its model, a local file."""

    engine: str
    path: str


def engine_model(
    config: RetrainConfig, backbone: Backbone, work_dir: str
) -> EngineModel:
    """Returns the model that the processes load.

    Args:
      config: `engine`, and `model_dir` for converted models.
      backbone: the network.
      work_dir: local folder that lives as long as the run.

    Raises:
      ModelError: if `--engine=litert` is asked for and the backbone does not convert.
    """
    engine = config.engine
    if engine == "auto" and os.path.exists(GPU_DEVICE):
        engine = "tensorflow"
    if engine != "tensorflow":
        try:
            return EngineModel("litert", _litert_path(config, backbone, work_dir))
        except ModelError as error:
            if engine == "litert":
                raise
            logger.warning("%s: using the TensorFlow engine instead", error)
    path = os.path.join(work_dir, "backbone.pb")
    with open(path, "wb") as file:
        file.write(pixel_graph(backbone))
    return EngineModel("tensorflow", path)


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
    staged = os.path.join(work_dir, "backbone.tflite")
    with open(staged, "wb") as file:
        file.write(data)
    return staged
