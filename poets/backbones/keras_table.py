"""The networks of Keras Applications, and how each takes pixels."""

from itertools import cycle
from typing import NamedTuple

from poets.backbones import KERAS, PerChannel, expanded


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


NETWORKS = {
    name: KerasNetwork(function, size_px, mode)
    for names, functions, sizes_px, mode in KERAS
    for name, function, size_px in zip(
        expanded(names), expanded(functions), cycle(sizes_px), strict=False
    )
}

SCALINGS: dict[str, tuple[PerChannel, PerChannel, bool]] = {
    # mode, as Keras names it -> mean and std of R, G, B; channels reversed
    "tf": (127.5, 127.5, False),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "caffe": ((123.68, 116.779, 103.939), 1.0, True),
    "inside": (0.0, 1.0, False),  # layers of the network scale the pixels
}
