"""A format of no maker: a line with the labels, then a graph from pixels to scores."""

import json

import numpy as np

from poets.classifier import Classifier
from poets.data.images import decode, resize
from poets.export.graph import scoring_graph
from poets.export.verify import compare
from poets.storage import read_url
from poets.system.runtime import tf, v1


def build(model, path):
    with open(path, "wb") as file:
        file.write(json.dumps(model.labels).encode() + b"\n")
        file.write(scoring_graph(model).SerializeToString())


def check(path, model, samples):
    reader = load(path, None, None)
    return compare(
        "the made-up model", samples, lambda: reader.predict(samples.contents)
    )


def load(url, labels, normalization):
    return Reader(read_url(url))


class Reader(Classifier):
    def __init__(self, data):
        line, _, graph_def = data.partition(b"\n")
        self.labels = tuple(json.loads(line))
        with tf.Graph().as_default() as graph:
            v1.import_graph_def(v1.GraphDef.FromString(graph_def), name="")
        self.session = v1.Session(graph=graph)
        self.size_px = int(graph.get_tensor_by_name("pixels:0").shape[1])

    def score(self, data):
        pixels = [resize(decode(data), self.size_px)]
        return self.session.run("output:0", {"pixels:0": np.asarray(pixels)})[0]
