"""The options file on a real YARN beside a secure HDFS, with a packed environment.

The executors are containers. They have no code but the environment's, and no login but
the tokens that Spark gives them.
"""

import importlib.util
import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests import retraining
from tests.command import run_poets

pytest_plugins = ["tests.spark_session"]
ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo" / "poets.json"
IMAGES = "/user/tensorflow/images"
OUT = "/user/tensorflow/run"


@pytest.fixture
def environment(tmp_path, require):
    """An archive with poets and its dependencies, without TensorFlow, by pip."""
    require("tomllib", sys.version_info >= (3, 11))
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [each for each in project["dependencies"] if "tensorflow" not in each]
    venv.create(tmp_path / "environment", with_pip=True, symlinks=True)
    python = str(tmp_path / "environment" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--retries", "10"]
    subprocess.run([*install, "venv-pack", *needed], check=True, timeout=600)
    subprocess.run([*install, "--no-deps", ROOT], check=True, timeout=600)
    words = ["build_zip.py", "--environment", "--output", str(tmp_path / "dist")]
    subprocess.run([python, *words], cwd=ROOT, check=True, timeout=600)
    (archive,) = (tmp_path / "dist").iterdir()
    return archive


@pytest.fixture
def hdfs(start_hdfs, tmp_path):
    """A secure HDFS with YARN beside it, and pictures."""
    hdfs = start_hdfs(yarn=True)
    hdfs.cluster.make_folder("/user/tensorflow", "tensorflow:tensorflow")
    hdfs.cluster.put(retraining.write_images(tmp_path / "images"), IMAGES)
    return hdfs


@pytest.mark.soak
def test_containers_of_yarn_compute_with_an_environment(spark, hdfs, environment):
    jars = Path(importlib.util.find_spec("pyspark").origin).parent / "jars"
    words = [
        *("--environment", environment, "--secrets", hdfs.keytab("tensorflow").parent),
        *("--conf", f"spark.yarn.jars=local:{jars}/*"),  # else 400 MB are uploaded
        *("--set", f"service.shared_filesystem=hdfs://default{OUT}"),
        *("--set", "service.job_url=", "--set", "worker.count=2"),
        *("--set", "worker.cpus=1", "--set", "worker.mem=1536"),
        *("--arg", f"image_dir=hdfs://default{IMAGES}"),
    ]
    variables = hdfs.environment("tensorflow") | {
        "HADOOP_CONF_DIR": str(hdfs.conf_dir),
        "PYTHONPATH": "",  # Spark gives the driver's to the containers
    }
    found = run_poets(["doctor", "--spark", "--options", DEMO, *words], variables)
    assert found.code == 0, found
    for shown in ("with all modules", "with a delegation token"):
        assert shown in found.out
    done = run_poets(["spark", "submit", DEMO, *words], variables)
    assert done.code == 0, done
    shown = hdfs.dfs("-cat", f"{OUT}/metrics.json", user="tensorflow").stdout
    metrics = json.loads(shown)
    assert metrics["workers"] == {"tasks": 1, "processes": 2}
    assert metrics["images"]["used"] == retraining.IMAGES
