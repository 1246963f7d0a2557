"""The driver of a Spark application that runs one job.

spark-submit … poets/__main__.py spark run FLAGS ──> session ──> job ──> exit code
"""

import os

from pyspark import SparkConf
from pyspark.sql import SparkSession

from poets import job
from poets.config import RetrainConfig
from poets.errors import PoetsError
from poets.kerberos.settings import KEYTAB, PRINCIPAL


def run(config: RetrainConfig) -> None:
    """Runs a job in a Spark application, whose final status is the job's.

    Raises:
      PoetsError: if the job fails.
    """
    session = SparkSession.builder.getOrCreate()
    context = session.sparkContext
    exit_code = 1
    try:
        with job.environment(_login(context.getConf())):
            job.run(config, session)
        exit_code = 0
    except PoetsError as error:
        exit_code = error.exit_code
        raise
    finally:
        context._jsc.sc().stop(exit_code)  # YARN shows it; SparkContext.stop() is 0


def _login(conf: SparkConf) -> dict[str, str]:
    """Returns the variables of the keytab that Spark was given, for our own login."""
    principal, keytab = (
        conf.get(f"spark.kerberos.{name}") for name in ("principal", "keytab")
    )
    if not principal or not keytab:
        return {}
    return {PRINCIPAL: principal, KEYTAB: os.path.abspath(keytab)}
