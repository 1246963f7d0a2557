"""A backbone that needs no download: wavelet scattering of light and colour.

    pixels ─┬─ light, chroma ──> |Morlet| ──┬────────────────> mean in 2 x 2   edges
            │    (4 octaves)                └──> |Morlet| ───> mean            2nd layer
            └─ 27 colour maps ─┬─────────────────────────────> mean in 2 x 2   histogram
                               ├──> |Morlet| (4 octaves) ────> mean            shapes
                               └──> times their neighbours ──> mean            pairs

and the logarithm of it all is the bottleneck. Nothing in it is learnt. The filters are
Morlet wavelets, and a layer is a convolution, the modulus and local averages (Bruna and
Mallat, "Invariant scattering convolution networks", PAMI 2013). The colour histogram is
soft: each pixel is shared among 27 colours, which makes 27 maps, scattered like light.
The pairs are a colour correlogram (Huang et al., CVPR 1997) at one distance. In the
logarithm, contrast is an offset, which a linear head can learn to pass over.

The graph is written node by node, without the attributes that have defaults: it loads
in TensorFlow 1.5 as in today's, converts to LiteRT's builtin operations, and is the
same bytes from every TensorFlow, as its digest names the features in the store.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poets.backbones import Backbone
from poets.config import RetrainConfig
from poets.errors import ConfigError
from poets.runtime import tf, v1

INPUT_NAME = "input"
BOTTLENECK_NAME = "Scattering/features"
SIZES_PX = (96, 128, 160, 224)
BOTTLENECK_SIZE = 1194

OCTAVES = 4
LIGHT = np.array([[0.299, 0.587, 0.114]])  # luma of R, G, B (ITU-R BT.601)
CHROMA = np.array([[0.5, -0.419, -0.081], [-0.169, -0.331, 0.5]])  # Cr, Cb of the same

# A grid of colours in RGB; at this softness a pixel belongs to its neighbours as well.
COLOURS = np.array(list(itertools.product((-2 / 3, 0, 2 / 3), repeat=3)))
COLOUR_SOFTNESS = 0.45
NEIGHBOURHOOD_PX = 5  # of the colour maps, which have a quarter of the image's size

# About a tenth of a usual average. It keeps the logarithm finite, on black as well.
FLOOR = 1e-3


def load(config: RetrainConfig) -> Backbone:
    """Returns the backbone that `--architecture=scattering_<size>` names.

    Raises:
      ConfigError: if there is none of this size.
    """
    name = config.architecture
    size_px = {f"scattering_{size}": size for size in SIZES_PX}.get(name)
    if size_px is None:
        raise ConfigError(
            f"no backbone {name!r}: scattering networks take images of "
            f"{', '.join(map(str, SIZES_PX))} pixels; use scattering_128"
        )
    return Backbone(
        name=name,
        graph=scattering_graph(size_px),
        input_name=INPUT_NAME,
        bottleneck_name=BOTTLENECK_NAME,
        image_size_px=size_px,
        bottleneck_size=BOTTLENECK_SIZE,
        mean=127.5,
        std=127.5,
    )


def scattering_graph(size_px: int) -> bytes:
    """Returns the network for images of one size, the same bytes each time.

    Args:
      size_px: width and height S of the images, one of `SIZES_PX`.

    Returns:
      A serialised GraphDef without variables, from `input`, float32 [N, S, S, 3] with
      pixels in [-1, 1], to `Scattering/features`, float32 [N, 1194], none below log 1e-3.
    """
    graph = _Graph()
    octaves = [graph.placeholder(INPUT_NAME, size_px, channels=3)]
    for octave in range(1, OCTAVES):
        octaves.append(graph.halve(f"Scattering/image_{octave}", octaves[-1]))
    averages = graph.concat(
        "Scattering/averages", _scatter_light(graph, octaves) + _colours(graph, octaves[2])
    )
    floor = np.full(BOTTLENECK_SIZE, FLOOR)
    graph.add("Log", BOTTLENECK_NAME, graph.bias("Scattering/floor", averages, floor))
    return graph.serialise()


def _scatter_light(graph: "_Graph", octaves: Sequence["_Maps"]) -> list[str]:
    """Adds two layers of wavelets over light and one over chroma.

    Returns:
      Nodes of 224 averages of the edges in each direction, by quarter of the image, and
      of 52 that say how edges of all directions are arranged.
    """
    averages = []
    for octave, image in enumerate(octaves):
        name = f"Scattering/light_{octave}"
        stride = 2 if octave < 2 else 1  # fine octaves have pixels to spare
        light = graph.modulus(name, image, _wavelets(7, 8, LIGHT), stride)
        averages.append(graph.average(name, light, grid=2))
        if octave > 0:  # JPEG keeps chroma at half the size
            chroma_name = f"Scattering/chroma_{octave}"
            chroma = graph.modulus(chroma_name, image, _wavelets(7, 4, CHROMA), stride)
            averages.append(graph.average(chroma_name, chroma, grid=2))
        edges = graph.convolve(f"{name}/edges", light, np.ones((1, 1, 8, 1)))
        if octave < 3:
            edges = graph.halve(f"{name}/edges/half", edges)
        for scale in range(4 if octave == 0 else 3):
            second_name = f"{name}/second_{scale}"
            second = graph.modulus(second_name, edges, _wavelets(5, 4, [[1.0]]))
            averages.append(graph.average(second_name, second))
            edges = graph.halve(f"{second_name}/half", edges)
    return averages


def _colours(graph: "_Graph", image: "_Maps") -> list[str]:
    """Adds the colour maps and what is made of them.

    Returns:
      Nodes of 108 averages, the histogram by quarter of the image; of 378, how much of
      each colour is near each; and of 432, the first layer of wavelets over each map.
    """
    colours, size = len(COLOURS), image.size_px
    # Shares of exp(-|pixel - colour|^2 / 2 s^2), in which |pixel|^2 cancels out.
    weights = COLOURS.T[None, None] / COLOUR_SOFTNESS**2
    bias = -(COLOURS**2).sum(axis=1) / (2 * COLOUR_SOFTNESS**2)
    scores = graph.convolve("Scattering/colour/scores", image, weights)
    biased = graph.bias("Scattering/colour/biased", scores.node, bias)
    shares = graph.add("Softmax", "Scattering/colour", biased)
    maps = _Maps(shares, size, colours)
    averages = [graph.average("Scattering/colour", maps, grid=2)]

    window = graph.pool("Scattering/near", maps, NEIGHBOURHOOD_PX, stride=1)
    here = graph.reshape("Scattering/pairs/here", shares, size**2, colours)
    near = graph.reshape("Scattering/pairs/near", window.node, size**2, colours)
    sums = graph.add("BatchMatMul", "Scattering/pairs/sums", here, near, adj_x=True)
    pairs = graph.reshape("Scattering/pairs/flat", sums, colours**2)
    averages.append(graph.pick_and_scale("Scattering/pairs", pairs, size))

    # Each map becomes a picture of its own: one small bank of filters serves all.
    order = graph.constant("Scattering/maps/order", np.array([0, 3, 1, 2], np.int32))
    turned = graph.add("Transpose", "Scattering/maps/turned", shares, order)
    maps = _Maps(graph.reshape("Scattering/maps", turned, size, size, 1), size, 1)
    for octave in range(OCTAVES):
        name = f"Scattering/maps_{octave}"
        shapes = graph.modulus(name, maps, _wavelets(7, 4, [[1.0]]))
        averages.append(graph.average(name, shapes, pictures=colours))
        maps = graph.halve(f"{name}/half", maps)
    return averages
