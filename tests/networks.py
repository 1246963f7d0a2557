"""A backbone with random weights as the engines load it, and pictures for it."""

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.features.models import networks_of
from poets.features.network import Network as Computed
from poets.features.process import Spec
from poets.flags import config_from_args
from tests.models import write_mobilenet_archive
from tests.retraining import jpeg


class Network:
    """A random MobileNet as both engines load it.

    Attributes:
      size: D.
      paths: the model of each engine.
    """

    def __init__(self, folder):
        write_mobilenet_archive(folder, size_px=128)
        args = {"image_dir": "unused", "architecture": "mobilenet_0.25_128"}
        args["model_dir"] = str(folder)
        self.paths = {}
        for engine in ("litert", "tensorflow"):
            config = config_from_args({**args, "engine": engine})
            backbone = load_backbone(config)
            (computed,) = networks_of(config, backbone, str(folder))
            self.paths[engine] = computed.model_path
        self.size = backbone.bottleneck_size

    def spec(self, image_dir, store, engine="litert", distortions=None):
        computed = Computed(str(store), engine, self.paths[engine], self.size)
        return Spec(str(image_dir), (computed,), distortions, False)


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    return Network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def pictures():
    rng = np.random.default_rng(1)
    return [jpeg(rng, number % 3) for number in range(40)]
