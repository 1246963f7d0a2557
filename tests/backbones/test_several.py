"""Networks side by side: one graph, one size, no network twice."""

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME, pixel_graph
from poets.config import RetrainConfig
from poets.errors import ConfigError
from poets.flags import config_from_args
from poets.system.runtime import tf, v1

BOTH = "mobilenet_0.25_128+scattering_128"


def load(architecture, model_dir):
    return load_backbone(
        RetrainConfig(architecture=architecture, model_dir=str(model_dir))
    )


def run(backbone, pixels):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.import_graph_def(v1.GraphDef.FromString(pixel_graph(backbone)), name="")
        return session.run(f"{OUTPUT_NAME}:0", {f"{PIXELS_NAME}:0": pixels})


def test_features_are_those_of_each_side_by_side(model_dir):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 128, 128, 3))
    both = load(BOTH, model_dir)
    alone = [run(load(name, model_dir), pixels) for name in BOTH.split("+")]
    np.testing.assert_allclose(
        run(both, pixels), np.concatenate(alone, axis=1), atol=1e-4
    )
    assert both.bottleneck_size == 1001 + 1194
    assert [part.name for part in both.parts] == BOTH.split("+")
    assert load(BOTH, model_dir).digest == both.digest


def test_networks_of_different_sizes_are_refused(model_dir):
    with pytest.raises(
        ConfigError,
        match="different sizes: mobilenet_0.25_128 128 px, scattering_96 96 px; name",
    ):
        load("mobilenet_0.25_128+scattering_96", model_dir)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"architecture": "scattering_96+Scattering_96"}, "a network is named twice"),
        (
            {"architecture": "scattering_96+scatering_128"},
            "did you mean 'scattering_128'?",
        ),
        (
            {"architecture": BOTH, "fine_tune_steps": 1},
            "cannot be fine-tuned: it is several networks; use one of them",
        ),
    ],
)
def test_wrong_combinations_are_found_in_the_flags(flags, expected):
    with pytest.raises(ConfigError) as caught:
        config_from_args({"image_dir": "flowers", **flags})
    assert expected in str(caught.value)


def test_names_are_written_as_they_are_known():
    config = config_from_args({"image_dir": "x", "architecture": BOTH.upper()})
    assert config.architecture == BOTH
