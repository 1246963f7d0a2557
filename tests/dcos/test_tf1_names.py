"""The image's old names: a wrapper written for TensorFlow 1.x starts a real job.

The wrapper does what the package's own is known to do: it puts `job_path` on
PYTHONPATH, builds the server, and calls the hook.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from poets.dcos.run import reserved_ports

SHIM = Path(__file__).parents[2] / "deploy" / "docker"

WRAPPER = """
import importlib, json, logging, os, sys

logging.basicConfig(
    format="[%(asctime)s|%(name)s|%(levelname)s]: %(message)s",
    level=logging.INFO, stream=sys.stderr)

import tensorflow as tf

tf.logging.set_verbosity(tf.logging.INFO)

def main():
    cluster = tf.train.ClusterSpec(json.loads(os.environ["CLUSTER"]))
    server = tf.train.Server(
        cluster, job_name="worker", task_index=0,
        config=tf.ConfigProto(device_count={"GPU": 0}))
    server.start()
    log_dir = os.environ["SHARED_FILESYSTEM"]
    tf.gfile.MakeDirs(log_dir)
    context = json.loads(os.environ["JOB_CONTEXT"] or "{}")
    job = importlib.import_module(os.environ["JOB_NAME"])
    tf.logging.info("starting %s", os.environ["JOB_NAME"])
    job.main(server, log_dir, context)

assert tf.app.flags.FLAGS is tf.flags.FLAGS
main()
"""

JOB = """
def main(server, log_dir, context):
    definition = server.server_def
    print(definition.cluster.job[0].name, definition.task_index, log_dir, context)
"""

# What Python does with a .pth file of site-packages at its start.
SITE = f"import site; site.addsitedir({str(SHIM)!r})\n"


def python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", SITE + program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_wrapper_of_tensorflow_1_calls_the_hook_of_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("jobs-master/job.py", JOB)
    (tmp_path / "wrapper.py").write_text(WRAPPER)
    program = (
        "import runpy, sys; sys.argv = ['wrapper.py'];"
        f"runpy.run_path({str(tmp_path / 'wrapper.py')!r}, run_name='__main__')"
    )
    with reserved_ports([0]) as (port,):
        done = python(
            program,
            CLUSTER=json.dumps({"worker": [f"127.0.0.1:{port}"]}),
            PYTHONPATH=str(tmp_path / "job.zip" / "jobs-master"),
            JOB_NAME="job",
            JOB_CONTEXT='{"args": {}}',
            SHARED_FILESYSTEM=str(tmp_path / "shared"),
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"worker 0 {tmp_path / 'shared'} {{'args': {{}}}}\n"
    assert "|tensorflow|INFO]: starting job" in done.stderr


def test_tensorflow_is_not_imported_at_the_start():
    done = python("import sys; print('tensorflow' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_python_without_tensorflow_starts_as_ever(tmp_path):
    program = (
        f"import sys; sys.path[:] = [{str(tmp_path)!r}];"
        "import importlib.util; print(importlib.util.find_spec('tensorflow'))"
    )
    done = python(program)
    assert (done.stdout, done.stderr) == ("None\n", "")
