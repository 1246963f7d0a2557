"""The options file on a real YARN beside a secure HDFS, with a packed environment.

The executors are containers. They have no code but the environment's, and no login but
the tokens that Spark gives them.
"""

import json
import os
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
OUT = "hdfs://default/user/tensorflow/run"


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


@pytest.mark.soak
def test_containers_of_yarn_compute_with_an_environment(
    spark, start_hdfs, environment, tmp_path
):
    import pyspark

    hdfs = start_hdfs(yarn=True)
    hdfs.cluster.make_folder("/user/tensorflow", "tensorflow:tensorflow")
    hdfs.cluster.put(retraining.write_images(tmp_path / "images"), IMAGES)
    jars = Path(pyspark.__file__).parent / "jars"
    words = [
        *("spark", "submit", DEMO, "--environment", environment),
        *("--secrets", hdfs.keytab("tensorflow").parent),
        *("--conf", f"spark.yarn.jars=local:{jars}/*"),  # else 400 MB are uploaded
        *("--set", "service.job_url=", "--set", f"service.shared_filesystem={OUT}"),
        *("--set", "worker.count=2", "--set", "worker.cpus=1"),
        *("--set", "worker.mem=1536", "--arg", f"image_dir=hdfs://default{IMAGES}"),
    ]
    variables = {
        "HADOOP_CONF_DIR": str(hdfs.conf_dir),
        "KRB5_CONFIG": str(hdfs.krb5_conf),
        "PYTHONPATH": "",  # of the driver, whose containers have none
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = run_poets(words, variables)
    assert done.code == 0, done
    shown = hdfs.dfs("-cat", f"{OUT}/metrics.json", user="tensorflow").stdout
    metrics = json.loads(shown)
    assert metrics["workers"] == {"tasks": 1, "processes": 2}
    assert metrics["images"]["used"] == retraining.IMAGES
