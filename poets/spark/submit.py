"""Builds the command of spark-submit for a DC/OS options file.

    worker.count, cpus, mem            ──> executors, their cores and memory
    service.job_url, job_path          ──> --archives JOB#job, PYTHONPATH
    service.job_context, shared_file…  ──> spark run --image_dir=… of this program
    service.security.kerberos          ──> --principal, --keytab

It is text first: `poets spark submit --dry-run` prints it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from poets.config import RetrainConfig
from poets.dcos.context import flags_of
from poets.dcos.options import Options
from poets.errors import ConfigError, format_problems
from poets.preflight import output_folders
from poets.storage import scheme_of

HEAP_MB = 512
"""Heap of an executor's JVM, which only passes tasks on; Python gets the rest."""

DRIVER_HEAP_MB = 1024
MIN_PYTHON_MB = 512
"""Two Python processes of a core take some 200 MB."""

ENVIRONMENT, JOB = "environment", "job"
"""Names of unpacked archives in the folder that a container starts in."""

CLUSTER_CONF = "__spark_conf__/__hadoop_conf__"
"""Where Spark puts the files of HADOOP_CONF_DIR for a driver in a container."""

WITHOUT_COUNTERPART = (
    "parameter_server.count",  # parameter servers would do nothing
    "gpu_worker.count",  # executors compute with LiteRT
    "worker.placement_constraint",
    "service.hdfs.config_uri",  # Spark reads HADOOP_CONF_DIR
    "service.use_tensorboard",
    "service.virtual_network_enabled",
    "service.use_gcs_key_secret",
)


@dataclass(frozen=True)
class Target:
    """Settings that are not in the options file.

    Attributes:
      program: the path of spark-submit.
      main: the path of `poets/__main__.py`, which is the driver.
      master: as of spark-submit.
      deploy_mode: where the driver runs: "client" here, "cluster" in a container.
      driver_python: the Python of a driver here.
      python: the Python of executors, and of a driver in a container; "" is Spark's.
      environment: an archive with Python, poets and its dependencies; or "".
      keytab: a file with the principal's keys; or "".
      krb5_conf: Kerberos' configuration where it is not /etc/krb5.conf; or "".
      conf: more settings of Spark, as "key=value"; they win.
    """

    program: str
    main: str
    master: str = "yarn"
    deploy_mode: str = "client"
    driver_python: str = "python3"
    python: str = ""
    environment: str = ""
    keytab: str = ""
    krb5_conf: str = ""
    conf: tuple[str, ...] = ()


def command(options: Options, target: Target) -> list[str]:
    """Returns the command line that runs the job.

    Raises:
      ConfigError: if the job cannot run on Spark with these options.
    """
    config, flags = flags_of(options, options["service.shared_filesystem"])
    if problems := _problems(options, target, config):
        raise ConfigError(format_problems("cannot run the job on Spark", problems))
    words = [target.program, "--master", target.master]
    if target.krb5_conf and target.deploy_mode == "cluster":
        # spark-submit logs in itself then, and has no other way to a setting.
        words = ["env", f"SPARK_SUBMIT_OPTS={_krb5_option(target)}", *words]
    words += ["--deploy-mode", target.deploy_mode, "--name", options["service.name"]]
    words += ["--num-executors", str(options["worker.count"])]
    words += ["--executor-cores", str(max(1, int(options["worker.cpus"])))]
    words += ["--executor-memory", f"{HEAP_MB}m"]
    words += ["--driver-memory", f"{DRIVER_HEAP_MB}m"]
    if archives := _archives(options, target):
        words += ["--archives", ",".join(archives)]
    kerberos = "service.security.kerberos"
    if options[f"{kerberos}.enabled"] and target.keytab:
        user, realm = options[f"{kerberos}.primary"], options[f"{kerberos}.realm"]
        words += ["--principal", f"{user}@{realm}", "--keytab", target.keytab]
    for setting in (*_settings(options, target), *target.conf):
        words += ["--conf", setting]
    return [*words, target.main, "spark", "run", *flags]


def python_of(target: Target) -> str:
    """Returns the Python of executors; "" if it is Spark's own choice."""
    return target.python or f"./{ENVIRONMENT}/bin/python" * bool(target.environment)


def _problems(options: Options, target: Target, config: RetrainConfig) -> list[str]:
    found = []
    if not options["worker.count"]:
        found.append(
            "worker.count: is 0; give the number of executors, which use no GPU"
        )
    if options["worker.mem"] < HEAP_MB + MIN_PYTHON_MB:
        found.append(
            f"worker.mem: is {options['worker.mem']}; an executor takes "
            f"{HEAP_MB + MIN_PYTHON_MB} MB or more, of which its JVM has {HEAP_MB}"
        )
    if target.deploy_mode == "cluster":
        found += [
            f"{folder!r} would be lost with the driver's container; put it on a shared "
            "storage, below <<shared_filesystem>>, or use --deploy-mode client"
            for folder in dict.fromkeys(output_folders(config))
            if not scheme_of(folder) and not os.path.isabs(folder)
        ]
    return found


def _archives(options: Options, target: Target) -> list[str]:
    """Returns what each container unpacks: an environment, else the job's zip."""
    if target.environment:
        return [f"{target.environment}#{ENVIRONMENT}"]
    url = options["service.job_url"]
    return [f"{url}#{JOB}"] if url else []


def _settings(options: Options, target: Target) -> list[str]:
    """Returns the settings that spark-submit has no flags for, as "key=value"."""
    python_mb = options["worker.mem"] - HEAP_MB
    python = python_of(target)
    settings = {
        "spark.executor.memoryOverhead": f"{python_mb}m",
        "spark.dynamicAllocation.enabled": "false",
        "spark.speculation": "true",
    }
    variables = {}  # of a driver in a container
    if python:
        settings["spark.pyspark.python"] = python
    if target.deploy_mode == "client":
        settings["spark.pyspark.driver.python"] = target.driver_python
    else:
        driver_mb = max(python_mb, DRIVER_HEAP_MB)
        settings["spark.driver.memoryOverhead"] = f"{driver_mb}m"
        variables["POETS_HADOOP_CONF"] = CLUSTER_CONF
    if options["service.job_url"] and not target.environment:
        path = str(Path(JOB, options["service.job_path"]))
        settings["spark.executorEnv.PYTHONPATH"] = path
        variables["PYTHONPATH"] = path
        # YARN's own client reads files of HTTP without their length.
        settings["spark.yarn.dist.forceDownloadSchemes"] = "http,https"
    if target.krb5_conf:
        settings["spark.driver.extraJavaOptions"] = _krb5_option(target)
        variables["KRB5_CONFIG"] = target.krb5_conf
    if target.deploy_mode == "cluster":
        for name, value in variables.items():
            settings[f"spark.yarn.appMasterEnv.{name}"] = value
    return [f"{key}={value}" for key, value in settings.items()]


def _krb5_option(target: Target) -> str:
    """Returns the option of Java, which does not read KRB5_CONFIG."""
    return f"-Djava.security.krb5.conf={target.krb5_conf}"
