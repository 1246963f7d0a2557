"""A pytest plugin: one Spark application with two executors in JVMs of their own.

A test module asks for it by `pytest_plugins = ["tests.spark_session"]`.
"""

import importlib
import importlib.util
import io
import os
import shutil
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.deadly import DEADLY_DECODER
from tools.packages import missing_packages

ROOT = Path(__file__).parents[1]
EXECUTOR = "CoarseGrainedExecutorBackend"


@pytest.fixture(scope="session")
def spark(require):
    """The module `poets.workers.spark`."""
    require("pyspark", importlib.util.find_spec("pyspark"))
    return importlib.import_module("poets.workers.spark")


@pytest.fixture(scope="session")
def spark_session(require, spark, tmp_path_factory):
    """A `SparkSession` of local-cluster[2,1,1024]; one picture kills its decoder."""
    require("pyspark", not missing_packages(["jdk"]))
    import pyspark
    from pyspark.sql import SparkSession

    before = dict(os.environ)
    shadow = tmp_path_factory.mktemp("shadow")
    (shadow / "simplejpeg.py").write_text(textwrap.dedent(DEADLY_DECODER))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .appName("poets-tests")
        .config("spark.executorEnv.PYTHONPATH", f"{shadow}{os.pathsep}{ROOT}")
        .config("spark.executor.memory", "512m")
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
        .config("spark.executor.extraJavaOptions", "-XX:TieredStopAtLevel=1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.local.dir", str(tmp_path_factory.mktemp("spark")))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    application = session.sparkContext.applicationId
    yield session
    session.stop()
    session.sparkContext._gateway.shutdown()
    os.environ.clear()
    os.environ.update(before)
    # Spark keeps the logs of executors below itself, and no setting moves them.
    shutil.rmtree(Path(pyspark.__file__).parent / "work" / application, True)


@pytest.fixture(scope="session")
def executors(spark_session):
    """Returns the ids of the executors' JVMs."""
    return _executors


@pytest.fixture
def in_the_middle():
    """Calls a function in a thread once another one returns something."""
    ended, threads = threading.Event(), []

    def start(begun, act):
        def wait():
            while not ended.wait(0.01):
                if begun():
                    act()
                    return

        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        return threads[-1]

    yield start
    ended.set()
    for thread in threads:
        thread.join(300)


@pytest.fixture(scope="session")
def large_images(tmp_path_factory):
    """Pictures that take long to decode, so that a pass has a middle."""
    folder = tmp_path_factory.mktemp("large")
    file = io.BytesIO()
    slope = np.linspace(0, 255, 3000 * 2000 * 3).reshape(2000, 3000, 3)
    Image.fromarray(slope.astype(np.uint8)).save(file, "JPEG")
    for number in range(120):
        label = folder / ("daisy", "roses")[number % 2]
        label.mkdir(exist_ok=True)
        (label / f"{number}.jpg").write_bytes(file.getvalue() + b"%d" % number)
    return folder


def _executors():
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if EXECUTOR in words and _is_ours(parent):
            found.append(int(entry.name))
    return found


def _is_ours(pid):
    """Returns whether a process is this one or below it."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False
