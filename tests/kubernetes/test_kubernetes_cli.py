"""`poets kubernetes` as typed: what it prints where, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from poets.errors import ConfigError, StorageError
from tests.kubernetes.typed import poets

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "demo" / "poets.json")


def test_stdout_is_one_list_and_the_secret_to_make_is_reported_in_the_log(
    capsys, caplog
):
    caplog.set_level("INFO")
    secret = "service.security.kerberos.keytab_secret=__dcos_base64__hdfs_keytab"
    assert poets("manifests", DEMO, "--set", secret) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["kind"], len(printed["items"])) == ("List", 2)
    assert "create secret generic hdfs-keytab --from-file=keytab=FILE" in caplog.text


def test_every_option_reaches_the_objects(capsys):
    words = [
        *("--image", "example.com/mine:2", "--namespace", "ml"),
        *("--storage", "pvc:disk", "--set", "worker.count=2"),
        *("--set", "service.shared_filesystem=", "--arg", "learning_rate=0.5"),
        *("--grid", "seed=1,2"),
    ]
    assert poets("manifests", DEMO, *words) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert [(item["kind"], item["metadata"]["name"]) for item in items] == [
        ("Service", "tensorflow-hyperparam-0"),
        ("Job", "tensorflow-hyperparam-0"),
        ("Service", "tensorflow-hyperparam-1"),
        ("Job", "tensorflow-hyperparam-1"),
    ]
    assert {item["metadata"]["namespace"] for item in items} == {"ml"}
    for seed, job in zip("12", items[1::2], strict=True):
        container = job["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "example.com/mine:2"
        assert {"--learning_rate=0.5", f"--seed={seed}"} <= set(container["args"])
        assert job["spec"]["completions"] == 2


def test_an_options_file_of_another_job_is_refused():
    with pytest.raises(ConfigError, match="job_name: is 'mnist', but the image"):
        poets("manifests", DEMO, "--set", "service.job_name=mnist")


def test_what_dcos_would_refuse_is_refused_here_too():
    words = ["--set", "worker.mem=100", "--set", "worker.cpus=0"]
    with pytest.raises(ConfigError, match="2 problems") as caught:
        poets("manifests", DEMO, *words)
    assert "worker.cpus: is 0" in str(caught.value)


def test_where_the_job_comes_from_on_dcos_does_not_matter(capsys):
    words = ["--set", "service.job_url=", "--set", "service.job_path="]
    assert poets("manifests", DEMO, *words) == 0
    assert "Kerberos" not in capsys.readouterr().out


def test_what_is_left_out_is_reported(capsys, caplog):
    assert poets("manifests", DEMO, "--set", "parameter_server.count=2") == 0
    assert "parameter_server.count: left out" in caplog.text
    assert json.loads(capsys.readouterr().out)["kind"] == "List"


def test_a_follower_copies_once_when_asked_to(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"model")
    copy = tmp_path / "copy"
    assert poets("follow", str(tmp_path / "model"), str(copy), "--once") == 0
    assert (copy / "saved_model.pb").read_bytes() == b"model"


def test_a_follower_that_is_to_copy_once_fails_where_it_cannot(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "copy").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot follow"):
        poets("follow", str(tmp_path / "model"), str(tmp_path / "copy"), "--once")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9", "soon"])
def test_a_pause_that_is_none_is_refused(seconds, capsys):
    with pytest.raises(SystemExit) as ended:
        poets("follow", "/from", "/to", "--every", seconds)
    assert ended.value.code == 2
    assert (
        f"--every: {seconds!r} is not a number above 0 and" in capsys.readouterr().err
    )


def test_a_follower_goes_on_after_a_failure_until_it_is_stopped(tmp_path, wait_until):
    """A file is in the way of the copy; once it is gone the follow catches up."""
    source, copy = tmp_path / "summaries", tmp_path / "copy"
    source.mkdir()
    (source / "events").write_bytes(b"first")
    copy.write_bytes(b"in the way")
    code = (
        "import argparse\nfrom poets.cli import kubernetes\n"
        "p = argparse.ArgumentParser()\nkubernetes.add_arguments(p)\n"
        "a = p.parse_args()\na.func(a)"
    )
    words = ["follow", str(source), str(copy), "--every", "0.05"]
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        running = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=stderr,
        )
    try:
        wait_until(lambda: b"trying again in 0.05 s" in log.read_bytes())
        copy.unlink()
        wait_until(lambda: (copy / "events").exists())
        with (source / "events").open("ab") as file:
            file.write(b", second")
        wait_until(lambda: (copy / "events").read_bytes() == b"first, second")
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(300)
