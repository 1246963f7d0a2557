"""The doctor's steps for Spark: each fault is named, with what to do about it."""

import importlib
import socket

import pytest

from poets.cli import run
from poets.doctor import Checkup, Step, StepError
from poets.doctor.diagnosis import take
from poets.spark.submit import Target

pytest_plugins = ["tests.spark_session"]
SITE = "<configuration>{}</configuration>"
PROPERTY = "<property><name>{}</name><value>{}</value></property>"
MANAGER = "yarn.resourcemanager"


@pytest.fixture
def steps_for(spark):
    """Makes the steps for a master; an application starts when they need it."""
    checks = importlib.import_module("poets.spark.checks")
    return lambda master: checks.SparkSteps([], Target("spark-submit", "", master))


@pytest.fixture
def yarn_site(tmp_path, monkeypatch):
    """Writes yarn-site.xml into the folder of HADOOP_CONF_DIR."""
    monkeypatch.delenv("YARN_CONF_DIR", raising=False)
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))

    def write(**properties):
        found = (PROPERTY.format(f"{MANAGER}.{k}", v) for k, v in properties.items())
        (tmp_path / "yarn-site.xml").write_text(SITE.format("".join(found)))

    return write


def reach(steps_for, master="yarn"):
    return steps_for(master).reach_yarn(Checkup("spark"))


def test_yarn_is_left_out_for_another_master(steps_for):
    assert not reach(steps_for, "spark://host:7077").applies


def test_the_folder_of_the_configuration_is_asked_for(steps_for, monkeypatch):
    for name in ("YARN_CONF_DIR", "HADOOP_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StepError, match="neither YARN_CONF_DIR nor HADOOP_CONF_DIR"):
        reach(steps_for)


def test_a_site_without_an_address_is_named(steps_for, yarn_site, tmp_path):
    yarn_site(principal="rm/_HOST@LOCAL")
    with pytest.raises(StepError, match=f"{tmp_path}/yarn-site.xml names no {MANAGER}"):
        reach(steps_for)


def test_a_manager_that_is_down_is_named(steps_for, yarn_site, closed_port):
    yarn_site(address=f"127.0.0.1:{closed_port}")
    with pytest.raises(StepError, match=f"127.0.0.1:{closed_port}: connection refused"):
        reach(steps_for)


def test_one_of_several_managers_is_enough(steps_for, yarn_site, closed_port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        down, up = (f"127.0.0.1:{number}" for number in (closed_port, port))
        names = {"ha.rm-ids": "rm1, rm2", "address.rm1": down, "address.rm2": up}
        yarn_site(**names)
        assert f"127.0.0.1:{port} accepts" in reach(steps_for).text


def test_a_java_that_hangs_is_given_up(steps_for, monkeypatch, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\nexec sleep 600\n")
    java.chmod(0o700)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    step = Step("Spark", "", steps_for("yarn").find_spark)
    with pytest.raises(StepError, match=r"no answer within 0\.5 s"):
        take(step, Checkup("spark"), timeout_s=0.5)


def test_a_missing_java_is_named(steps_for, monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StepError, match="no java in JAVA_HOME"):
        steps_for("yarn").find_spark(Checkup("spark"))


def test_an_executor_is_looked_at(steps_for, spark_session, monkeypatch, tmp_path):
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "")
    steps = steps_for(spark_session.sparkContext.master)
    found = steps.start_executor(Checkup("spark"))
    assert "with all modules" in found.text
    (tmp_path / "a.jpg").touch()
    found = steps.list_pictures(Checkup("spark", (str(tmp_path),)))
    assert found.text.endswith(f"lists {tmp_path} without Kerberos")
    with pytest.raises(StepError, match="cannot list '/none'"):
        steps.list_pictures(Checkup("spark", ("/none",)))


def test_the_doctor_needs_an_options_file_for_spark(capsys):
    assert run(["doctor", "--spark"]) == 2
    assert "--spark needs --options" in capsys.readouterr().err
