"""Loads the networks of the original `--architecture` names from their archives.

    model_dir/mobilenet_v1_0.25_128_frozen.tgz                 as published (2017)
    model_dir/mobilenet_v1_0.25_128/frozen_graph.pb            or already unpacked
    model_dir/inception-2015-12-05.tgz
    model_dir/classify_image_graph_def.pb

Files that exist are used offline; a missing archive is downloaded once.
"""

import hashlib
import importlib
import io
import logging
import posixpath
import tarfile
import zlib

from poets.backbones import Backbone
from poets.backbones.graph import bottleneck_size, cut
from poets.config import RetrainConfig
from poets.errors import ModelError
from poets.storage import exists, join, read_url

logger = logging.getLogger(__name__)

SHA256 = {  # of the archives that were available when this was written
    "mobilenet_v1_0.25_128_frozen.tgz": (
        "30af63cf9039861bc03f86c7b8092fab754d51b27f042830c456ddbfa2b72fce"
    ),
    "mobilenet_v1_0.25_224_frozen.tgz": (
        "1cddeede49eb35af36061aaa66bf643b81f7ea89abc85f6ffef8f0bf00891756"
    ),
}
INCEPTION = "image/imagenet/inception-2015-12-05.tgz"
MAX_GRAPH_BYTES = 2**30


def load(config: RetrainConfig) -> Backbone:
    """Returns the backbone that `--architecture` names.

    Raises:
      ModelError: if its archive is damaged, or missing and cannot be downloaded.
    """
    name = config.architecture.removesuffix("_quantized")
    graph_file = "frozen_graph.pb"
    if name != config.architecture:
        graph_file = "quantized_graph.pb"
        logger.info(
            "%s: its 8-bit weights are converted to float32", config.architecture
        )
    if name == "inception_v3":
        archive, member = INCEPTION, "classify_image_graph_def.pb"
        ends = "Mul", "pool_3/_reshape"
        size_px, middle = 299, 128.0
        bottleneck_input_name = "input/BottleneckInputPlaceholder"
    else:
        _, width, size = name.split("_")
        stem = f"mobilenet_v1_{width}_{size}"
        archive, member = f"{stem}_frozen.tgz", f"{stem}/{graph_file}"
        ends = "input", "MobilenetV1/Predictions/Reshape"
        size_px, middle = int(size), 127.5
        bottleneck_input_name = "input_1/BottleneckInputPlaceholder"
    data, source = _graph_file(config, archive, member)
    graph = cut(data, *ends, size_px, source)
    return Backbone(
        name=config.architecture,
        graph=graph,
        input_name=ends[0],
        bottleneck_name=ends[1],
        image_size_px=size_px,
        bottleneck_size=bottleneck_size(graph, ends[1], source),
        mean=middle,
        std=middle,
        bottleneck_input_name=bottleneck_input_name,
    )


def _graph_file(config: RetrainConfig, archive: str, member: str) -> tuple[bytes, str]:
    """Returns the content of a graph's file, and where it was found.

    The path of the archive is below `model_url`, the member's in the archive.
    """
    unpacked = join(config.model_dir, member)
    if exists(unpacked):
        return read_url(unpacked), unpacked
    name = posixpath.basename(archive)
    packed = join(config.model_dir, name)
    if exists(packed):
        content = read_url(packed)
        _check_digest(content, name, packed)
    else:
        remote = f"{config.model_url.rstrip('/')}/{archive}"
        download = importlib.import_module("poets.backbones.download").download
        content = download(remote, packed, SHA256.get(name))
    return read_member(content, member, packed), f"{packed}:{member}"


def _check_digest(content: bytes, archive: str, packed: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if archive in SHA256 and found != SHA256[archive]:
        logger.warning(
            "%s is not the published archive: SHA-256 %s, published %s",
            packed,
            found,
            SHA256[archive],
        )


def read_member(content: bytes, member: str, source: str) -> bytes:
    """Returns one file of a tgz archive, without unpacking the others.

    Raises:
      ModelError: if the archive is damaged, or the file is not in it.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for entry in archive:
                if entry.name.removeprefix("./") != member or not entry.isreg():
                    continue
                if entry.size > MAX_GRAPH_BYTES:
                    raise ModelError(
                        f"{source}: {member} is {entry.size} bytes, too large a graph"
                    )
                file = archive.extractfile(entry)
                return file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ModelError(
            f"the archive {source} is damaged ({len(content)} bytes: {error}); remove "
            "it to download it again, or replace it by a whole one"
        ) from error
    raise ModelError(f"the archive {source} does not hold {member!r}; fetch it again")
