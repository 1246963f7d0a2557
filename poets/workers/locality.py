"""Gives Spark the hosts that hold the pictures of a task, so that it runs there.

    packs ──the driver's JVM──> blocks of HDFS and their hosts ──> hosts of a chunk
    tasks, each with hosts ──> an RDD with preferred locations ──> Spark's scheduler

PySpark's `parallelize` takes no hosts. Scala's `makeRDD` does, and its elements may be
pickled tasks, as those of `parallelize` are.
"""

import logging
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import RDD, CPickleSerializer

from poets.data.packs import suffix_of_pack
from poets.features.chunks import Chunk
from poets.features.process import Spec
from poets.storage import open_storage
from poets.storage.hadoop.conf import HadoopConf
from poets.workers.delegation import root_of

logger = logging.getLogger(__name__)

Hosts = tuple[str, ...]
Block = tuple[int, int, Hosts]
"""The first byte, the length and the hosts of a block of HDFS."""


class PackHosts:
    """The hosts of packs on HDFS; each pack is asked for once.

    `context` is the `SparkContext`, whose JVM is a client of HDFS.
    """

    def __init__(self, spec: Spec, conf: HadoopConf, context: Any) -> None:
        self._packs, self._context = spec.packs, context
        root = root_of(spec.image_dir, conf) if spec.packs else ""
        self._url = root + open_storage(spec.image_dir)[1].lstrip("/") if root else ""
        self._blocks: dict[int, list[Block]] = {}

    def of(self, chunk: Chunk) -> Hosts:
        """Returns the hosts that hold a chunk, by the picture in its middle."""
        place = chunk[len(chunk) // 2].place
        if place is None or not self._url:
            return ()
        if place.pack not in self._blocks:
            self._blocks[place.pack] = self._ask(place.pack)
        pack = self._packs[place.pack]
        is_row = suffix_of_pack(pack.path or self._url) == ".parquet"
        return hosts_at(self._blocks[place.pack], None if is_row else place.start)

    def _ask(self, number: int) -> list[Block]:
        """Returns the blocks of a pack; none if the NameNode does not answer."""
        pack = self._packs[number]
        url = f"{self._url}/{pack.path}" if pack.path else self._url
        path = self._context._jvm.org.apache.hadoop.fs.Path(url)
        try:
            filesystem = path.getFileSystem(self._context._jsc.hadoopConfiguration())
            found = filesystem.getFileBlockLocations(path, 0, pack.length)
            return [
                (each.getOffset(), each.getLength(), (*dict.fromkeys(each.getHosts()),))
                for each in found
            ]
        except Py4JJavaError as error:
            logger.warning("Spark cannot run near %s: %s", url, error.java_exception)
            self._url = ""
            return []


def hosts_at(blocks: Sequence[Block], start: int | None) -> Hosts:
    """Returns the hosts of the block with a byte.

    If the byte is unknown, as in Parquet, where places are rows, it returns the hosts
    that hold more than half of all blocks.
    """
    if start is not None:
        found = (
            hosts for first, size, hosts in blocks if first <= start < first + size
        )
        return next(found, ())
    held: Counter[str] = Counter()
    for _, size, hosts in blocks:
        held.update(dict.fromkeys(hosts, size))
    half = sum(size for _, size, _ in blocks) / 2
    return tuple(host for host in held if held[host] > half)


def rdd_of(tasks: Sequence[tuple[object, Hosts]], context: Any) -> RDD[Any]:
    """Returns an RDD with a partition for each task, which prefers the task's hosts."""
    if not any(hosts for _, hosts in tasks):
        return context.parallelize([task for task, _ in tasks], len(tasks))
    jvm = context._jvm
    sequence = jvm.org.apache.spark.api.python.PythonUtils.toSeq
    pairs = [
        jvm.scala.Tuple2(pickle.dumps(task), sequence(list(hosts)))
        for task, hosts in tasks
    ]
    kind = jvm.scala.reflect.ClassTag.Any()
    made = context._jsc.sc().makeRDD(sequence(pairs), kind)
    java_rdd = jvm.org.apache.spark.api.java.JavaRDD.fromRDD(made, kind)
    return RDD(java_rdd, context, CPickleSerializer())
