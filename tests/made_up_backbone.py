"""A backbone of no family of ours: the mean colours of small squares."""

from poets.backbones import Backbone
from poets.system.runtime import tf, v1

SIZE_PX = 24
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Those of networks trained on ImageNet by PyTorch's recipes."""


def load(config):
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [None, SIZE_PX, SIZE_PX, 3], name="colours")
        squares = tf.nn.avg_pool2d(images, 6, 6, "VALID")
        tf.reshape(squares, [-1, 48], name="squares")
    return Backbone(
        name=config.architecture,
        graph=graph.as_graph_def().SerializeToString(deterministic=True),
        input_name="colours",
        bottleneck_name="squares",
        image_size_px=SIZE_PX,
        bottleneck_size=48,
        mean=MEAN,
        std=STD,
    )
