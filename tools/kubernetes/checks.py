"""Runs each image once, in a container without a network.

    poets        trains on drawn pictures, then serves what it trained
    actor        answers a message of Abaco
    action       answers calls of OpenWhisk, with a model inside
    notebook     runs demo/poets.ipynb
    task         runs the zip of DC/OS as the package's wrapper does

Containers have a read-only root and the limits of a small pod.
"""

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tools.hdfs.daemons import wait_until
from tools.kubernetes.build import BuildError
from tools.kubernetes.images import ACTION, ACTOR, NOTEBOOK, POETS, ROOT, TASK, Images

Json = dict[str, Any]
PER_LABEL = 60
LIMITS = ("--rm", "--network=none", "--read-only", "--tmpfs=/tmp:rw,mode=1777")
ANSWER_TIMEOUT_S = 120
FLOWERS = "example.com/flowers:1"
ASK = """
import sys, urllib.request
url, kind, *rest = sys.argv[1:]
data = open(rest[0], 'rb').read() if rest else None
request = urllib.request.Request(url, data, {'Content-Type': kind} if data else {})
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""
WRAPPER = """
import importlib, json, os
import tensorflow as tf
cluster = tf.train.ClusterSpec({"worker": ["127.0.0.1:2222"]})
config = tf.ConfigProto(device_count={"GPU": 0})
server = tf.train.Server(cluster, job_name="worker", task_index=0, config=config)
job = importlib.import_module("poets")
job.main(server, "/run-folder", json.loads(os.environ["JOB_CONTEXT"]))
"""
"""A task of DC/OS, by names of TensorFlow 1."""


def check_images(images: Images, work: Path) -> Iterator[str]:
    """Runs each image once; yields a line for each.

    Args:
      images: the images.
      work: a folder for pictures and results; it is emptied.

    Raises:
      BuildError: if an image does not do its work.
    """
    shutil.rmtree(work, ignore_errors=True)
    pictures, run = work / "flowers", work / "run"
    run.mkdir(parents=True)
    run.chmod(0o777)
    draw = [sys.executable, str(ROOT / "demo" / "flowers.py"), str(pictures)]
    drawing = [*draw, "--per_label", str(PER_LABEL)]
    subprocess.run(drawing, check=True, timeout=300, stdout=subprocess.DEVNULL)
    rose = next((pictures / "roses").glob("*.jpg"))
    for name, check in (
        (POETS, _train),
        (POETS, _serve),
        (ACTOR, _answer_message),
        (FLOWERS, _answer_call),
        (NOTEBOOK, _execute_notebook),
        (TASK, _run_task),
    ):
        start = time.monotonic()
        said = check(images, run, rose)
        yield f"{name}: {said} ({time.monotonic() - start:.0f} s)"


def _train(images: Images, run: Path, rose: Path) -> str:
    images.podman(
        *("run", *LIMITS, "--memory=2g", f"--volume={rose.parents[1]}:/images:ro"),
        *(f"--volume={run}:/run-folder", POETS, "--image_dir=/images"),
        *("--architecture=scattering_128", "--how_many_training_steps=200"),
        "--output_graph=/run-folder/retrained_graph.pb",
        "--output_labels=/run-folder/retrained_labels.txt",
        "--bottleneck_dir=/tmp/bottlenecks",
        "--model_dir=/tmp/models",
        "--summaries_dir=/run-folder/training_summaries",
    )
    metrics = json.loads((run / "metrics.json").read_text())
    return f"trained, test accuracy {_accuracy(metrics)}"


def _serve(images: Images, run: Path, rose: Path) -> str:
    command = ("poets", "serve", "flowers=/run-folder", "--host=0.0.0.0")
    ask = ("http://127.0.0.1:8501/v1/models/flowers:classify", "image/jpeg", "/rose")
    options = (f"--volume={run}:/run-folder:ro", f"--volume={rose}:/rose:ro")
    with_entry = (*options, f"--entrypoint={command[0]}", POETS, *command[1:])
    found = _ask_container(images, with_entry, ask)
    return f"served, a rose is {json.loads(found)['results'][0][0][0]!r}"


def _answer_message(images: Images, run: Path, rose: Path) -> str:
    """Builds the actor with the model; a picture is its message."""
    context = run.parent / "actor"
    for name in ("poets", "deploy/abaco"):
        shutil.copytree(ROOT / name, context / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, context)
    model = context / "deploy" / "abaco" / "model"
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir()
    shutil.copy(run / "retrained_graph.tflite", model)
    images.build_dockerfile("deploy/abaco/Dockerfile", ACTOR, context=context)
    message = f"--volume={rose}:/_abaco_binary_data:ro"
    shown = images.podman("run", *LIMITS, "--user=12345:12345", message, ACTOR)
    return f"answered a picture: {' '.join(shown.split())[:70]!r}"


def _answer_call(images: Images, run: Path, rose: Path) -> str:
    """Builds the action with the model inside, as docs/openwhisk.md does."""
    dockerfile = "deploy/openwhisk/Dockerfile.model"
    images.build_dockerfile(dockerfile, FLOWERS, context=run, ACTION=ACTION)
    calls = run.parent / "calls"
    calls.mkdir()
    (calls / "init.json").write_text(json.dumps({"value": {}}))
    (calls / "run.json").write_text(json.dumps({"value": {"image": _base64(rose)}}))
    asks = [
        (f"http://127.0.0.1:8080/{name}", "application/json", f"/calls/{name}.json")
        for name in ("init", "run")
    ]
    answer = json.loads(
        _ask_container(images, (f"--volume={calls}:/calls:ro", FLOWERS), *asks)
    )
    return f"answered a call: a rose is {answer['label']!r}"


def _execute_notebook(images: Images, run: Path, rose: Path) -> str:
    """As a user of the hub, whose home is a volume."""
    home = run.parent / "home"
    home.mkdir()
    home.chmod(0o777)
    execute = "cp /srv/poets/* . && jupyter execute --inplace poets.ipynb"
    options = (f"--volume={home}:/home/poets", "--env=TQDM_DISABLE=1")
    images.podman("run", *LIMITS, *options, NOTEBOOK, "sh", "-c", execute)
    metrics = json.loads((home / "flowers" / "run" / "metrics.json").read_text())
    return f"ran the notebook, test accuracy {_accuracy(metrics)}"


def _run_task(images: Images, run: Path, rose: Path) -> str:
    output = run.parent / "task"
    output.mkdir()
    build = [sys.executable, str(ROOT / "build_zip.py"), "--output", str(run.parent)]
    subprocess.run(build, check=True, timeout=300, stdout=subprocess.DEVNULL)
    (archive,) = run.parent.glob("poets-*.zip")
    shutil.unpack_archive(archive, run.parent / "job")
    args = {
        "--image_dir": "/images",
        "--architecture": "scattering_128",
        "--how_many_training_steps": 200,
        "--bottleneck_dir": "<<shared_filesystem>>/bottlenecks",
        "--model_dir": "/tmp/models",
        "--output_graph": "<<shared_filesystem>>/retrained_graph.pb",
        "--output_labels": "<<shared_filesystem>>/retrained_labels.txt",
        "--summaries_dir": "<<shared_filesystem>>/training_summaries",
    }
    images.podman(
        *("run", *LIMITS, f"--volume={rose.parents[1]}:/images:ro"),
        *(f"--volume={run.parent / 'job'}:/job:ro", f"--volume={output}:/run-folder"),
        f"--env=PYTHONPATH=/job/{archive.stem}",
        f"--env=JOB_CONTEXT={json.dumps({'args': args})}",
        *(TASK, "python", "-c", WRAPPER),
    )
    metrics = json.loads((output / "metrics.json").read_text())
    return f"ran a task, test accuracy {_accuracy(metrics)}"


def _accuracy(metrics: Json) -> str:
    return f"{metrics['accuracy']['test']['accuracy']:.1%}"


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _ask_container(
    images: Images, arguments: tuple[str, ...], *asks: tuple[str, ...]
) -> str:
    """Starts a server and asks it from within its container.

    Returns:
      the last answer.
    """
    started = images.podman("run", "--detach", *LIMITS, *arguments)
    container = started.strip().splitlines()[-1]
    found = ""

    def answers(ask: tuple[str, ...]) -> bool:
        nonlocal found
        try:
            found = images.podman("exec", container, "python", "-c", ASK, *ask)
        except BuildError as error:
            found = str(error)
            return False
        return True

    try:
        for ask in asks:
            if not wait_until(partial(answers, ask), ANSWER_TIMEOUT_S, poll_s=1):
                raise BuildError(f"{ask[0]} of {arguments} does not answer: {found}")
    finally:
        images.podman("kill", container)
    return found
