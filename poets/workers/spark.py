"""The executors of a Spark application compute a pass: `Workers` on Spark.

    chunks ──> jobs ──> tasks of some chunks ──Spark──> executors ──> parts of the store
                                                  └──> images not read

Spark schedules the tasks, repeats those that fail or are lost, and may run slow ones
twice. A repeated task leaves out what the store already has. There are no files of ours
between the tasks, and no heartbeats: the listing of the store shows the progress.
"""

import contextlib
import functools
import itertools
import logging
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from poets.cluster import ALONE, Cluster
from poets.errors import ConfigError, PoetsError
from poets.features.chunks import Chunk
from poets.features.pool import Advance, Part, Pool, Unread
from poets.features.process import Spec
from poets.features.store import part_stem, remove_marks
from poets.storage.hadoop.conf import load_conf
from poets.workers.delegation import tokens_for
from poets.workers.executor import Order, compute, not_stored
from poets.workers.locality import Hosts, PackHosts, rdd_of

logger = logging.getLogger(__name__)

MAX_TASK = 32
"""Chunks in a task. Between two tasks an executor's process has nothing to do."""

MAX_JOB = 8192
"""Chunks in a job of Spark: a chunk takes 84 kB of the driver until its job ends."""

LIST_EVERY_S = 1.0
"""Pause between two listings of the store for the progress, in seconds."""

LIST_SHARE = 20
"""The pause is at least this many times what a listing takes."""

JOIN_S = 10.0
"""How long to wait for the end of a listing."""

_RAISED = re.compile(r"^poets\.\S*Error: (.*)", re.MULTILINE)
"""The last line of a traceback of an executor that raised an error of ours."""


class SparkWorkers:
    """The executors of a Spark application: `Workers` without other tasks of ours.

    Args:
      session: a `SparkSession`, not one of Spark Connect.
      pool: the driver's own process, for what no executor could read.

    Raises:
      ConfigError: if the session cannot run tasks of Python.
    """

    cluster = ALONE
    """The driver is the only task that trains."""

    def __init__(self, session: Any, pool: Pool) -> None:
        self._context, self.alone = context_of(session), pool

    @property
    def processes(self) -> int:
        """The cores of all executors, each with one process."""
        return max(int(self._context.defaultParallelism), 1)

    def joined_in(self, activity: str) -> contextlib.AbstractContextManager[None]:
        """Does nothing: the driver does what is not a pass."""
        return contextlib.nullcontext()

    def compute(
        self, spec: Spec, chunks: Iterable[Chunk], advance: Advance, first_number: int
    ) -> Unread:
        """Has the executors compute the chunks, see `Pool.compute`.

        Raises:
          ConfigError: if the engine is TensorFlow, which executors do not have.
          PoetsError: if a task fails as often as Spark repeats it.
        """
        if any(network.engine == "tensorflow" for network in spec.networks):
            raise ConfigError(
                "Spark's executors compute without TensorFlow, and this network needs "
                "--engine=tensorflow; take --engine=litert, or a network that LiteRT "
                "can run"
            )
        name = uuid.uuid4().hex[:8]
        parts = (
            Part(part_stem(first_number + number, name), chunk, number, marks=True)
            for number, chunk in enumerate(chunks)
        )
        unread: Unread = []
        while some := list(itertools.islice(parts, MAX_JOB)):
            with _followed(spec.store_url, some, advance):
                unread += self._until_done(spec, some)
        for network in spec.networks:
            remove_marks(network.store_url, name)
        return unread

    def _until_done(self, spec: Spec, parts: list[Part]) -> Unread:
        """Runs the tasks; goes on with new tokens if the old ones have expired.

        A failed attempt is repeated only if it stored something.
        """
        conf, urls = load_conf(), (spec.image_dir, spec.store_url)
        near = PackHosts(spec, conf, self._context)
        paths = [Path(network.model_path) for network in spec.networks]
        models = {path.name: path.read_bytes() for path in paths}
        spec = spec.with_models(lambda path: Path(path).name)
        while True:
            tokens = tokens_for(urls, conf, self._context)
            try:
                order = Order(spec, models, dict(conf), tokens)
                return self._run(order, parts, near)
            except PoetsError as error:
                tried, parts = parts, not_stored(spec.store_url, parts)
                if not tokens or not 0 < len(parts) < len(tried):
                    raise
                logger.warning("%s: going on with new tokens", error)

    def _run(self, order: Order, parts: list[Part], near: PackHosts) -> Unread:
        shared = self._context.broadcast(order)
        hosts = [near.of(part.tasks) for part in parts]
        tasks = _tasks(parts, hosts, self.processes)
        self._context.setJobDescription(f"bottlenecks of {len(parts)} chunks")
        try:
            work = functools.partial(compute, shared)
            return rdd_of(tasks, self._context).flatMap(work).collect()
        except (Py4JJavaError, PySparkException) as error:
            raise translated(str(error)) from error
        finally:
            self._context.setJobDescription(None)
            shared.destroy()


