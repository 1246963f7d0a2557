"""A Spark executor's part: computes chunks beside Spark's Python process of one core.

    chief      Order: the spec, the model, tokens  ──broadcast──┐
               [Part, Part, ...]                   ──a task──┐  │
    executor   a process of ours (LiteRT)  <─────────────────┴──┘
                   ├──> parts of the store
                   └──> (path, reason) of images not read  ──> chief

Spark keeps its Python process from task to task, and that keeps ours. A picture that
kills our process is found and left out, see `pool`. TensorFlow is not imported.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import os
import platform
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.fs
from pyspark import Broadcast, SparkFiles, TaskContext

from poets.errors import PoetsError
from poets.features.pool import Part, Parts, Pool, Unread
from poets.features.process import Spec
from poets.features.store import list_parts
from poets.kerberos.settings import CACHE, KEYTAB, PRINCIPAL
from poets.kerberos.tokens import TOKEN_FILE
from poets.storage import open_storage, reason
from poets.storage.hadoop.conf import CONF_VARIABLE, FILES

NEEDED = ("ai_edge_litert", "simplejpeg", "PIL", "hdfs_native")
"""What a pass imports late; the rest is imported here."""

_ready: dict[str, Pool] = {}
"""The process of the last order, by its key."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What all tasks of a pass share.

    Attributes:
      spec: what to compute; the models of its networks are names of files.
      models: the content of these files, by name.
      hadoop_conf: the chief's configuration of HDFS; empty if it has none.
      tokens: a file of delegation tokens; empty without Kerberos.
    """

    spec: Spec
    models: Mapping[str, bytes] = dataclasses.field(repr=False)
    hadoop_conf: Mapping[str, str]
    tokens: bytes = dataclasses.field(repr=False)

    @functools.cached_property
    def key(self) -> str:
        """Equal if one process can serve both orders."""
        names = repr((sorted(self.models), sorted(self.hadoop_conf.items()))).encode()
        contents = *self.models.values(), names, self.tokens
        digests = [hashlib.sha256(data).digest() for data in contents]
        return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


def compute(order: "Broadcast[Order]", parts: list[Part]) -> Unread:
    """Computes the parts of one task; returns (path, reason) of images not read.

    After the first attempt, the parts in the store are left out.

    Raises:
      PoetsError: if the process does not start, or the store cannot be written.
    """
    spec, pool = _prepare(order.value)
    left, context = parts, TaskContext.get()
    if context is None or context.attemptNumber() > 0:
        left = not_stored(spec.store_url, parts)
    return pool.work_off(spec, Parts(left, lambda count: None))


def look(
    order: "Broadcast[Order]", url: str, number: int
) -> tuple[str, str, list[str], str]:
    """Tries what a task needs, for the doctor: modules, and listing `url` unless "".

    Returns:
      The executor's host, its version of Python, the modules that it lacks, and why
      `url` cannot be listed, or "".
    """
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    why = ""
    if url and not missing:
        _prepare(order.value)
        try:
            filesystem, path = open_storage(url)
            filesystem.get_file_info(pyarrow.fs.FileSelector(path))
        except (PoetsError, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
    return socket.gethostname(), platform.python_version(), missing, why


def not_stored(store_url: str, parts: Sequence[Part]) -> list[Part]:
    """Returns those parts of one pass that the store lacks; may raise StorageError."""
    length = len(parts[0].stem) if parts else 0  # the same of all
    stored = {name[:length] for name in list_parts(store_url)}
    return [part for part in parts if part.stem not in stored]


def _prepare(order: Order) -> tuple[Spec, Pool]:
    """Returns the spec with this machine's model, and the process, started if new."""
    key = order.key
    folder = Path(SparkFiles.getRootDirectory(), f"poets-{key}").absolute()
    if key not in _ready:
        for pool in _ready.values():
            pool.__exit__()
        _ready.clear()
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in order.models.items():
            _place(folder / name, content)
        os.environ.update(_environment(folder, order))
        if order.tokens:  # a principal would be preferred to them
            for name in (PRINCIPAL, KEYTAB, CACHE):
                os.environ.pop(name, None)
        _ready[key] = Pool(1)
    return order.spec.with_models(lambda name: str(folder / name)), _ready[key]


def _environment(folder: Path, order: Order) -> dict[str, str]:
    """Writes the files that give access to HDFS; returns the variables naming them."""
    variables = {}
    if order.tokens:
        _place(folder / "tokens", order.tokens)
        variables[TOKEN_FILE] = str(folder / "tokens")
    if order.hadoop_conf:
        for name in FILES:
            properties = order.hadoop_conf if name == FILES[0] else {}
            _place(folder / name, _site(properties))
        variables[CONF_VARIABLE] = str(folder)
    return variables


def _site(properties: Mapping[str, str]) -> bytes:
    root = ElementTree.Element("configuration")
    for name, value in properties.items():
        entry = ElementTree.SubElement(root, "property")
        ElementTree.SubElement(entry, "name").text = name
        ElementTree.SubElement(entry, "value").text = value
    return ElementTree.tostring(root)


def _place(path: Path, data: bytes) -> None:
    """Writes a file whole, with mode 0600; other cores may write the same one."""
    descriptor, part = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)
