"""`poets spark submit` and `poets spark run`: a DC/OS options file on Spark.

    poets spark submit demo/poets.json --dry-run     prints the command
    poets spark submit demo/poets.json               runs it

spark-submit starts `poets spark run`, the driver, here or in a container.
"""

import argparse
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from poets.cli import Verbs
from poets.cli.options_flags import add_overrides, add_secrets, add_spark
from poets.dcos.options import Options, read_options
from poets.errors import ConfigError
from poets.flags import add_flags, config_from_args, flags_of
from poets.system.logs import log_to_stderr

if TYPE_CHECKING:
    from poets.spark.submit import Target

log = logging.getLogger(__name__)

CONF_VARIABLES = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    steps = parser.add_subparsers(required=True, metavar="VERB")
    _add_submit(steps)
    running = steps.add_parser(
        "run",
        help="be the driver: run by spark-submit",
        description="Runs a job in the Spark application that spark-submit has "
        "started. The flags are those of poets retrain.",
    )
    add_flags(running)
    running.set_defaults(func=run)


def _add_submit(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "submit",
        help="run an options file as a Spark application",
        description="Runs an options file by spark-submit: worker.count executors "
        "compute the bottlenecks, the driver does the rest. Spark and YARN are found "
        "by SPARK_HOME or PATH, and HADOOP_CONF_DIR.",
    )
    parser.set_defaults(func=submit)
    parser.add_argument("options", metavar="OPTIONS", help="the options file")
    add_overrides(parser)
    add_secrets(parser)
    add_spark(parser)
    parser.add_argument(
        "--deploy-mode",
        choices=("client", "cluster"),
        default="client",
        help="where the driver runs: here (default), or in a container",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the command and do not run it"
    )


def submit(args: argparse.Namespace) -> int:
    """Runs or prints the command of spark-submit; returns its exit code."""
    from poets.dcos.context import left_out
    from poets.dcos.validate import CODE, require_valid
    from poets.spark.submit import WITHOUT_COUNTERPART, command

    log_to_stderr()
    options = read_options(args.options, args.settings, args.args)
    what = f"cannot submit {args.options!r}"
    for problem in require_valid(options, what, ignored=CODE):
        log.warning("%s: %s", problem.path, problem.text)
    for path in left_out(options, WITHOUT_COUNTERPART):
        log.warning("%s: left out, Spark has no counterpart", path)
    target = target_of(args, options, args.deploy_mode)
    words = command(options, target)
    if args.dry_run:
        print(shlex.join(words))
        return 0
    if not shutil.which(target.program):
        raise ConfigError(
            "spark-submit is neither in SPARK_HOME nor on the PATH; set SPARK_HOME, or "
            "pip install 'poets[spark]'"
        )
    if args.master == "yarn" and not any(map(os.environ.get, CONF_VARIABLES)):
        raise ConfigError(
            "neither HADOOP_CONF_DIR nor YARN_CONF_DIR is set; name the folder of the "
            "cluster's core-site.xml and yarn-site.xml"
        )
    # Its programs look for the folder with another Python, which may not have it.
    ours = _pyspark()
    is_ours = ours and target.program.startswith(f"{ours}/")
    home = {"SPARK_HOME": ours} if is_ours else {}
    return subprocess.run(words, env={**os.environ, **home}, check=False).returncode


def target_of(
    args: argparse.Namespace, options: Options, deploy_mode: str = "client"
) -> "Target":
    """Returns how Spark runs a job, from the flags of `add_spark` and `--secrets`."""
    from poets.spark.submit import Target

    return Target(
        program=_spark_submit() or "spark-submit",
        main=str(Path(__file__).parents[1] / "__main__.py"),
        master=args.master,
        deploy_mode=deploy_mode,
        driver_python=sys.executable,
        python=args.python,
        environment=args.environment,
        keytab=_keytab(options, args.secrets),
        krb5_conf=os.environ.get("KRB5_CONFIG", ""),
        conf=tuple(args.conf),
    )


def run(args: argparse.Namespace) -> int:
    """Runs the job as the driver of a Spark application; returns the exit code."""
    config = config_from_args(*flags_of(args))

    try:
        from poets.spark import driver
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed; start this by poets spark submit"
        ) from error
    log_to_stderr()
    driver.run(config)
    return 0


def _keytab(options: Options, secrets_dir: str | None) -> str:
    """Returns the path of the job's keytab; "" if it has a ticket or tokens."""
    from poets.dcos.secrets import KERBEROS, keytab_of

    if keytab_of(options, secrets_dir) is None:
        return os.environ.get("KRB5_CLIENT_KTNAME", "")
    return str(Path(secrets_dir or "", options[f"{KERBEROS}.keytab_secret"]).absolute())


def _spark_submit() -> str | None:
    """Returns the path of spark-submit: of SPARK_HOME, of PATH, or of our pyspark."""
    if home := os.environ.get("SPARK_HOME"):
        return shutil.which(os.path.join(home, "bin", "spark-submit"))
    return shutil.which("spark-submit") or shutil.which(
        f"{_pyspark()}/bin/spark-submit"
    )


def _pyspark() -> str:
    """Returns the folder of pyspark, which is a SPARK_HOME; "" if it is absent."""
    found = importlib.util.find_spec("pyspark")
    return os.path.dirname(found.origin or "") if found else ""
