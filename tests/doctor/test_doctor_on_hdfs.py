"""`poets doctor` at a real secure HDFS: what is wrong is named.

Each case has one thing wrong. The step that fails, who we are, what was found and what
to do are reported within seconds; nothing is left behind.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.doctor.ended import INPUT, OUTPUT, assert_failed, steps_of
from tests.secure import conf_with_namenode
from tools.hdfs.daemons import is_listening
from tools.hdfs.shell import DFS_ADMIN, run_hadoop


@pytest.fixture
def conf_without(hdfs, tmp_path):
    """Copies the client configuration without a key; returns its folder."""

    def copy(key: str) -> Path:
        folder = shutil.copytree(hdfs.conf_dir, tmp_path / "conf")
        changed = 0
        for path in folder.glob("*-site.xml"):
            pattern = rf"<property>\s*<name>{re.escape(key)}</name>.*?</property>"
            text, count = re.subn(pattern, "", path.read_text(), flags=re.DOTALL)
            path.write_text(text)
            changed += count
        assert changed
        return folder

    return copy


def test_everything_fine(doctor, hdfs, environment):
    ended = doctor(
        environment, f"hdfs://default{INPUT}", f"--write=hdfs://default{OUTPUT}/new/run"
    )
    assert (ended.code, ended.err) == (0, "")
    steps = steps_of(ended)
    assert set(steps.values()) == {"ok"}
    assert list(steps) == [
        *("client library", "configuration", "authentication", "keytab", "krb5.conf"),
        *("KDC", "ticket", "service ticket", "port", "NameNode", "list", "read"),
        *("write", "ticket lifetime"),
    ]
    address = hdfs.url.removeprefix("hdfs://")
    for text in (
        f"NameNode {address}\n",
        f"from {hdfs.conf_dir}/core-site.xml\n",
        f"  fs.defaultFS = {hdfs.url}\n",
        "  hadoop.security.authentication = kerberos\n",
        f"has the key of tensorflow@LOCAL, version {1}",
        f"realm LOCAL, KDC {hdfs.kdc.address}\n",
        "ticket of tensorflow@LOCAL until ",
        "hdfs/localhost@LOCAL, key version ",
        f"{address} (127.0.0.1) accepts connections\n",
        "it answers tensorflow@LOCAL\n",
        f"hdfs://default{INPUT} holds 3 folders and 0 files\n",
        ", from a DataNode\n",
        f"hdfs://default{OUTPUT} is writable\n",
        f"hdfs://default{OUTPUT}/new/run can be made\n",
        "no safe mode, and a DataNode stored the bytes\n",
        "any: the keytab gets new tickets\n",
    ):
        assert text in ended.out, text
    assert ended.out.splitlines()[-1].startswith("all is well (")
    assert hdfs.dfs("-ls", "-R", OUTPUT).stdout == "", "it left something behind"


def test_json_has_every_step(doctor, environment):
    ended = doctor(environment, "--json", f"hdfs://default{INPUT}")
    found = json.loads(ended.out)
    assert (ended.code, ended.err, found["ok"]) == (0, "", True)
    for step in found["steps"]:
        assert step.keys() == {
            *("storage", "name", "checks", "status", "found", "cure", "principal"),
            *("details", "seconds", "timeout_s"),
        }
        assert (step["storage"], step["status"]) == ("hdfs://default", "ok")
        assert step["found"]
        assert 0 <= step["seconds"] <= step["timeout_s"] == 10
    assert "write" not in {step["name"] for step in found["steps"]}, "nothing to write"


def test_json_of_a_failure_says_what_was_not_reached(doctor, environment):
    ended = doctor(environment, "--json", "hdfs://default/nothing", "--write=hdfs:///x")
    found = json.loads(ended.out)
    assert (ended.code, found["ok"]) == (1, False)
    status = {step["name"]: step["status"] for step in found["steps"]}
    (failed,) = [step for step in found["steps"] if step["status"] == "failed"]
    assert failed["name"] == "list"
    assert failed["principal"] == "tensorflow@LOCAL"
    assert failed["found"].startswith("there is no 'hdfs://default/nothing': '/' holds")
    assert failed["cure"].startswith("put the images there")
    assert status["read"] == status["write"] == "not reached"


def test_without_a_url_the_default_file_system_is_looked_at(doctor, environment):
    ended = doctor(environment)
    assert ended.code == 0
    assert "hdfs://default/ holds " in ended.out


def test_no_right_to_write(doctor, hdfs):
    ended = doctor(hdfs.environment("alice"), "--write=hdfs://default/tensorflow/run")
    assert_failed(
        ended,
        "write",
        "on hdfs://default as alice@LOCAL",
        "cannot write in 'hdfs://default/tensorflow'",
        "'alice' may not write in '/tensorflow', which belongs to "
        "tensorflow:tensorflow with drwxr-xr-x",
        "ask its owner",
    )


def test_a_label_folder_that_cannot_be_listed(doctor, hdfs, environment):
    folder = "/tensorflow_input_data/seen_by_the_doctor"
    hdfs.change(
        ("mkdirs", f"{folder}/rose", 0o755, True),
        ("mkdirs", f"{folder}/rose/deep", 0o700, True),
        ("mkdirs", f"{folder}/_temporary", 0o700, True),
    )
    assert_failed(
        doctor(environment, f"hdfs://default{folder}"),
        "list",
        f"cannot list 'hdfs://default{folder}/rose/deep'",
        f"'tensorflow' may not list '{folder}/rose/deep'",
    )
    hdfs.change(("set_permission", f"{folder}/rose/deep", 0o755))
    ended = doctor(environment, "--json", f"hdfs://default{folder}")
    (listing,) = [s for s in json.loads(ended.out)["steps"] if s["name"] == "list"]
    assert listing["details"] == ["passed over, as by the job: '_temporary'"]


@pytest.fixture
def options_of(hdfs):
    """Words that take the demo's options to this HDFS and its KDC."""
    host, _, port = hdfs.kdc.address.rpartition(":")
    kerberos = "service.security.kerberos"
    return [
        "--options=demo/poets.json",
        f"--set=service.hdfs.config_uri={hdfs.config_uri}",
        f"--set={kerberos}.kdc.hostname={host}",
        f"--set={kerberos}.kdc.port={port}",
        f"--set={kerberos}.keytab_secret=__dcos_base64__tensorflow_keytab",
        f"--arg=image_dir=hdfs://default{INPUT}",
    ]


