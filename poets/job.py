"""The hook that DC/OS calls: `main(server, log_dir, context)`.

The context is the job's string-encoded `job_context`: its `args` hold the flags of
`retrain.py`. In every value `{{shared_filesystem}}` and `<<shared_filesystem>>` stand
for `log_dir`; the first is the original's, the second survives mustache templates.

    {"args": {"--image_dir": "hdfs://default/flowers",
              "--output_graph": "<<shared_filesystem>>/retrained_graph.pb"}}
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from poets.bottlenecks.crew import Crew
from poets.bottlenecks.follower import Follower
from poets.bottlenecks.pool import Pool
from poets.cluster import Cluster, cluster_of
from poets.config import RetrainConfig
from poets.errors import ConfigError
from poets.fine_tuning import ACTIVITY
from poets.flags import config_from_args
from poets.machine import room_for_processes
from poets.preflight import check_shared, check_worker, preflight

logger = logging.getLogger(__name__)

PLACEHOLDERS = ("{{shared_filesystem}}", "<<shared_filesystem>>")
LOG_FORMAT = "[%(asctime)s|%(name)s|%(levelname)s]: %(message)s"


def main(server: Any, log_dir: str | None, context: Any) -> None:
    """Runs this task's part of the retraining job.

    Args:
      server: the task's `tf.distribute.Server`; None runs alone.
      log_dir: the shared folder that the placeholders stand for.
      context: None, a dict, or its JSON text; see the module.

    Raises:
      PoetsError: if the job cannot be done; the message is for the user.
    """
    log_to_stderr()
    cluster = cluster_of(server)
    if cluster.is_ps and server is not None:
        logger.info("%s: serving until the job is stopped", cluster.name)
        server.join()
        return
    run_as(cluster, config_from_context(context, log_dir))
    if cluster.is_chief:
        logger.info("Done")


def run_as(cluster: Cluster, config: RetrainConfig) -> None:
    """Runs one task's part of the job.

    Raises:
      PoetsError: if the job cannot be done.
    """
    set_verbosity(config.logging_verbosity)
    if not cluster.is_worker:
        logger.info("%s: the workers do all the work of this job", cluster.name)
    elif cluster.num_workers == 1:
        run(config)
    else:
        check_shared(config, cluster)
        os.environ.update(config.environment)  # before any thread or child is started
        if cluster.is_chief:
            _lead(config, cluster)
        else:
            _follow(config, cluster)


def _lead(config: RetrainConfig, cluster: Cluster) -> None:
    """Runs the job with the help of other workers, or without it if none comes."""
    with Crew(cluster, config) as crew:
        dataset = preflight(config)
        crew.gather(config.processes or room_for_processes())
        from poets.retrain import retrain

        retrain(config, dataset, crew)


def _follow(config: RetrainConfig, cluster: Cluster) -> None:
    """Works with the chief until the job is done."""
    check_worker(config)

    def fine_tune(over: Callable[[], bool]) -> None:
        from poets.fine_tuning.tune import take_part  # TensorFlow, only if asked for

        take_part(config, cluster, over)

    with Pool(config.processes or room_for_processes()) as pool:
        Follower(cluster, config, pool, {ACTIVITY: fine_tune}).follow()


def run(config: RetrainConfig) -> None:
    """Runs the whole job here, alone.

    What the user got wrong is told before TensorFlow is imported, and the processes
    that compute bottlenecks load while it is.

    Raises:
      PoetsError: if the job cannot be done.
    """
    os.environ.update(config.environment)  # before any thread or child is started
    dataset = preflight(config)
    with Pool(config.processes or room_for_processes()) as pool:
        from poets.retrain import retrain

        retrain(config, dataset, pool)


def config_from_context(context: Any, log_dir: str | None) -> RetrainConfig:
    """Returns the config that a job context asks for.

    Args:
      context: None, `{}`, `{"args": {flag: value}}`, or the JSON text of one of these.
      log_dir: replaces the placeholders; may be empty if no value has one.

    Raises:
      ConfigError: if the context has another shape, or its flags are wrong.
    """
    args = _parse_context(context).get("args") or {}
    if not isinstance(args, dict):
        raise ConfigError(
            f"job_context: args is {_kind(args)}; give an object of flags and values"
        )
    return config_from_args(
        {flag: _place(flag, value, log_dir) for flag, value in args.items()}
    )


def log_to_stderr() -> None:
    """Sends log lines to stderr where the host has set up no logging."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(stream=sys.stderr, format=LOG_FORMAT, level=logging.INFO)


def set_verbosity(name: str) -> None:
    """Sets the level of our own log lines by its name in `--logging_verbosity`."""
    logging.getLogger("poets").setLevel(getattr(logging, name))


def _parse_context(context: Any) -> dict[str, Any]:
    if isinstance(context, str | bytes):
        if not context.strip():
            return {}
        try:
            context = json.loads(context)
        except ValueError as error:
            raise ConfigError(f"job_context is not JSON: {error}") from error
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise ConfigError(
            f'job_context is {_kind(context)}; give an object, as {{"args": {{...}}}}'
        )
    return context


def _place(flag: str, value: Any, log_dir: str | None) -> Any:
    """Returns a flag's value with the placeholders replaced, in lists too."""
    if isinstance(value, list):
        return [_place(flag, item, log_dir) for item in value]
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


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", dict: "an object", bool: "a boolean"}
    return names.get(type(value), "a number")
