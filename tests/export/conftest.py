"""A trained model to export, and test images with its scores."""

import functools
import importlib

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.backbones.graph import pixel_graph
from poets.data.images import decode, resize
from poets.export import TrainedModel
from poets.export.verify import Samples
from poets.features.engines import load_engine
from poets.flags import config_from_args
from poets.formats import FORMATS
from poets.head import Head
from tests import retraining

LABELS = ("daisy", "roses", "tulips")


@pytest.fixture(scope="session")
def small_model():
    """A classifier of three labels."""
    args = {"image_dir": "unused", "architecture": "scattering_96"}
    backbone = load_backbone(config_from_args(args))
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((backbone.bottleneck_size, 3)).astype(np.float32)
    head = Head(weights, np.zeros(3, np.float32))
    return TrainedModel(backbone, head, "final_result", LABELS)


@pytest.fixture(scope="session")
def built_as(small_model, tmp_path_factory):
    """Returns the path of the small model's export in a format, built once."""

    @functools.cache
    def build(name):
        row = FORMATS[name]
        folder = tmp_path_factory.mktemp(name)
        path = folder / f"model{''.join(row.suffixes[:1])}"
        importlib.import_module(row.exporter).build(small_model, str(path))
        return path

    return build


@pytest.fixture(scope="session")
def samples_of(small_model, tmp_path_factory):
    """Returns a function from a head to test images with its scores."""
    rng = np.random.default_rng(3)
    contents = [retraining.jpeg(rng, number % 3) for number in range(6)]
    path = tmp_path_factory.mktemp("engine") / "backbone.pb"
    path.write_bytes(pixel_graph(small_model.backbone))
    pictures = [resize(decode(data), 96) for data in contents]
    bottlenecks = load_engine("tensorflow", str(path)).run(pictures)
    paths = [f"daisy/{number}.jpg" for number in range(len(contents))]
    return lambda head: Samples(paths, contents, head.probabilities(bottlenecks))
