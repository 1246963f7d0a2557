"""The doctor's steps for Spark: is it here, is YARN up, what has an executor.

    Spark ─> YARN ─> executor ─> token
    pyspark, the      starts; has     lists the pictures with
    a JDK    manager  poets and all   the tokens of this login
                      dependencies

The last two start an application of one executor.
"""

import functools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from py4j.protocol import Py4JError
from pyspark import __version__
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from poets.doctor import Checkup, Finding, Step, StepError
from poets.doctor.network import host_and_port, reach
from poets.features.process import Spec
from poets.spark.submit import Target, python_of
from poets.storage.calls import allowed_s
from poets.storage.hadoop.conf import HadoopConf, load_conf, read_conf
from poets.workers.delegation import tokens_for
from poets.workers.executor import Order, look
from poets.workers.spark import translated

TIMEOUT_S = 180.0
"""An application of YARN takes half a minute to start, more where it queues."""

CONF_VARIABLES = ("YARN_CONF_DIR", "HADOOP_CONF_DIR")
MANAGER = "yarn.resourcemanager"
PORT = 8032
ADVICE = "look at the application's log (yarn logs -applicationId ID)"


class SparkSteps:
    """The steps, which share one application.

    Args:
      words: of spark-submit, without its program and ours.
      target: the settings that they are from.
    """

    def __init__(self, words: Sequence[str], target: Target) -> None:
        self._words, self._target = words, target
        self._session: SparkSession | None = None

    def __enter__(self) -> tuple[Step, ...]:
        return (
            Step("Spark", "pyspark and a JDK are here", self.find_spark),
            Step("YARN", "its ResourceManager answers", self.reach_yarn),
            Step("executor", "it starts and has all modules", self.start_executor),
            Step("token", "an executor lists the pictures", self.list_pictures),
        )

    def __exit__(self, *exception: object) -> None:
        if self._session:
            self._session.stop()

    def find_spark(self, checkup: Checkup) -> Finding:
        """Finds Java, which Spark runs on; pyspark is here, or this is not."""
        home = os.environ.get("JAVA_HOME")
        java = shutil.which(f"{home}/bin/java" if home else "java")
        if not java:
            raise StepError(
                "no java" + (f" in JAVA_HOME {home!r}" if home else " on the PATH"),
                "install a JDK, 17 or later, or set JAVA_HOME",
            )
        try:
            done = subprocess.run(
                [java, "-version"],
                capture_output=True,
                text=True,
                timeout=allowed_s(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError from None  # as other steps that wait for too long
        shown = (done.stderr or done.stdout).partition("\n")[0]
        return Finding(f"pyspark {__version__}, {shown}")

    def reach_yarn(self, checkup: Checkup) -> Finding:
        """Connects to a ResourceManager."""
        if self._target.master != "yarn":
            return Finding(f"the master is {self._target.master}", applies=False)
        variable = next(filter(os.environ.get, CONF_VARIABLES), "")
        if not variable:
            raise StepError(
                f"neither {' nor '.join(CONF_VARIABLES)} is set",
                "name the folder of the cluster's core-site.xml and yarn-site.xml",
            )
        folder = os.environ[variable]
        conf = read_conf([os.path.join(folder, "yarn-site.xml")], variable)
        addresses = [host_and_port(each, PORT) for each in _managers(conf)]
        if not addresses:
            raise StepError(
                f"{folder}/yarn-site.xml names no {MANAGER}.address or .hostname",
                f"set {variable} to the folder of the cluster's configuration",
            )
        cure = "check whether YARN is up, and the address in yarn-site.xml"
        return reach(addresses, "the ResourceManager", cure)

    def start_executor(self, checkup: Checkup) -> Finding:
        """Starts an application, and looks for modules in an executor."""
        host, python, missing, _ = self._look("", b"")
        if missing:
            raise StepError(
                f"the executor on {host} lacks {', '.join(missing)}",
                "give executors an environment with all dependencies: --environment, "
                "or --python if it is installed there",
            )
        ours = ".".join(map(str, sys.version_info[:2]))
        if not python.startswith(f"{ours}."):
            raise StepError(
                f"the executor on {host} has Python {python}, and the driver {ours}",
                "give both the same minor version",
            )
        return Finding(f"on {host}, Python {python}, with all modules")

    def list_pictures(self, checkup: Checkup) -> Finding:
        """Has an executor list what is read, with the tokens of this login."""
        if not checkup.reads:
            return Finding("nothing is read", applies=False)
        url = checkup.reads[0]
        assert self._session is not None  # the step before
        tokens = tokens_for([url], load_conf(), self._session.sparkContext)
        host, _, _, why = self._look(url, tokens)
        if why:
            raise StepError(f"the executor on {host} cannot list {url!r}: {why}")
        with_token = "with a delegation token" if tokens else "without Kerberos"
        return Finding(f"{host} lists {url} {with_token}")

    def _look(self, url: str, tokens: bytes) -> tuple[str, str, list[str], str]:
        spec = Spec("", (), distortions=None, known_content=False)
        order = Order(spec, {}, dict(load_conf()), tokens)
        try:
            context = self._context()
            work = functools.partial(look, context.broadcast(order), url)
            return context.parallelize([0], 1).map(work).collect()[0]
        except (Py4JError, PySparkException) as error:
            raise StepError(str(translated(str(error))), ADVICE) from error

    def _context(self) -> Any:
        if self._session is None:
            os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(
                [*self._words, "pyspark-shell"]
            )
            if python := python_of(self._target):
                os.environ["PYSPARK_PYTHON"] = python
            self._session = SparkSession.builder.getOrCreate()
            self._session.sparkContext.setLogLevel("ERROR")
        return self._session.sparkContext


def _managers(conf: HadoopConf) -> list[str]:
    """Returns the addresses of the ResourceManagers, of which one is active."""
    ids = conf.get(f"{MANAGER}.ha.rm-ids", "").split(",")
    suffixes = [f".{each.strip()}" if each.strip() else "" for each in ids]
    found = [
        conf.get(f"{MANAGER}.address{suffix}")
        or conf.get(f"{MANAGER}.hostname{suffix}", "")
        for suffix in suffixes
    ]
    return list(filter(None, found))
