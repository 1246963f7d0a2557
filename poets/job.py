"""The hook that DC/OS calls: `main(server, log_dir, context)`.

The context is the job's string-encoded `job_context`: its `args` hold the flags of
`retrain.py`. In every value, `{{shared_filesystem}}` and `<<shared_filesystem>>` are
replaced by `log_dir`. The first is the original's placeholder, the second survives
mustache templates.

    {"args": {"--image_dir": "hdfs://default/flowers",
              "--output_graph": "<<shared_filesystem>>/retrained_graph.pb"}}
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from poets.cluster import ALONE, Cluster, cluster_of
from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.errors import ConfigError, json_kind
from poets.features.pool import Pool, Workers
from poets.fine_tuning import ACTIVITY
from poets.flags import config_from_args
from poets.preflight import check_shared, check_worker, preflight
from poets.system.logs import log_to_stderr
from poets.system.machine import room_for_processes
from poets.workers.chief import Chief
from poets.workers.worker import Activity, Worker

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLACEHOLDERS = ("{{shared_filesystem}}", "<<shared_filesystem>>")


def main(server: Any, log_dir: str | None, context: Any) -> None:
    """Runs this task's part of the retraining job.

    Args:
      server: the task's `tf.distribute.Server`; None for a single process.
      log_dir: the shared folder that replaces the placeholders.
      context: None, a dict, or its JSON text; see the module docstring.

    Raises:
      PoetsError: if the job fails; the message is for the user.
    """
    log_to_stderr()
    cluster = cluster_of(server)
    if cluster.is_ps and server is not None:
        logger.info("%s: serving until the job is stopped", cluster.name)
        server.join()
        return
    run(config_from_context(context, log_dir), cluster=cluster)
    if cluster.is_chief:
        logger.info("Done")


@dataclass(frozen=True)
class Job(Generic[T]):
    """A job and the parts that its tasks play.

    Attributes:
      config: the flags.
      lead: the chief's part: runs the job, given the labelled images and the processes.
        TensorFlow is imported only inside it.
      activities: other work that the chief may ask a worker for, by name.
      details: distinguishes jobs with equal flags, see `JobFolder.of`.
    """

    config: RetrainConfig
    lead: Callable[[Dataset, Workers], T]
    activities: Mapping[str, Activity] = field(default_factory=dict)
    details: str = ""

    @property
    def processes(self) -> int:
        """The number of processes per task that compute bottlenecks."""
        return self.config.processes or room_for_processes()


def run(config: RetrainConfig, spark: Any = None, cluster: Cluster = ALONE) -> None:
    """Runs one task's part of the retraining job, by default the whole job.

    Arguments and errors are those of `run_job`.
    """
    run_job(cluster, _retraining(config, cluster), spark)


def run_job(cluster: Cluster, job: Job[T], spark: Any = None) -> T | None:
    """Runs one task's part of a job; the chief's returns the result of `job.lead`.

    Args:
      cluster: which task.
      job: the job.
      spark: a `SparkSession` whose executors compute the bottlenecks, or None.

    Raises:
      PoetsError: if the job fails.
    """
    set_verbosity(job.config.logging_verbosity)
    if not cluster.is_worker:
        logger.info("%s: the workers do all the work of this job", cluster.name)
        return None
    check_shared(job.config, cluster)
    with environment(job.config.environment):  # before any thread or child is started
        if spark is not None:
            return _run_on_spark(job, spark)
        if cluster.num_workers > 1 and not cluster.is_chief:
            check_worker(job.config)
            with Pool(job.processes) as pool:
                Worker(cluster, job.config, pool, job.activities, job.details).follow()
            return None
        if cluster.num_workers > 1:
            with Chief(cluster, job.config, job.details) as chief:
                dataset = preflight(job.config)
                chief.gather(job.processes)
                return job.lead(dataset, chief)
        # The user's mistakes are reported before TensorFlow is imported. The processes
        # that compute bottlenecks start during that import.
        dataset = preflight(job.config)
        with Pool(job.processes) as pool:
            return job.lead(dataset, pool)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables during its body, for storages and child processes."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run_on_spark(job: Job[T], session: Any) -> T:
    """Runs the job in this task, the driver, and its passes on Spark's executors."""
    from poets.workers.spark import SparkWorkers, cluster_like  # an extra

    check_shared(job.config, cluster_like(session))
    dataset = preflight(job.config)
    with Pool(1) as pool:
        return job.lead(dataset, SparkWorkers(session, pool))


def _retraining(config: RetrainConfig, cluster: Cluster) -> Job[None]:
    def lead(dataset: Dataset, workers: Workers) -> None:
        from poets.retraining import retrain

        retrain(config, dataset, workers)

    def fine_tune(ended: Callable[[], bool]) -> None:
        from poets.fine_tuning.tune import take_part  # imports TensorFlow

        take_part(config, cluster, ended)

    return Job(config, lead, {ACTIVITY: fine_tune})


def config_from_context(context: Any, log_dir: str | None) -> RetrainConfig:
    """Returns the config that a job context asks for.

    Args:
      context: None, `{}`, `{"args": {flag: value}}`, or the JSON text of one of these.
      log_dir: replaces the placeholders; may be empty if no value has one.

    Raises:
      ConfigError: if the context has another structure, or a flag is wrong.
    """
    args = _parse_context(context).get("args") or {}
    if not isinstance(args, dict):
        raise ConfigError(
            f"job_context: args is {json_kind(args)}; give an object of flags and "
            "values"
        )
    return config_from_args(
        {flag: _fill_placeholders(flag, value, log_dir) for flag, value in args.items()}
    )


def set_verbosity(name: str) -> None:
    """Sets the level of this package's loggers, by a name of `--logging_verbosity`."""
    logging.getLogger("poets").setLevel(getattr(logging, name))


def _parse_context(context: Any) -> dict[str, Any]:
    if isinstance(context, str | bytes):
        try:
            context = json.loads(context) if context.strip() else None
        except ValueError as error:
            raise ConfigError(f"job_context is not JSON: {error}") from error
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise ConfigError(
            f"job_context is {json_kind(context)}; give an object, as "
            '{"args": {...}}'
        )
    return context


def _fill_placeholders(flag: str, value: Any, log_dir: str | None) -> Any:
    """Returns a flag's value with the placeholders replaced, also inside lists."""
    if isinstance(value, list):
        return [_fill_placeholders(flag, item, log_dir) for item in value]
    if not isinstance(value, str):
        return value
    for placeholder in PLACEHOLDERS:
        if placeholder in value:
            if not log_dir:
                raise ConfigError(
                    f"{flag}={value!r} needs a shared file system, and log_dir is "
                    "empty; set service.shared_filesystem"
                )
            value = value.replace(placeholder, log_dir.rstrip("/") or log_dir)
    return value
