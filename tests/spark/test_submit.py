"""An options file as a command of spark-submit, which is text before it runs."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from poets.cli import run
from poets.dcos.context import left_out
from poets.dcos.options import read_options
from poets.errors import ConfigError
from poets.flags import config_from_args
from poets.job import config_from_context
from poets.spark.submit import WITHOUT_COUNTERPART, Target, command
from tests.command import run_poets
from tools.packages import missing_packages

pytest_plugins = ["tests.spark_session"]
ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "demo" / "poets.json")
MAIN = "/poets/__main__.py"


def command_of(settings=(), args=(), **target):
    options = read_options(DEMO, settings, args)
    return command(options, Target("spark-submit", MAIN, **target))


def settings_of(words):
    """Returns key -> value of all --conf."""
    pairs = zip(words, words[1:], strict=False)
    return dict(value.split("=", 1) for word, value in pairs if word == "--conf")


def value_of(words, flag):
    return words[words.index(flag) + 1]


def test_the_demo_is_this_command():
    words = command_of(
        ["worker.count=3", "service.shared_filesystem=hdfs:///run"],
        keytab="/secrets/keytab",
        conf=("spark.yarn.queue=ml",),
    )
    at = words.index(MAIN)
    assert words[:at] == [
        *("spark-submit", "--master", "yarn", "--deploy-mode", "client"),
        *("--name", "tensorflow", "--num-executors", "3", "--executor-cores", "4"),
        *("--executor-memory", "512m", "--driver-memory", "1024m"),
        *("--archives", "https://example.com/poets-1.0.0.zip#job"),
        *("--principal", "tensorflow@LOCAL", "--keytab", "/secrets/keytab"),
        *("--conf", "spark.executor.memoryOverhead=3584m"),
        *("--conf", "spark.dynamicAllocation.enabled=false"),
        *("--conf", "spark.speculation=true"),
        *("--conf", "spark.pyspark.driver.python=python3"),
        *("--conf", "spark.executorEnv.PYTHONPATH=job/poets-1.0.0"),
        *("--conf", "spark.yarn.dist.forceDownloadSchemes=http,https"),
        *("--conf", "spark.yarn.queue=ml"),
    ]
    assert words[at : at + 3] == [MAIN, "spark", "run"]


def test_the_driver_gets_the_flags_of_the_context():
    words = command_of()
    flags = dict(word[2:].split("=", 1) for word in words[words.index("run") + 1 :])
    options = read_options(DEMO)
    context = json.loads(options["service.job_context"])
    expected = config_from_context(context, options["service.shared_filesystem"])
    assert config_from_args(flags) == expected


def test_no_word_has_what_yarn_would_replace():
    every = " ".join(command_of(deploy_mode="cluster", environment="hdfs:///env.tgz"))
    assert "{{" not in every
    assert "}}" not in every
    assert "<<" not in every


def test_an_environment_holds_python_and_poets():
    words = command_of(environment="hdfs:///poets.tar.gz")
    assert value_of(words, "--archives") == "hdfs:///poets.tar.gz#environment"
    settings = settings_of(words)
    assert settings["spark.pyspark.python"] == "./environment/bin/python"
    assert "spark.executorEnv.PYTHONPATH" not in settings


def test_a_driver_in_a_container_finds_code_configuration_and_memory():
    words = command_of(deploy_mode="cluster", krb5_conf="/krb5.conf")
    option = "-Djava.security.krb5.conf=/krb5.conf"
    assert words[:3] == ["env", f"SPARK_SUBMIT_OPTS={option}", "spark-submit"]
    settings = settings_of(words)
    assert settings["spark.driver.extraJavaOptions"] == option
    master = "spark.yarn.appMasterEnv."
    assert settings[f"{master}PYTHONPATH"] == "job/poets-1.0.0"
    assert settings[f"{master}POETS_HADOOP_CONF"] == "__spark_conf__/__hadoop_conf__"
    assert settings[f"{master}KRB5_CONFIG"] == "/krb5.conf"
    assert settings["spark.driver.memoryOverhead"] == "3584m"
    assert "spark.pyspark.driver.python" not in settings


def test_without_kerberos_no_login_is_passed():
    words = command_of(["service.security.kerberos.enabled=false"], keytab="/keytab")
    assert "--keytab" not in words


def test_all_problems_are_reported_together():
    settings = ["worker.count=0", "worker.mem=700", "service.shared_filesystem=run"]
    with pytest.raises(ConfigError) as caught:
        command_of(settings, deploy_mode="cluster")
    text = str(caught.value)
    for part in ("worker.count: is 0", "worker.mem: is 700", "would be lost with the"):
        assert part in text


def test_options_without_counterpart_are_named():
    options = read_options(DEMO, ["gpu_worker.count=1", "parameter_server.count=2"])
    assert left_out(options, WITHOUT_COUNTERPART) == [
        "parameter_server.count",
        "gpu_worker.count",
        "service.hdfs.config_uri",
    ]


@pytest.fixture
def spark_home(tmp_path, monkeypatch):
    """A SPARK_HOME whose spark-submit writes its words to a file and exits with 3."""
    program = tmp_path / "bin" / "spark-submit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nexit 3\n')
    program.chmod(0o700)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def words(tmp_path):
    """The words of a submission, with a keytab."""
    (tmp_path / "secrets").mkdir()
    keytab = tmp_path / "secrets" / "__dcos_base64__tensorflow_keytab"
    keytab.write_bytes(b"\5\2")
    return ["spark", "submit", DEMO, "--secrets", str(keytab.parent)]


def test_what_is_printed_is_what_runs(spark_home, words, capsys, monkeypatch):
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop/conf")
    assert run([*words, "--dry-run"]) == 0
    printed = shlex.split(capsys.readouterr().out)
    assert not (spark_home / "words").exists()
    assert run(words) == 3
    assert printed[1:] == (spark_home / "words").read_text().splitlines()
    assert Path(printed[printed.index("spark") - 1]) == ROOT / "poets" / "__main__.py"
    keytab = spark_home / "secrets" / "__dcos_base64__tensorflow_keytab"
    assert value_of(printed, "--keytab") == str(keytab)


def test_without_pyspark_the_spark_home_is_the_users(spark_home, words, monkeypatch):
    program = spark_home / "bin" / "spark-submit"
    program.write_text(
        '#!/bin/sh\nprintf "%s" "$SPARK_HOME" > "$(dirname "$0")/home"\n'
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run([*words, "--master", "local[1]"]) == 0
    assert (program.parent / "home").read_text() == str(spark_home)


def test_yarn_needs_its_configuration(spark_home, words, capsys):
    assert run(words) == 2
    assert "HADOOP_CONF_DIR nor YARN_CONF_DIR is set" in capsys.readouterr().err
    assert run([*words, "--master", "local[1]"]) == 3


def test_a_missing_spark_is_named_with_the_cure(spark_home, words, capsys):
    (spark_home / "bin" / "spark-submit").unlink()
    assert run([*words, "--dry-run"]) == 0
    assert run(words) == 2
    assert "pip install 'poets[spark]'" in capsys.readouterr().err


def test_the_exit_code_of_a_real_driver_is_that_of_the_job(require, spark, tmp_path):
    require("pyspark", not missing_packages(["jdk"]))
    words = [
        "spark",
        "submit",
        DEMO,
        "--master",
        "local[1]",
        "--python",
        sys.executable,
    ]
    words += ["--set", "service.security.kerberos.enabled=false", "--set"]
    words += [f"service.shared_filesystem={tmp_path}", "--set", "service.job_url="]
    words += ["--arg", f"image_dir={tmp_path}/none"]
    done = run_poets(words, {})
    assert done.code == 2, done.err
    # Spark passes on what its Python writes, all to stdout.
    assert f"poets spark: Image directory '{tmp_path}/none'" in done.out
