"""The TensorBoard task: a real TensorBoard that shows a run while it goes on."""

import importlib.util
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from poets.dcos.run import run
from poets.dcos.tensorboard import command_of
from poets.errors import ConfigError
from poets.storage.publish import write_atomically
from tests.dcos.local import DEADLINE_S, job_zip, options_of, work_dir

ROOT = Path(__file__).parents[2]

# Goes on until the file is there.
UNTIL = """
import os, sys, time
while not os.path.exists(PATH):
    time.sleep(0.02)
sys.exit(0)
"""


def events(folder):
    """Returns the content of an event file."""
    writer = EventFileWriter(str(folder))
    value = Summary.Value(tag="accuracy_1", simple_value=0.5)
    writer.add_event(Event(step=1, wall_time=1.0, summary=Summary(value=[value])))
    writer.close()
    (path,) = folder.iterdir()
    return path.read_bytes()


def page(url, deadline_s):
    """Returns what is at a URL as soon as somebody answers."""
    while True:
        try:
            with urlopen(url, timeout=DEADLINE_S) as answer:
                assert answer.status == 200
                return answer.read()
        except OSError as error:
            if time.monotonic() > deadline_s:
                pytest.fail(f"nothing at {url} after {DEADLINE_S:g} s: {error}")
            time.sleep(0.05)


def runs_shown(url, expected):
    """Waits until TensorBoard has read the runs expected."""
    deadline_s = time.monotonic() + DEADLINE_S
    while (shown := json.loads(page(f"{url}data/runs", deadline_s))) != expected:
        assert time.monotonic() < deadline_s, f"it shows {shown}"
        time.sleep(0.05)


def nobody_listens(url):
    port = int(url.rstrip("/").rpartition(":")[2])
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def without_tensorflow(tmp_path, monkeypatch):
    """TensorBoard starts in a quarter of the time where there is no TensorFlow."""
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "tensorflow.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'absent'}:{ROOT}")
    return {"PYTHONPATH": os.environ["PYTHONPATH"]}


@pytest.mark.parametrize(
    "kind", ["volumes", pytest.param("local", marks=pytest.mark.soak), "s3"]
)
def test_tensorboard_shows_a_run_and_is_stopped_with_it(
    kind, tmp_path, lines, scheduler_log, request
):
    data = events(tmp_path / "made")
    name = "training_summaries/train/events.out.tfevents.1"
    done = tmp_path / "done"
    url = job_zip(tmp_path, {"job.py": UNTIL.replace("PATH", repr(str(done)))})
    expected = ["training_summaries/train"]
    shared = ""
    if kind == "volumes":
        expected = ["worker-0/tf-volume/training_summaries/train"]
        place = tmp_path / "run/worker-0/tf-volume" / name
    elif kind == "local":
        shared = str(tmp_path / "shared")
        place = tmp_path / "shared" / name
    else:
        s3 = request.getfixturevalue("s3")
        request.getfixturevalue("without_tensorflow")
        shared = f"s3://{s3.make_bucket()}/run"
        write_atomically(f"{shared}/{name}", data)
        write_atomically(f"{shared}/retrained_graph.pb", b"not for TensorBoard")
        place = tmp_path / "elsewhere"
    options = options_of(url, shared_filesystem=shared, use_tensorboard=True)
    outcomes = queue.SimpleQueue()
    folder = work_dir(tmp_path)
    scheduler = threading.Thread(
        target=lambda: outcomes.put(run(options, folder, lines, grace_s=10))
    )
    scheduler.start()
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while not any("tensorboard-0:[node]" in text for text in scheduler_log.texts):
            assert time.monotonic() < deadline_s, scheduler_log.texts
            time.sleep(0.01)
        (address,) = re.findall(r"http://\S+", scheduler_log.texts[0])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        assert b"<title>TensorBoard</title>" in page(address, deadline_s)
        runs_shown(address, expected)
    finally:
        done.touch()
        scheduler.join(DEADLINE_S)
    outcome = outcomes.get(timeout=1)
    assert outcome.succeeded, lines
    assert outcome.plan.endswith("   └─ tensorboard-0:[node] (COMPLETE)")
    assert scheduler_log.texts[-1] == "tensorboard-0:[node] (COMPLETE): stopped"
    assert nobody_listens(address)
    logs = folder / "tensorboard-0" / "logs"
    copied = [path.name for path in logs.rglob("*") if path.is_file()]
    assert copied == (["events.out.tfevents.1"] if kind == "s3" else [])


def started(log_dir, cwd, **variables):
    """Returns the task's process, as the scheduler starts it."""
    return subprocess.Popen(
        command_of(log_dir, 0),
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def address_of(task):
    """Returns where TensorBoard says that it is."""
    for line in task.stderr:
        if " at http://" in line:
            return re.findall(r"http://\S+", line)[0]
    return pytest.fail("it ended early")


def test_a_folder_that_takes_a_keytab_is_shown_and_the_tickets_are_removed(
    secure_hdfs, without_tensorflow, tmp_path
):
    (tmp_path / "temp").mkdir()
    events(tmp_path / "made")
    secure_hdfs.cluster.put(tmp_path / "made", "/tensorboard/train")
    settings = without_tensorflow | {"TMPDIR": str(tmp_path / "temp")}
    settings |= secure_hdfs.environment("tensorflow")
    with started("hdfs://default/tensorboard", tmp_path, **settings) as task:
        address = address_of(task)
        runs_shown(address, ["train"])
        os.killpg(task.pid, signal.SIGTERM)
        assert task.wait(DEADLINE_S) == 0
    assert nobody_listens(address)
    left = {path.name for path in (tmp_path / "temp").iterdir()}
    assert left <= {".tensorboard-info"}  # TensorBoard's own list of itself, empty


def test_tensorboard_ends_when_its_scheduler_is_gone(tmp_path, without_tensorflow):
    with started(str(tmp_path), tmp_path, **without_tensorflow) as task:
        address = address_of(task)
        assert not nobody_listens(address)
        task.stdin.close()  # all that a killed scheduler leaves
        assert task.wait(DEADLINE_S) == 0
        assert nobody_listens(address)


def test_tensorboard_that_is_not_installed_is_reported_before_anything_starts(
    tmp_path, lines, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    options = options_of(job_zip(tmp_path, {"job.py": ""}), use_tensorboard=True)
    with pytest.raises(
        ConfigError,
        match=r"service.use_tensorboard: tensorboard is not installed; pip install "
        r"'poets\[tensorboard\]'",
    ):
        run(options, work_dir(tmp_path), lines)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_port_that_is_taken_is_reported_before_anything_starts(tmp_path, lines):
    options = options_of(job_zip(tmp_path, {"job.py": ""}), use_tensorboard=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = options.given["tensorboard.port"] = taken.getsockname()[1]
        with pytest.raises(
            ConfigError,
            match=f"cannot use the port {port} of this machine: Address already in "
            "use; name another, or --set tensorboard.port=0",
        ):
            run(options, work_dir(tmp_path), lines)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_cannot_be_opened_is_one_line(tmp_path):
    with started("ftp://host/logs", tmp_path) as task:
        said = task.stderr.read()
        assert task.wait(DEADLINE_S) == 2
    assert "ERROR]: no storage for 'ftp://host/logs'" in said
    assert said.count("\n") == 1
