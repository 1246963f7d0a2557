"""Reads the tensors of a PyTorch weights file (`.pth`), without PyTorch.

    pickles   magic number, version, type sizes, {name: tensor}, [key of a storage, ...]
    storages  int64 count, values; in the order of the keys

This is the format of `torch.save` before 1.6. A pickle is a program that may call any
function it can import. Here it can import four names, which become an `OrderedDict`,
two names of types and a function that only records its arguments. All other names are
refused, and a storage is only a record, so nothing else can be called.
"""

import io
import math
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from poets.errors import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _Storage(NamedTuple):
    dtype: str
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns what replaces a name; all but four are refused."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # Made for this call: a pickle can set attributes of what it is given.
            return lambda *fields: _Tensor(*fields[:4])
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise pickle.UnpicklingError(
            f"it names {module}.{name}, which is not part of a tensor"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the record of ("storage", type, key, device, size, view)."""
        _, dtype, key, _, _, _ = pid
        return _Storage(dtype, key)


def read_tensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a weights file by name; messages name its `source`.

    Raises:
      ModelError: if it is not a whole file of tensors in this format.
    """
    try:
        return _read(io.BytesIO(data))
    except Exception as error:  # a damaged pickle raises anything
        why = str(error) or type(error).__name__
        raise ModelError(
            f"cannot read {source}: its {len(data)} bytes are not weights as PyTorch "
            f"wrote them before 1.6: {why}; fetch the file again"
        ) from error


def _read(file: io.BytesIO) -> dict[str, np.ndarray]:
    found = [_Unpickler(file).load() for _ in range(2)]
    if found != [MAGIC, VERSION]:
        raise ValueError("the magic number or the version differs")
    _Unpickler(file).load()  # the type sizes of the writing machine
    tensors, keys = _Unpickler(file).load(), _Unpickler(file).load()
    dtypes = {each.storage.key: each.storage.dtype for each in tensors.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        values = file.read(count * np.dtype(dtypes[key]).itemsize)
        storages[key] = np.frombuffer(values, dtypes[key])
        if len(storages[key]) != count:
            raise ValueError("it ends too early")
    return {
        name: _view(each, storages[each.storage.key]) for name, each in tensors.items()
    }


def _view(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """Returns a tensor of any strides: PyTorch keeps transposed ones as they are."""
    offset, sizes, strides = tensor.offset, tensor.sizes, tensor.strides
    last = offset + sum(
        (size - 1) * stride for size, stride in zip(sizes, strides, strict=True)
    )
    numbers = (offset, *sizes, *strides)
    if min(numbers) < 0 or max(last + 1, math.prod(sizes)) > len(storage):
        raise ValueError("a tensor exceeds its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(
        storage[offset:], sizes, steps, writeable=False
    )
