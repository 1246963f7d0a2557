"""A backbone that needs no download: wavelet scattering of light and colour.

    pixels ─┬─ light, chroma ──> |Morlet| ──┬────────────────> mean in 2 x 2   edges
            │    (4 octaves)                └──> |Morlet| ───> mean            2nd layer
            └─ 27 colour maps ─┬─────────────────────────────> mean in 2 x 2   histogram
                               ├──> |Morlet| (4 octaves) ────> mean            shapes
                               └──> times their neighbours ──> mean            pairs

The bottleneck is the logarithm of all these. Nothing is learnt. The filters are Morlet
wavelets; a layer is a convolution, the modulus and local averages (Bruna and Mallat,
"Invariant scattering convolution networks", PAMI 2013). The colour histogram is soft:
each pixel is shared among 27 colours, which gives 27 maps, scattered like light. The
pairs are a colour correlogram (Huang et al., CVPR 1997) at one distance. The logarithm
turns contrast into an offset, which a linear head can learn to ignore.

The graph loads in TensorFlow 1.5 and in current versions, and converts to LiteRT's
builtin operations.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from poets.backbones import Backbone
from poets.backbones.graph_writer import GraphWriter, Maps
from poets.config import RetrainConfig
from poets.system.runtime import tf

INPUT_NAME = "input"
BOTTLENECK_NAME = "Scattering/features"
BOTTLENECK_SIZE = 1194

OCTAVES = 4
FREQUENCY = 0.6 * np.pi  # of the waves, in radians a pixel
ONE = np.ones((1, 1))  # the only channel, unchanged
LIGHT = np.array([[0.299, 0.587, 0.114]])  # luma of R, G, B (ITU-R BT.601)
CHROMA = np.array([[0.5, -0.419, -0.081], [-0.169, -0.331, 0.5]])  # Cr, Cb of BT.601

# A grid of colours in RGB; at this softness a pixel also counts for nearby colours.
COLOURS = np.array(list(itertools.product((-2 / 3, 0, 2 / 3), repeat=3)))
COLOUR_SOFTNESS = 0.45
NEIGHBOURHOOD_PX = 5  # of the colour maps, which have a quarter of the image's size

# About a tenth of a usual average. It keeps the logarithm finite, even on black.
FLOOR = 1e-3


def load(config: RetrainConfig) -> Backbone:
    """Returns the backbone that `--architecture=scattering_<size>` names."""
    size_px = int(config.architecture.removeprefix("scattering_"))
    return Backbone(
        name=config.architecture,
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
      size_px: width and height S of the images, a multiple of 32.

    Returns:
      A serialised GraphDef without variables, from `input`, float32 [N, S, S, 3] with
      pixels in [-1, 1], to `Scattering/features`, float32 [N, 1194] from log 1e-3 on.
    """
    graph = _Graph()
    octaves = [graph.placeholder(INPUT_NAME, size_px, channels=3)]
    for octave in range(1, OCTAVES):
        octaves.append(graph.halve(f"Scattering/image_{octave}", octaves[-1]))
    averages = graph.concat(
        "Scattering/averages",
        _scatter_light(graph, octaves) + _colours(graph, octaves[2]),
    )
    floor = np.full(BOTTLENECK_SIZE, FLOOR)
    graph.add("Log", BOTTLENECK_NAME, graph.bias("Scattering/floor", averages, floor))
    return graph.serialise()


