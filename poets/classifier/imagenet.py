"""The ImageNet network of the original actor: Inception of 2015, with its labels.

model_dir/inception-2015-12-05.tgz                     as published, or unpacked:
model_dir/classify_image_graph_def.pb                  1008 scores
model_dir/imagenet_2012_challenge_label_map_proto.pbtxt    node 169 ─> n02510455
model_dir/imagenet_synset_to_human_label_map.txt       n02510455 ─> giant panda, ...
model_dir/cropped_panda.jpg                            the picture by default
"""

import posixpath
import re
from collections.abc import Sequence

from poets.errors import ModelError
from poets.storage import exists, folder_of, join, read_url

MODEL_DIR = "/tmp/imagenet"
ARCHIVE = "inception-2015-12-05.tgz"
GRAPH = "classify_image_graph_def.pb"
SYNSETS = "imagenet_2012_challenge_label_map_proto.pbtxt"
NAMES = "imagenet_synset_to_human_label_map.txt"
FILES = (GRAPH, SYNSETS, NAMES)
PANDA = "cropped_panda.jpg"

NODES = 1008
"""Outputs of the network. Those without a synset are never trained."""

SYNSET = re.compile(r'target_class: (\d+)\s+target_class_string: "(n\d+)"')


def unpack(model_dir: str, site: str, files: Sequence[str] = FILES) -> str:
    """Unpacks missing files into the folder of the archive; returns the graph's URL.

    If the archive is missing, too, it is downloaded from image/imagenet/ of the site.

    Raises:
      ModelError: if the archive is damaged, or cannot be downloaded.
      StorageError: if a file cannot be read or written.
    """
    missing = [name for name in files if not exists(join(model_dir, name))]
    if missing:
        # Not for each picture: they take a while to import.
        from poets.backbones.archives import read_member
        from poets.backbones.download import download
        from poets.storage.publish import write_atomically

        packed, url = join(model_dir, ARCHIVE), f"{site}/image/imagenet/{ARCHIVE}"
        content = read_url(packed) if exists(packed) else download(url, packed, None)
        for name in missing:
            data = read_member(content, name, packed)
            write_atomically(join(model_dir, name), data)
    return join(model_dir, GRAPH)


def labels_beside(graph: str) -> tuple[str, ...]:
    """Returns the names of the 1008 outputs, "" for those without a synset.

    Args:
      graph: the URL of a graph; () is returned if it is not this network, with its two
        label files beside it.

    Raises:
      ModelError: if a file is not what it should be.
      StorageError: if it cannot be read.
    """
    nodes, names = (join(folder_of(graph), name) for name in (SYNSETS, NAMES))
    if posixpath.basename(graph) != GRAPH or not exists(nodes):
        return ()
    human = dict(
        line.split("\t", 1) for line in _text(names).splitlines() if "\t" in line
    )
    labels = [""] * NODES
    found = SYNSET.findall(_text(nodes))
    for node, synset in found:
        if int(node) >= NODES or synset not in human:
            raise ModelError(
                f"{nodes!r} gives node {node} the synset {synset!r}, which is not in "
                f"{names!r}; unpack both from {ARCHIVE}"
            )
        labels[int(node)] = human[synset]
    if not found:
        raise ModelError(f"no synsets in {nodes!r}; unpack it from {ARCHIVE} again")
    return tuple(labels)


def _text(url: str) -> str:
    try:
        return read_url(url).decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{url!r} is not UTF-8 text: {error}") from error
