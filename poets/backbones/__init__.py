"""The frozen networks that compute bottlenecks of pictures.

A backbone from any source becomes a frozen GraphDef from a placeholder for pictures to
the bottleneck, with the scaling that its input needs.

The families of networks are the rows of `FAMILIES`.
"""

import hashlib
import importlib
from dataclasses import dataclass, replace
from functools import cached_property

from poets.config import RetrainConfig

PerChannel = float | tuple[float, float, float]
"""One value for all channels, or one each for R, G and B."""


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
      mean: a pixel value p in 0..255 is fed as (p - mean) / std, by channel.
      std: see `mean`.
      bottleneck_input_name: in retrained graphs, the node where bottlenecks are fed.
      head_scope: in retrained graphs, the scope of the trained layer. Both names are
        those of the original script's graphs with such a backbone.
      parts: the networks of which this is made, side by side; () for a single one.
    """

    name: str
    graph: bytes
    input_name: str
    bottleneck_name: str
    image_size_px: int
    bottleneck_size: int
    mean: PerChannel
    std: PerChannel
    bottleneck_input_name: str = "input_1/BottleneckInputPlaceholder"
    head_scope: str = "final_training_ops"
    parts: tuple["Backbone", ...] = ()

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, {len(self.graph)} bytes)"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that determines a picture's bottleneck."""
        spec = f"{self.input_name} {self.bottleneck_name} {self.image_size_px} "
        spec += f"{self.mean} {self.std} decode-1 "  # decode-1: see poets.data.images
        return hashlib.sha256(spec.encode() + self.graph).hexdigest()


@dataclass(frozen=True)
class Family:
    """Networks that one module loads.

    Attributes:
      module: has `load(config) -> Backbone`; imported on first use.
      names: the values of `--architecture` for them.
      shown: the names in short, for messages and documents.
      untrainable: why they cannot be fine-tuned, "" if they can.
    """

    module: str
    names: tuple[str, ...] = ()
    shown: str = ""
    untrainable: str = ""


KERAS_SUFFIXES = (".keras", ".h5")

SIDE_BY_SIDE = "+"
"""Joins the names of networks whose bottlenecks are used together."""

_MOBILENETS = "mobilenet_{1.0,0.75,0.50,0.25}_{224,192,160,128}"
_SCATTERING = "scattering_{96,128,160,224}"

KERAS = (
    # names, functions of keras.applications, picture sizes in px, scaling of pixels
    ("mobilenet", "MobileNet", (224,), "tf"),
    ("mobilenet_v2", "MobileNetV2", (224,), "tf"),
    ("mobilenetv3-{small,large}", "MobileNetV3{Small,Large}", (224,), "inside"),
    (
        "efficientnetb{0,1,2,3,4,5,6,7}",
        "EfficientNetB{0,1,2,3,4,5,6,7}",
        (224, 240, 260, 300, 380, 456, 528, 600),
        "inside",
    ),
    (
        "efficientnetv2-{b0,b1,b2,b3,s,m,l}",
        "EfficientNetV2{B0,B1,B2,B3,S,M,L}",
        (224, 240, 260, 300, 384, 480, 480),
        "inside",
    ),
    (
        "convnext_{tiny,small,base,large,xlarge}",
        "ConvNeXt{Tiny,Small,Base,Large,XLarge}",
        (224,),
        "inside",
    ),
    ("densenet{121,169,201}", "DenseNet{121,169,201}", (224,), "torch"),
    ("resnet{50,101,152}", "ResNet{50,101,152}", (224,), "caffe"),
    ("resnet{50,101,152}v2", "ResNet{50,101,152}V2", (224,), "tf"),
    ("vgg{16,19}", "VGG{16,19}", (224,), "caffe"),
    ("nasnet{mobile,large}", "NASNet{Mobile,Large}", (224, 331), "tf"),
    ("inception_resnet_v2", "InceptionResNetV2", (299,), "tf"),
    ("inception_v3_keras", "InceptionV3", (299,), "tf"),  # not that of 2015
    ("xception", "Xception", (299,), "tf"),
)


def expanded(pattern: str) -> tuple[str, ...]:
    """Returns the names of a pattern with any number of {a,b}, as a shell does."""
    before, brace, rest = pattern.partition("{")
    if not brace:
        return (pattern,)
    choices, _, after = rest.partition("}")
    return tuple(
        before + c + end for c in choices.split(",") for end in expanded(after)
    )


FAMILIES = {
    "saved_model": Family("poets.backbones.saved_model"),  # --tfhub_module
    "inception": Family("poets.backbones.archives", ("inception_v3",), "inception_v3"),
    "mobilenet": Family(
        "poets.backbones.archives", expanded(_MOBILENETS), f"{_MOBILENETS}[_quantized]"
    ),
    "quantized": Family(
        "poets.backbones.archives",
        expanded(f"{_MOBILENETS}_quantized"),
        untrainable="trained weights would no longer be 8-bit; use the network of the "
        "same name without _quantized",
    ),
    "efficientnet": Family(
        "poets.backbones.efficientnet", ("efficientnet_lite0",), "efficientnet_lite0"
    ),
    "keras": Family(
        "poets.backbones.keras_networks",
        tuple(name for names, *_ in KERAS for name in expanded(names)),
        ", ".join(names for names, *_ in KERAS),
    ),
    "scattering": Family(
        "poets.backbones.scattering",
        expanded(_SCATTERING),
        _SCATTERING,
        untrainable="its filters are computed, not trained; use another network",
    ),
}


def family_of(config: RetrainConfig) -> Family:
    """Returns the family of the one network that the flags name."""
    if config.tfhub_module.endswith(KERAS_SUFFIXES):
        return FAMILIES["keras"]
    if config.tfhub_module:
        return FAMILIES["saved_model"]
    return next(row for row in FAMILIES.values() if config.architecture in row.names)


def untrainable(config: RetrainConfig) -> str:
    """Returns why the network cannot be fine-tuned, "" if it can."""
    if SIDE_BY_SIDE in config.architecture and not config.tfhub_module:
        return "it is several networks; use one of them"
    return family_of(config).untrainable


def load_backbone(config: RetrainConfig) -> Backbone:
    """Returns the backbone that the flags name.

    Raises:
      ConfigError: if networks side by side take pictures of different sizes.
      ModelError: if it cannot be loaded, or is not the network of its name.
    """
    names = config.architecture.split(SIDE_BY_SIDE)
    if config.tfhub_module or len(names) == 1:
        return importlib.import_module(family_of(config).module).load(config)
    parts = [load_backbone(replace(config, architecture=name)) for name in names]
    return importlib.import_module("poets.backbones.several").side_by_side(parts)