def _scatter_light(graph: "_Graph", octaves: Sequence["Maps"]) -> list[str]:
    """Adds two layers of wavelets over light and one over chroma.

    Returns:
      Nodes of 224 averages of the edges in each direction, by quarter of the image, and
      of 52 averages of the arrangement of edges in all directions.
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
        for scale in range(4 if octave == 0 else 3):
            second_name = f"{name}/second_{scale}"
            if scale > 0 or octave < 3:
                edges = graph.halve(f"{second_name}/edges", edges)
            second = graph.modulus(second_name, edges, _wavelets(5, 4, ONE))
            averages.append(graph.average(second_name, second))
    return averages


def _colours(graph: "_Graph", image: "Maps") -> list[str]:
    """Adds the colour maps, and the features computed from them.

    Returns:
      Nodes of 108 averages, the histogram by quarter of the image; of 378, the pairs of
      neighbouring colours; and of 432, the first layer of wavelets over each map.
    """
    colours, size = len(COLOURS), image.size_px
    # Shares of exp(-|pixel - colour|^2 / 2 s^2), in which |pixel|^2 cancels out.
    weights = COLOURS.T[None, None] / COLOUR_SOFTNESS**2
    bias = -(COLOURS**2).sum(axis=1) / (2 * COLOUR_SOFTNESS**2)
    scores = graph.convolve("Scattering/colour/scores", image, weights)
    pixels = graph.bias("Scattering/colour/pixels", scores.node, bias)
    # The Softmax of TensorFlow 1.5 takes only two dimensions.
    pixels = graph.reshape("Scattering/colour/flat", pixels, colours)
    pixels = graph.add("Softmax", "Scattering/colour/shares", pixels)
    shares = graph.reshape("Scattering/colour", pixels, size, size, colours)
    maps = Maps(shares, size, colours)
    averages = [graph.average("Scattering/colour", maps, grid=2)]

    window = graph.pool("Scattering/near", maps, NEIGHBOURHOOD_PX, stride=1)
    here = graph.reshape("Scattering/pairs/here", shares, size**2, colours)
    near = graph.reshape("Scattering/pairs/near", window.node, size**2, colours)
    sums = graph.add("BatchMatMul", "Scattering/pairs/sums", here, near, adj_x=True)
    sums = graph.reshape("Scattering/pairs/flat", sums, colours**2)
    # Red near green equals green near red: half of the table is enough.
    half = np.ravel_multi_index(np.triu_indices(colours), (colours, colours))
    picked = graph.pick("Scattering/pairs/half", sums, half)
    share = graph.constant("Scattering/pairs/factor", 1 / size**2)
    averages.append(graph.add("Mul", "Scattering/pairs", picked, share))

    # Each map becomes a picture of its own: one small bank of filters serves all.
    order = graph.constant("Scattering/maps/turned/order", (0, 3, 1, 2))
    turned = graph.add("Transpose", "Scattering/maps/turned", shares, order)
    maps = Maps(graph.reshape("Scattering/maps", turned, size, size, 1), size, 1)
    for octave in range(OCTAVES):
        name = f"Scattering/maps_{octave}"
        if octave > 0:
            maps = graph.halve(f"{name}/maps", maps)
        shapes = graph.modulus(name, maps, _wavelets(7, 4, ONE))
        averages.append(graph.average(name, shapes, pictures=colours))
    return averages


def _wavelets(width: int, angles: int, colours: np.ndarray) -> np.ndarray:
    """Returns the real parts, then the imaginary ones, of a bank of Morlet wavelets.

    A wavelet is a plane wave under a Gaussian that is longer along its crests, shifted
    to the mean 0 and scaled so that its magnitudes sum to 2.

    Args:
      width: pixels W of a filter, odd.
      angles: A directions, evenly spaced over half a turn.
      colours: [K, C], the mixtures of the C channels that are filtered.

    Returns:
      float64 [W, W, C, 2 K A].
    """
    spread = 0.55 + 0.15 * width
    crest_spread = spread / 0.6
    rows, columns = np.mgrid[:width, :width] - (width - 1) / 2
    bank = []
    for angle in np.pi * np.arange(angles) / angles:
        across = columns * np.cos(angle) + rows * np.sin(angle)
        along = rows * np.cos(angle) - columns * np.sin(angle)
        window = np.exp(-((across / spread) ** 2 + (along / crest_spread) ** 2) / 2)
        wave = np.exp(1j * FREQUENCY * across)
        wavelet = window * (wave - (window * wave).sum() / window.sum())
        bank.append(2 * wavelet / abs(wavelet).sum())
    mixed = np.einsum("ahw,kc->hwcka", np.array(bank), colours)
    mixed = mixed.reshape(width, width, -1, len(colours) * angles)
    return np.concatenate([mixed.real, mixed.imag], axis=-1)


class _Graph(GraphWriter):
    """Also writes the layers of a scattering network."""

    def constant(self, name: str, value: Any) -> str:
        """Adds a constant, rounded.

        The last bit of a sine differs between machines; the digest must not.
        """
        value = np.asarray(value)
        return super().constant(
            name, value.round(7) if value.dtype.kind == "f" else value
        )

    def pick(self, name: str, node: str, columns: np.ndarray) -> str:
        """Picks some columns of [N, D]."""
        indices = self.constant(f"{name}/columns", columns)
        axis = self.constant(f"{name}/axis", 1)
        picked = self.node("GatherV2", name, node, indices, axis)
        for attr, dtype in (("params", tf.float32), ("indices", tf.int32)):
            picked.attr[f"T{attr}"].type = dtype.as_datatype_enum
        picked.attr["Taxis"].type = tf.int32.as_datatype_enum
        return name

    def halve(self, name: str, maps: Maps) -> Maps:
        return self.pool(name, maps, width=2, stride=2)

    def modulus(
        self, name: str, maps: Maps, wavelets: np.ndarray, stride: int = 1
    ) -> Maps:
        """Adds a layer of the network: sqrt(real^2 + imaginary^2) of the wavelets."""
        both = self.convolve(f"{name}/wavelets", maps, wavelets, stride)
        squares = self.add("Square", f"{name}/squares", both.node)
        # Much faster in LiteRT than splitting the channels and adding the halves.
        sums = np.tile(np.eye(both.channels // 2), (2, 1))[None, None]
        squared = self.convolve(
            f"{name}/squared", Maps(squares, both.size_px, both.channels), sums
        )
        modulus = self.add("Sqrt", f"{name}/modulus", squared.node)
        return Maps(modulus, squared.size_px, squared.channels)

    def average(self, name: str, maps: Maps, grid: int = 1, pictures: int = 1) -> str:
        """Adds averages by tile, [N, pictures * grid * grid * channels]."""
        tile = maps.size_px // grid
        means = self.pool(f"{name}/means", maps, width=tile, stride=tile)
        features = pictures * grid**2 * maps.channels
        return self.reshape(f"{name}/features", means.node, features)
