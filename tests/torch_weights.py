"""A look-alike of EfficientNet-Lite0's weights file, with random weights.

The format, the names and the shapes are those of the published file, and so are its
transposed strides. PyTorch is not needed.
"""

import io
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np

from poets.backbones.efficientnet import BOTTLENECK_SIZE, FILE, STAGES
from poets.backbones.torch_file import MAGIC, VERSION

CLASSES = 1000
STORAGES = {"f": "FloatStorage", "i": "LongStorage"}


class Stored(tuple):
    """What PyTorch writes as ("storage", type, key, device, count, view)."""


class Rebuilt:
    """What PyTorch writes as a call of `_rebuild_tensor_v2`."""

    def __init__(self, function, key, storage, tensor):
        strides = tuple(each // tensor.itemsize for each in tensor.strides)
        stored = Stored(("storage", storage, key, "cpu", tensor.size, None))
        self.call = function, (stored, 0, tensor.shape, strides, False, OrderedDict())

    def __reduce__(self):
        return self.call


class Pickler(pickle.Pickler):
    def persistent_id(self, found):
        return tuple(found) if isinstance(found, Stored) else None


def torch_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    """Returns tensors as `torch.save` wrote them before 1.6; strides stay as they are.

    Args:
      tensors: arrays whose elements fill one block of memory, in any order of axes.
    """
    names = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("u")}

    def rebuild() -> None:
        """A function of this name is what a pickle asks for."""

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    names["torch._utils"]._rebuild_tensor_v2 = rebuild
    for name in STORAGES.values():
        setattr(names["torch"], name, type(name, (), {"__module__": "torch"}))
    file = io.BytesIO()
    state = OrderedDict()
    for number, (name, tensor) in enumerate(tensors.items()):
        storage = getattr(names["torch"], STORAGES[tensor.dtype.kind])
        state[name] = Rebuilt(rebuild, str(number), storage, tensor)
    state._metadata = OrderedDict(version=1)
    keys = [str(number) for number in range(len(tensors))]
    sizes = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}
    with mock.patch.dict(sys.modules, names):
        for each in (MAGIC, VERSION, sizes, state, keys):
            Pickler(file, protocol=2).dump(each)
    for tensor in tensors.values():
        file.write(tensor.size.to_bytes(8, "little"))
        order = np.argsort(tensor.strides)[::-1]
        file.write(np.ascontiguousarray(tensor.transpose(order)).tobytes())
    return file.getvalue()


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Returns tensors of the network's names and shapes, kernels as it has them."""
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def layer(name: str, norm: str, out: int, given: int, width: int = 1) -> None:
        kernel = random.normal(
            0, (given * width**2) ** -0.5, (width, width, given, out)
        )
        tensors[f"{name}.weight"] = kernel.astype(np.float32).transpose(3, 2, 0, 1)
        for part, low, high in (
            ("weight", 1.0, 1.5),
            ("bias", 0.0, 0.5),
            ("running_mean", -0.1, 0.1),
            ("running_var", 0.3, 0.6),
        ):
            values = random.uniform(low, high, out).astype(np.float32)
            tensors[f"{norm}.{part}"] = values
        tensors[f"{norm}.num_batches_tracked"] = np.array(7)

    layer("_conv_stem", "_bn0", 32, 3, 3)
    channels, number = 32, 0
    for kernel, _, expansion, out, blocks in STAGES:
        for _ in range(blocks):
            block, wide = f"_blocks.{number}", channels * expansion
            if expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", wide, channels)
            layer(f"{block}._depthwise_conv", f"{block}._bn1", wide, 1, kernel)
            layer(f"{block}._project_conv", f"{block}._bn2", out, wide)
            channels, number = out, number + 1
    layer("_conv_head", "_bn1", BOTTLENECK_SIZE, channels)
    tensors["_fc.weight"] = random.normal(0, 1, (CLASSES, BOTTLENECK_SIZE)).astype("f4")
    tensors["_fc.bias"] = np.zeros(CLASSES, np.float32)
    return tensors


def write_efficientnet_weights(folder: Path) -> Path:
    """Writes random weights under the name of the published ones."""
    path = folder / FILE
    path.write_bytes(torch_bytes(random_tensors()))
    return path
