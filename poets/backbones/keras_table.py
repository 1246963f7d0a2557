"""The networks of Keras Applications, and how each takes pixels.

`poets.backbones.FAMILIES` has the names, a test compares them.
"""

from typing import NamedTuple

from poets.backbones import PerChannel


class KerasNetwork(NamedTuple):
    """A network of `keras.applications`.

    Attributes:
      function: its name there.
      size_px: the picture size that it was trained for.
      mode: how it takes pixels, a key of `SCALINGS`.
    """

    function: str
    size_px: int
    mode: str


SCALINGS: dict[str, tuple[PerChannel, PerChannel, bool]] = {
    # mode, as Keras names it -> mean and std of R, G, B; channels reversed
    "tf": (127.5, 127.5, False),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "caffe": ((123.68, 116.779, 103.939), 1.0, True),
    "inside": (0.0, 1.0, False),  # layers of the network scale the pixels
}

_SIZES_PX = (224, 240, 260, 300, 380, 456, 528, 600)

NETWORKS = {
    "mobilenet": KerasNetwork("MobileNet", 224, "tf"),
    "mobilenet_v2": KerasNetwork("MobileNetV2", 224, "tf"),
    "mobilenetv3-small": KerasNetwork("MobileNetV3Small", 224, "inside"),
    "mobilenetv3-large": KerasNetwork("MobileNetV3Large", 224, "inside"),
    **{
        f"efficientnetb{number}": KerasNetwork(
            f"EfficientNetB{number}", size_px, "inside"
        )
        for number, size_px in enumerate(_SIZES_PX)
    },
    **{
        f"efficientnetv2-b{number}": KerasNetwork(
            f"EfficientNetV2B{number}", size_px, "inside"
        )
        for number, size_px in enumerate(_SIZES_PX[:4])
    },
    "efficientnetv2-s": KerasNetwork("EfficientNetV2S", 384, "inside"),
    "efficientnetv2-m": KerasNetwork("EfficientNetV2M", 480, "inside"),
    "efficientnetv2-l": KerasNetwork("EfficientNetV2L", 480, "inside"),
    **{
        f"convnext_{size.lower()}": KerasNetwork(f"ConvNeXt{size}", 224, "inside")
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    },
    **{
        f"densenet{depth}": KerasNetwork(f"DenseNet{depth}", 224, "torch")
        for depth in (121, 169, 201)
    },
    **{
        f"resnet{depth}": KerasNetwork(f"ResNet{depth}", 224, "caffe")
        for depth in (50, 101, 152)
    },
    **{
        f"resnet{depth}v2": KerasNetwork(f"ResNet{depth}V2", 224, "tf")
        for depth in (50, 101, 152)
    },
    "vgg16": KerasNetwork("VGG16", 224, "caffe"),
    "vgg19": KerasNetwork("VGG19", 224, "caffe"),
    "nasnetmobile": KerasNetwork("NASNetMobile", 224, "tf"),
    "nasnetlarge": KerasNetwork("NASNetLarge", 331, "tf"),
    "inception_resnet_v2": KerasNetwork("InceptionResNetV2", 299, "tf"),
    "inception_v3_keras": KerasNetwork("InceptionV3", 299, "tf"),  # not that of 2015
    "xception": KerasNetwork("Xception", 299, "tf"),
}