def context_of(session: Any) -> Any:
    """Returns the `SparkContext` of a session.

    Raises:
      ConfigError: if it is a session of Spark Connect, or has ended.
    """
    try:
        context = session.sparkContext
    except Exception as error:  # pyspark's own, by version
        raise ConfigError(
            "spark= takes a SparkSession whose driver is this program, and found "
            f"{type(session).__module__}.{type(session).__name__} without one; give "
            "SparkSession.builder.getOrCreate(), not a session of Spark Connect"
        ) from error
    if context._jsc is None:
        raise ConfigError("the Spark session has been stopped; start a new one")
    return context


def cluster_like(session: Any) -> Cluster:
    """Returns a cluster of as many machines as the session may use: one, or more."""
    if context_of(session).master.startswith("local"):
        return Cluster(num_workers=2)
    return Cluster(num_workers=2, num_hosts=2)


def _tasks(
    parts: Sequence[Part], hosts: Sequence[Hosts], processes: int
) -> list[tuple[list[Part], Hosts]]:
    """Returns one or more parts in tasks, each with its hosts.

    The parts of a task have the same hosts. Tasks get smaller towards the end, as
    chunks do.
    """
    tasks: list[tuple[list[Part], Hosts]] = []
    size = 0
    for number, (part, of_part) in enumerate(zip(parts, hosts, strict=True)):
        if not tasks or len(tasks[-1][0]) >= size or tasks[-1][1] != of_part:
            size = min(MAX_TASK, (len(parts) - number) // (2 * processes))
            tasks.append(([], of_part))
        tasks[-1][0].append(part)
    return tasks


@contextlib.contextmanager
def _followed(
    store_url: str, parts: Sequence[Part], advance: Advance
) -> Iterator[None]:
    """Reports the parts that appear in the store, while the body runs."""
    ended, left = threading.Event(), parts

    def done(now_left: Sequence[Part]) -> None:
        nonlocal left
        before, left = left, now_left
        advance(_copies_of(before) - _copies_of(left))

    def follow() -> None:
        pause_s = LIST_EVERY_S
        while not ended.wait(pause_s):
            began_s = time.monotonic()
            with contextlib.suppress(OSError, PoetsError):  # the next may succeed
                done(not_stored(store_url, left))
            took_s = time.monotonic() - began_s
            pause_s = max(LIST_EVERY_S, LIST_SHARE * took_s)

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(JOIN_S)
    done(())


def _copies_of(parts: Iterable[Part]) -> int:
    return sum(len(task.copies) for part in parts for task in part.tasks)


def translated(text: str) -> PoetsError:
    """Returns the error that made tasks fail, from Spark's own text."""
    if raised := _RAISED.findall(text):
        return PoetsError(f"an executor of Spark failed: {raised[-1]}")
    if missing := re.findall(r"ModuleNotFoundError: (.*)", text):
        return PoetsError(
            f"an executor of Spark failed: {missing[-1]}; give the executors poets and "
            "its dependencies, with --archives (docs/spark.md)"
        )
    raised = re.findall(r"^[\w.]*(?:Error|Exception): .+", text, re.MULTILINE)
    return PoetsError(f"Spark gave up: {[*text.splitlines()[:1], *raised][-1]}")
