"""Networks side by side: `--architecture=mobilenet_0.25_128+scattering_128`.

    images ─┬─> scaled ─> mobilenet_0.25_128 ─> [N, 1001] ─┬─> features [N, 2195]
            └─> scaled ─> scattering_128 ─────> [N, 1194] ─┘

The graph is for the exports, which take one picture. Each network has its own feature
store, where single networks also keep theirs.
"""

from collections.abc import Sequence

from poets.backbones import SIDE_BY_SIDE, Backbone
from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME, parse_graph, pixel_graph
from poets.errors import ConfigError
from poets.system.runtime import tf, v1

INPUT_NAME, BOTTLENECK_NAME = "images", "features"


def side_by_side(parts: Sequence[Backbone]) -> Backbone:
    """Returns networks as one backbone, whose pixels are not scaled before it.

    Raises:
      ConfigError: if they take pictures of different sizes: each picture is resized
        once, and a graph has one input.
    """
    name = SIDE_BY_SIDE.join(part.name for part in parts)
    sizes = {part.name: part.image_size_px for part in parts}
    if len({*sizes.values()}) > 1:
        shown = ", ".join(f"{part} {size} px" for part, size in sizes.items())
        raise ConfigError(
            f"--architecture={name!r}: the networks take pictures of different sizes: "
            f"{shown}; name networks of one size"
        )
    size_px = parts[0].image_size_px
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(
            tf.float32, [None, size_px, size_px, 3], name=INPUT_NAME
        )
        outputs = [
            v1.import_graph_def(
                parse_graph(pixel_graph(part), part.name),
                input_map={f"{PIXELS_NAME}:0": images},
                return_elements=[f"{OUTPUT_NAME}:0"],
                name=f"network_{number}",
            )[0]
            for number, part in enumerate(parts)
        ]
        tf.concat(outputs, axis=1, name=BOTTLENECK_NAME)
    used = v1.graph_util.extract_sub_graph(graph.as_graph_def(), [BOTTLENECK_NAME])
    return Backbone(
        name=name,
        graph=used.SerializeToString(deterministic=True),
        input_name=INPUT_NAME,
        bottleneck_name=BOTTLENECK_NAME,
        image_size_px=size_px,
        bottleneck_size=sum(part.bottleneck_size for part in parts),
        mean=0.0,
        std=1.0,
        parts=tuple(parts),
    )
