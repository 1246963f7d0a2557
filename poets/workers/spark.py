"""The executors of a Spark application compute a pass: `Workers` on Spark.

    chunks ──> tasks of some chunks ──Spark──> executors ──> parts of the store
                                                  └──> images not read, progress

Spark schedules the tasks, repeats those that fail or are lost, and may run slow ones
twice. A repeated task leaves out what the store already has. There are no files of ours
between the tasks, and no heartbeats.
"""

import contextlib
import dataclasses
import functools
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from poets.cluster import ALONE, Cluster
from poets.errors import ConfigError, PoetsError
from poets.features.pool import Chunk, Part, Pool
from poets.features.process import Spec
from poets.features.store import part_stem, remove_marks
from poets.storage.hadoop.conf import load_conf
from poets.workers.delegation import tokens_for
from poets.workers.executor import Order, compute, copies_of, not_stored

logger = logging.getLogger(__name__)

MAX_TASK = 8
"""Chunks in a task: reading ahead and writing overlap within one."""

FOLLOW_S = 0.5
"""Pause between two looks at the progress, in seconds."""

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
        self,
        spec: Spec,
        chunks: Sequence[Chunk],
        advance: Callable[[int], None],
        first_number: int = 0,
    ) -> list[tuple[str, str]]:
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
        first = first_number or time.time_ns()
        parts = [
            Part(part_stem(first + number, name), chunk, number, marks=True)
            for number, chunk in enumerate(chunks)
        ]
        done = self._context.accumulator(0)
        with _followed(done, copies_of(parts), advance):
            unread = self._until_done(spec, parts, done)
        for network in spec.networks:
            remove_marks(network.store_url, name)
        return unread

    def _until_done(
        self, spec: Spec, parts: list[Part], done: Any
    ) -> list[tuple[str, str]]:
        """Runs the tasks; goes on with new tokens if the old ones have expired.

        A failed attempt is repeated only if it stored something.
        """
        conf, urls = load_conf(), (spec.image_dir, spec.store_url)
        paths = [Path(network.model_path) for network in spec.networks]
        models = tuple(path.read_bytes() for path in paths)
        suffixes = tuple(
            dataclasses.replace(network, model_path=path.suffix)
            for network, path in zip(spec.networks, paths, strict=True)
        )
        spec = dataclasses.replace(spec, networks=suffixes)
        while True:
            tokens = tokens_for(urls, conf, self._context)
            try:
                return self._run(Order(spec, models, dict(conf), tokens), parts, done)
            except PoetsError as error:
                tried, parts = parts, not_stored(spec.store_url, parts)
                if not tokens or not 0 < len(parts) < len(tried):
                    raise
                logger.warning("%s: going on with new tokens", error)

    def _run(self, order: Order, parts: list[Part], done: Any) -> list[tuple[str, str]]:
        shared = self._context.broadcast(order)
        tasks = _tasks(parts, self.processes)
        self._context.setJobDescription(f"bottlenecks of {len(parts)} chunks")
        try:
            work = functools.partial(compute, shared, done)
            return self._context.parallelize(tasks, len(tasks)).flatMap(work).collect()
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


def _tasks(parts: list[Part], processes: int) -> list[list[Part]]:
    """Returns the parts in tasks that get smaller towards the end, as chunks do."""
    tasks, start = [], 0
    while start < len(parts):
        size = max(1, min(MAX_TASK, (len(parts) - start) // (2 * processes)))
        tasks.append(parts[start : start + size])
        start += size
    return tasks


@contextlib.contextmanager
def _followed(done: Any, total: int, advance: Callable[[int], None]) -> Iterator[None]:
    """Passes the progress of the tasks on, while the body runs."""
    ended, seen = threading.Event(), 0

    def look() -> None:
        nonlocal seen
        now = min(done.value, total)  # a repeated task may count twice
        advance(now - seen)
        seen = now

    def follow() -> None:
        while not ended.wait(FOLLOW_S):
            look()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


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
