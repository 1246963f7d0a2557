"""The frozen networks that compute bottlenecks of pictures.

A backbone from any source becomes a frozen GraphDef from a placeholder for pictures to
the bottleneck, with the scaling that its input needs.

    inception_v3, mobilenet_*   the original archives      backbones.archives
    scattering_*                computed, no download      backbones.scattering
    --tfhub_module              hub handle or SavedModel   backbones.saved_model
"""

import hashlib
import importlib
from dataclasses import dataclass
from functools import cached_property

from poets.config import RetrainConfig


@dataclass(frozen=True)
class Backbone:
    """A frozen network, and how to feed it pictures.

    Attributes:
      name: as the user gave it.
      graph: serialised GraphDef; float32 [N, S, S, 3] in, float32 [N, D] out.
      input_name: the placeholder's node.
      bottleneck_name: the output's node.
      image_size_px: S.
      bottleneck_size: D.
      mean: a pixel value p in 0..255 is fed as (p - mean) / std.
      std: see `mean`.
      bottleneck_input_name: in retrained graphs, the node where bottlenecks are fed.
      head_scope: in retrained graphs, the scope of the trained layer. Both names are
        those of the original script's graphs with such a backbone.
    """

    name: str
    graph: bytes
    input_name: str
    bottleneck_name: str
    image_size_px: int
    bottleneck_size: int
    mean: float
    std: float
    bottleneck_input_name: str = "input_1/BottleneckInputPlaceholder"
    head_scope: str = "final_training_ops"

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, {len(self.graph)} bytes)"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that determines a picture's bottleneck."""
        spec = f"{self.input_name} {self.bottleneck_name} {self.image_size_px} "
        spec += f"{self.mean} {self.std} decode-1 "  # decode-1: see poets.data.images
        return hashlib.sha256(spec.encode() + self.graph).hexdigest()


def load_backbone(config: RetrainConfig) -> Backbone:
    """Returns the backbone that the flags name.

    Raises:
      ModelError: if it cannot be loaded, or is not the network of its name.
    """
    if config.tfhub_module:
        adapter = "poets.backbones.saved_model"
    elif config.architecture.startswith("scattering_"):
        adapter = "poets.backbones.scattering"
    else:
        adapter = "poets.backbones.archives"
    return importlib.import_module(adapter).load(config)
