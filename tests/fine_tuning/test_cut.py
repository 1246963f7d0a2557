"""The cut before the last layers loses nothing, whatever the network."""

from dataclasses import replace

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.errors import ConfigError, ModelError
from poets.fine_tuning.layers import cut_before_last, with_constants
from poets.flags import config_from_args
from poets.system.runtime import v1
from tests.fine_tuning import network


@pytest.fixture(scope="module")
def small():
    return network.backbone()


@pytest.fixture(scope="module")
def mobilenet(model_dir):
    flags = {"image_dir": "unused", "model_dir": str(model_dir)}
    return load_backbone(
        config_from_args({**flags, "architecture": "mobilenet_0.25_128"})
    )


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (1, {"last/kernel", "last/bias"}),
        (2, {"last/kernel", "last/bias", "deep/kernel", "deep/bias"}),
    ],
)
def test_the_last_layers_are_those_behind_most_others(small, layers, expected):
    assert set(cut_before_last(small, layers).tail.constants) == expected


@pytest.mark.parametrize("layers", range(1, len(network.LAYERS) + 1))
def test_trunk_and_tail_together_are_the_network(small, layers):
    cut = cut_before_last(small, layers)
    images = network.pictures(7)
    features = network.run(cut.trunk, images)
    assert (
        features.shape == (7, cut.tail.feature_size) == (7, cut.trunk.bottleneck_size)
    )
    found = cut.tail.run(features, cut.tail.initial())
    assert np.allclose(found, network.run(small, images), atol=1e-6)


def test_branches_that_cross_the_cut_are_joined(small):
    """One of two layers that lie side by side is trained, the other is not."""
    tail = cut_before_last(small, 3).tail
    assert sorted(tail.shapes) == [(4, 4, 4), (8, 8, 4)]
    assert "right/kernel" in tail.constants
    assert "left/kernel" not in tail.constants


def test_normalisation_is_not_trained(small, mobilenet):
    every = cut_before_last(small, len(network.LAYERS)).tail.constants
    assert not {"gamma", "beta", "mean"} & set(every)
    assert "first/kernel" in every


def test_a_published_network_is_cut_before_its_last_three(mobilenet):
    cut = cut_before_last(mobilenet, 3)
    assert [name.split("/")[-2:] for name in cut.tail.constants][:3] == [
        ["Conv2d_13_depthwise", "depthwise_weights"],
        ["Conv2d_13_pointwise", "weights"],
        ["Conv2d_1c_1x1", "weights"],
    ]
    assert cut.tail.shapes == ((4, 4, 256),)
    assert cut.trunk.digest != mobilenet.digest
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 128, 128, 3)).astype(np.float32)
    features = network.run(cut.trunk, images)
    found = cut.tail.run(features, cut.tail.initial())
    assert np.allclose(found, network.run(mobilenet, images), atol=1e-4)


@pytest.mark.parametrize("layers", [6, 1000])
def test_more_layers_than_there_are_is_refused(small, layers):
    with pytest.raises(
        ConfigError,
        match=rf"--fine_tune_layers={layers}: small has 5 layers with weights that can "
        "be trained; give fewer",
    ):
        cut_before_last(small, layers)


def test_other_constants_make_another_network_of_the_same_form(small):
    before = cut_before_last(small, 2).tail.initial()
    same = with_constants(small, before)
    images = network.pictures(4)
    assert np.array_equal(network.run(same, images), network.run(small, images))
    doubled = {name: 2 * value for name, value in before.items()}
    other = with_constants(small, {"last/kernel": doubled["last/kernel"]})
    assert other.digest != small.digest
    assert not np.allclose(network.run(other, images), network.run(small, images))
    nodes = v1.GraphDef.FromString(small.graph).node
    assert [node.name for node in v1.GraphDef.FromString(other.graph).node] == [
        node.name for node in nodes
    ]


def test_a_graph_with_a_loop_is_refused(small):
    graph_def = v1.GraphDef.FromString(small.graph)
    again = graph_def.node.add(name="again", op="NextIteration", input=["bottleneck"])
    again.attr["T"].type = 1
    (node,) = (node for node in graph_def.node if node.name == "bottleneck")
    node.input[0] = "again"
    looped = replace(small, graph=graph_def.SerializeToString())
    with pytest.raises(
        ModelError,
        match="small cannot be fine-tuned: its graph has a loop through 'again'; leave",
    ):
        cut_before_last(looped, 1)