def test_the_demo_s_options(doctor, hdfs, options_of):
    secrets = hdfs.keytab("tensorflow").parent
    ended = doctor({}, *options_of, f"--secrets={secrets}")
    assert (ended.code, ended.err) == (0, ""), ended.out
    for text in (
        f"from {hdfs.config_uri}/core-site.xml\n",
        "/kerberos.keytab has the key of tensorflow@LOCAL, version 1\n",
        f"realm LOCAL, KDC {hdfs.kdc.address}\n",
        f"hdfs://default{INPUT} holds 3 folders and 0 files\n",
        "hdfs://default/tensorflow is writable\n",
        "hdfs://default/tensorflow/test_run can be made\n",
        "hdfs://default/tensorflow/test_run/bottlenecks can be made\n",
        "hdfs://default/tensorflow/test_run/training_summaries can be made\n",
    ):
        assert text in ended.out, ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a local run has no secret store; give the folder that holds it with --"),
        (["--secrets=demo"], "cannot take the secret '__dcos_base64__tensorflow_key"),
    ],
)
def test_options_whose_secret_is_not_here(doctor, options_of, words, message):
    ended = doctor({}, *options_of, *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


@pytest.mark.parametrize("way", ["webhdfs_url", "swebhdfs_url", "httpfs_url"])
def test_the_web_interfaces(doctor, hdfs, environment, way):
    url = getattr(hdfs, way)
    ended = doctor(
        environment | {"POETS_CA_FILE": str(hdfs.ca_file)},
        f"{url}{INPUT}",
        f"--write={url}{OUTPUT}",
    )
    assert ended.code == 0, ended
    assert set(steps_of(ended).values()) == {"ok"}
    assert "HTTP/localhost@LOCAL, key version 1\n" in ended.out


def test_a_web_address_that_is_not_the_server_s_name(doctor, hdfs, environment):
    url = hdfs.webhdfs_url.replace("localhost", "127.0.0.1")
    ended = doctor(environment, f"{url}/x")
    assert_failed(
        ended,
        "service ticket",
        "no ticket for service 'HTTP/127.0.0.1' as 'tensorflow@LOCAL'",
        "use the host name that the server's own principal has",
    )


def test_a_missing_input_folder(doctor, environment):
    ended = doctor(environment, "hdfs://default/tensorflow_input_data/flours/roses")
    assert_failed(
        ended,
        "list",
        "as tensorflow@LOCAL",
        "there is no 'hdfs://default/tensorflow_input_data/flours/roses': "
        "'/tensorflow_input_data' holds doctor",
        "name the folder that has them",
    )


def test_a_quota_that_is_used_up(doctor, hdfs, environment):
    hdfs.cluster.make_folder("/tensorflow/full", "tensorflow:tensorflow")
    words = ["-setSpaceQuota", "1m", "/tensorflow/full"]
    done = run_hadoop(hdfs.cluster, words, main_class=DFS_ADMIN, capture=True)
    assert done.returncode == 0, done.stderr
    ended = doctor(environment, "--write=hdfs://default/tensorflow/full")
    assert_failed(
        ended,
        "write",
        "as tensorflow@LOCAL",
        "cannot write in 'hdfs://default/tensorflow/full'",
        "/tensorflow/full is exceeded",
        "ask for a larger quota",
    )


def test_a_principal_that_hdfs_does_not_know(doctor, hdfs):
    ended = doctor(hdfs.environment("stranger"))
    assert_failed(
        ended, "NameNode", "as stranger@LOCAL", "'stranger@LOCAL'", "auth_to_local"
    )


def test_a_namenode_that_is_down(doctor, hdfs, environment, closed_port, tmp_path):
    conf = conf_with_namenode(hdfs, closed_port, tmp_path / "conf")
    ended = doctor(environment | conf)
    address = f"localhost:{closed_port}"
    assert_failed(
        ended,
        "port",
        "as tensorflow@LOCAL",
        f"cannot reach the NameNode: {address}: connection refused",
        "check whether it is up",
    )


def test_datanodes_that_are_down(doctor, hdfs, environment, wait_until):
    datanodes = hdfs.cluster.datanodes
    ports = [port for datanode in datanodes for port in datanode.ports.values()]

    def listening() -> bool:
        return all(is_listening("localhost", port) for port in ports)

    for datanode in datanodes:
        datanode.kill()
    try:
        ended = doctor(environment, f"hdfs://default{INPUT}", "--timeout_s=3")
    finally:
        for datanode in datanodes:
            datanode.start()
        wait_until(listening)  # a probe that comes before is 20 s late
        hdfs.start_all()
    assert ended.err == ""
    assert_failed(
        ended,
        "read",
        "as tensorflow@LOCAL",
        "cannot read '/tensorflow_input_data/doctor/",
        "no DataNode sends or accepts the data",
        "dfs.client.use.datanode.hostname=true",
    )


def test_safe_mode(doctor, hdfs, environment):
    def safe_mode(verb: str) -> None:
        words = ["-safemode", verb]
        done = run_hadoop(hdfs.cluster, words, main_class=DFS_ADMIN, capture=True)
        assert done.returncode == 0, done.stderr

    safe_mode("enter")
    try:
        ended = doctor(environment, f"--write=hdfs://default{OUTPUT}", "--timeout_s=2")
    finally:
        safe_mode("leave")
    assert_failed(ended, "write", "the NameNode is in safe mode", "wait, or leave it")


def test_a_configuration_without_the_protection_of_the_data(
    doctor, environment, conf_without
):
    folder = conf_without("dfs.data.transfer.protection")
    ended = doctor(
        environment | {"POETS_HADOOP_CONF": str(folder)},
        f"hdfs://default{INPUT}",
        "--timeout_s=3",
    )
    assert_failed(
        ended,
        "read",
        "dfs.data.transfer.protection must be the cluster's, here it is not set",
    )


def test_a_configuration_that_does_not_ask_for_kerberos(
    doctor, environment, conf_without
):
    folder = conf_without("hadoop.security.authentication")
    ended = doctor(environment | {"POETS_HADOOP_CONF": str(folder)})
    assert_failed(
        ended,
        "authentication",
        f"hadoop.security.authentication is not set (read {folder}/core-site.xml",
        "although the principal tensorflow@LOCAL is given",
        "give the cluster's own core-site.xml and hdfs-site.xml",
    )


def test_no_configuration(doctor, hdfs):
    ended = doctor(hdfs.kdc.environment("tensorflow"))
    assert_failed(
        ended, "configuration", "fs.defaultFS is not set", "with --hadoop_conf"
    )


def test_a_configuration_folder_that_is_missing(doctor, hdfs, tmp_path):
    ended = doctor(
        hdfs.kdc.environment("tensorflow"), f"--hadoop_conf={tmp_path / 'none'}"
    )
    assert_failed(
        ended,
        "configuration",
        f"cannot read '{tmp_path}/none/core-site.xml': no such file",
        "POETS_HADOOP_CONF",
    )


def test_a_port_on_which_nobody_listens(doctor, environment, closed_port):
    ended = doctor(environment, f"hdfs://localhost:{closed_port}/x")
    assert_failed(
        ended, "port", f"localhost:{closed_port}: connection refused", "usually 8020"
    )


def test_the_port_of_the_web_interface(doctor, hdfs, environment):
    url = hdfs.webhdfs_url.replace("webhdfs", "hdfs") + "/x"
    ended = doctor(environment, url, "--timeout_s=2")
    assert_failed(ended, "NameNode", "usually port 8020; 9870 is the web's")


def test_a_user_whom_it_may_not_act_for(doctor, environment):
    ended = doctor(environment | {"HADOOP_PROXY_USER": "bob"})
    assert_failed(
        ended,
        "NameNode",
        "NameNode, on hdfs://default as tensorflow@LOCAL acting for bob\n",
        "does not let 'tensorflow@LOCAL' act for 'bob' (HADOOP_PROXY_USER)\n",
        "hadoop.proxyuser.tensorflow.hosts",
    )


def test_a_user_whom_it_may_act_for(doctor, environment):
    ended = doctor(
        environment | {"HADOOP_PROXY_USER": "alice"}, f"hdfs://default{INPUT}"
    )
    assert ended.code == 0, ended.out
    assert "it answers tensorflow@LOCAL acting for alice\n" in ended.out


def test_a_server_of_the_configuration_that_says_nothing(doctor, hdfs, silent_port):
    uri = f"http://127.0.0.1:{silent_port}"
    login = hdfs.kdc.environment("tensorflow")
    ended = doctor(login, f"--hadoop_conf={uri}/conf", "--timeout_s=1")
    assert_failed(ended, "configuration", f"cannot read '{uri}/conf/core-site.xml': ")


def test_a_namenode_that_says_nothing(doctor, environment, silent_port):
    ended = doctor(environment, f"hdfs://localhost:{silent_port}/x", "--timeout_s=1")
    assert_failed(ended, "NameNode", "took more than 1 s", "does not answer")


def test_a_host_that_does_not_exist(doctor, environment):
    ended = doctor(environment, "hdfs://name-node.invalid/x")
    assert_failed(
        ended, "port", "name-node.invalid:8020: there is no host of this name"
    )
