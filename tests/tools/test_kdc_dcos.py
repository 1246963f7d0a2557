"""tools/kdc/kdc.py on a cluster: the real kadmin behind a `dcos` command of our own.

No DC/OS cluster is at hand: fake_dcos.py keeps apps and secrets and answers as the
real command does; what is run in the KDC's task is run here.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from poets.kerberos.libkrb5 import Login, get_tgt
from tests.tools import fake_dcos
from tools.kdc import dcos
from tools.kdc.local import LocalKdc

ROOT = Path(__file__).parents[2]
SECRET = "__dcos_base64__hdfs_keytab"


class Cluster:
    """The cluster behind the `dcos` command."""

    def __init__(self, path: Path):
        self._path = path

    def __getitem__(self, name):
        return json.loads(self._path.read_text())[name]

    def __setitem__(self, name, value):
        state = json.loads(self._path.read_text())
        self._path.write_text(json.dumps({**state, name: value}))

    def commands(self) -> list[str]:
        """Returns the first words of each call so far."""
        return [" ".join(call[:3]) for call in self["calls"]]


FAKE = Path(__file__).with_name("fake_dcos.py")
SCRIPT = f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n'


def run_here(command, **options):
    """Runs our `dcos` in this process, which is faster, and all else as it is."""
    if Path(command[0]).read_text() != SCRIPT:
        return subprocess.run(command, **options)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = fake_dcos.main(command[1:])
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture
def as_process():
    """Each `dcos` is a process of its own, as with people."""


@pytest.fixture(autouse=True)
def _here(request, monkeypatch):
    if "as_process" not in request.fixturenames:
        replaced = SimpleNamespace(**vars(subprocess) | {"run": run_here})
        monkeypatch.setattr(dcos, "subprocess", replaced)


@pytest.fixture
def cluster(directory, tmp_path, monkeypatch):
    """A cluster without apps, and `dcos` on the PATH."""
    LocalKdc(directory, port=0).start()
    state = {"apps": [], "secrets": {}, "calls": [], "fail": {}, "staged": 0}
    (tmp_path / "state.json").write_text(json.dumps({**state, "kdc": str(directory)}))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "dcos"
    command.write_text(SCRIPT)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DCOS", str(tmp_path / "state.json"))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return Cluster(tmp_path / "state.json")


@pytest.fixture
def deploy(cluster, run, principals_file):
    """Runs `deploy`, which must succeed, and returns what it printed."""

    def deploy(*options) -> str:
        code, out, _ = run(
            *options, "--secret-name", "hdfs_keytab", "deploy", principals_file
        )
        assert code == 0
        return out

    return deploy


def ticket(keytab: bytes, principal: str, directory, tmp_path, monkeypatch):
    (tmp_path / "fetched").write_bytes(keytab)
    monkeypatch.setenv("KRB5_CONFIG", str(directory / "krb5.conf"))
    return get_tgt(Login(principal, str(tmp_path / "fetched"), None), 30)


def test_deploy_stores_a_keytab_that_logs_in(
    as_process, deploy, cluster, directory, tmp_path, monkeypatch
):
    cluster["staged"] = 3
    out = deploy()
    assert out == (
        "KDC of realm LOCAL: started on "
        "kdc.marathon.autoip.dcos.thisdcos.directory:2500\n"
        "principal tensorflow@LOCAL: made\n"
        "principal hdfs/localhost@LOCAL: made\n"
        f"keytab: secret {SECRET}, in the cluster's secret store\n"
    )
    keytab = base64.b64decode(bytes.fromhex(cluster["secrets"][SECRET]), validate=True)
    for principal in ("tensorflow@LOCAL", "hdfs/localhost@LOCAL"):
        got = ticket(keytab, principal, directory, tmp_path, monkeypatch)
        assert got.principal == principal


def test_the_address_is_that_of_the_demos_options(deploy, cluster):
    kdc = json.loads((ROOT / "demo" / "poets.json").read_text())["service"]["security"][
        "kerberos"
    ]["kdc"]
    address = f"{kdc['hostname']}:{kdc['port']}"
    assert f"started on {address}\n" in deploy()


def test_the_keytab_is_on_this_machine_for_a_moment_only(deploy, cluster):
    deploy()
    file_mode, folder_mode = cluster["modes"]
    assert folder_mode & 0o077 == 0
    assert not Path(cluster["path"]).exists()


def test_the_keytab_stays_out_of_the_task_and_of_every_command_line(
    deploy, cluster, directory
):
    out = deploy()
    secret = bytes.fromhex(cluster["secrets"][SECRET]).decode()
    assert secret not in json.dumps(cluster["calls"])
    assert secret not in out
    left = [path for path in (directory / "task").rglob("*") if path.is_file()]
    assert [path.read_text() for path in left] == [
        "tensorflow@LOCAL\nhdfs/localhost@LOCAL\n"
    ]


def test_a_second_deploy_keeps_app_and_keys_and_updates_the_secret(
    deploy, cluster, directory, tmp_path, monkeypatch
):
    deploy()
    first = base64.b64decode(bytes.fromhex(cluster["secrets"][SECRET]))
    out = deploy()
    assert "KDC of realm LOCAL: already running on" in out
    assert "principal tensorflow@LOCAL: kept\n" in out
    commands = cluster.commands()
    assert commands.count("marathon app add") == 1
    assert commands.count("security secrets create") == 1
    assert commands.count("security secrets update") == 1
    got = ticket(first, "tensorflow@LOCAL", directory, tmp_path, monkeypatch)
    assert got.principal == "tensorflow@LOCAL"


def test_a_binary_secret_is_the_keytab_itself(
    deploy, cluster, directory, tmp_path, monkeypatch
):
    deploy("--binary-secret")
    keytab = bytes.fromhex(cluster["secrets"]["hdfs_keytab"])
    assert keytab.startswith(b"\x05\x02")
    got = ticket(keytab, "tensorflow@LOCAL", directory, tmp_path, monkeypatch)
    assert got.principal == "tensorflow@LOCAL"


def test_add_leaves_in_the_secret_who_is_there(deploy, cluster, run):
    deploy()
    code, out, _ = run("--secret-name", "hdfs_keytab", "add", "--max-life=20s", "alice")
    assert code == 0
    assert "principal alice@LOCAL: made\n" in out
    code, out, _ = run("status")
    assert code == 0
    assert out.endswith(
        f"secret {SECRET}: tensorflow@LOCAL, hdfs/localhost@LOCAL, alice@LOCAL\n"
    )


def test_status_without_an_app(cluster, run):
    assert run("status")[:2] == (1, "KDC of realm LOCAL: not running\n")


def test_teardown_can_be_repeated(deploy, cluster, run):
    deploy()
    cluster["secrets"] = {**cluster["secrets"], "other": ""}
    assert run("--secret-name", "hdfs_keytab", "teardown")[:2] == (
        0,
        f"secret {SECRET}: removed\nKDC of realm LOCAL: removed\n",
    )
    assert cluster["apps"] == []
    assert list(cluster["secrets"]) == ["other"]
    assert run("--secret-name", "hdfs_keytab", "teardown")[:2] == (
        0,
        f"secret {SECRET}: did not exist\nKDC of realm LOCAL: removed\n",
    )


def test_what_it_waits_for_is_shown(cluster, run, principals_file, caplog):
    cluster["staged"] = 4
    caplog.set_level("INFO")
    assert run("deploy", principals_file)[0] == 0
    assert caplog.messages == [
        "waiting for app /kdc to run: staged 1, running 0, healthy 0, unhealthy 0"
    ]


def test_an_app_that_never_runs_is_reported(cluster, run, principals_file, monkeypatch):
    cluster["staged"] = 1_000_000
    monkeypatch.setattr(dcos, "DEPLOY_S", 0.0)
    code, _, err = run("deploy", principals_file)
    assert code == 1
    assert (
        "kdc.py deploy: app '/kdc' did not run within 0 s: staged 1, running 0, "
        "healthy 0, unhealthy 0; look at `dcos marathon app show /kdc` and `dcos task "
        "log kdc`\n"
    ) in err


@pytest.mark.parametrize(
    ("words", "said", "cure"),
    [
        (
            "marathon app list",
            "Error: Authentication failed",
            "check `dcos cluster list` and `dcos auth login`",
        ),
        (
            "marathon app add",
            "Error: Not enough resources",
            "check `dcos cluster list` and `dcos auth login`",
        ),
        (
            "task exec",
            "Cannot find a task with ID containing 'kdc'",
            "check `dcos cluster list` and `dcos auth login`",
        ),
        (
            "security secrets list",
            "'security' is not a dcos command.",
            "dcos package install --cli dcos-enterprise-cli",
        ),
        (
            "security secrets create",
            "You are not authorized",
            "dcos package install --cli dcos-enterprise-cli",
        ),
    ],
)
def test_each_step_that_fails_is_reported(
    words, said, cure, cluster, run, principals_file
):
    cluster["fail"] = {words: said}
    code, _, err = run("deploy", principals_file)
    assert code == 1
    assert re.search(
        rf"^kdc\.py deploy: dcos {words}[^:]* failed: {re.escape(said)}; "
        rf"{re.escape(cure)}$",
        err,
        re.MULTILINE,
    )
    assert cluster["secrets"] == {}


def test_an_exit_code_that_dcos_hides_is_not_needed(cluster, run, principals_file):
    cluster["hides_exit_codes"] = True
    cluster["fail"] = {"task exec kdc.instance-1 kadmin.local addprinc": ""}
    assert run("deploy", principals_file)[0] == 1
    cluster["fail"] = {}
    cluster["garbage"] = "BQI="
    code, _, err = run("deploy", principals_file)
    assert code == 1
    assert (
        "kdc.py deploy: no keytab from the KDC's task: it lacks hdfs/localhost@LOCAL, "
        "tensorflow@LOCAL; look at `dcos task log kdc`\n"
    ) in err
    assert cluster["secrets"] == {}


@pytest.mark.parametrize(
    ("garbage", "says"),
    [
        ("sh: base64: not found", "its output is not base64"),
        ("", "its output, 0 bytes, is not a keytab"),
        ("aGVsbG8=", "its output, 5 bytes, is not a keytab"),
    ],
)
def test_what_is_no_keytab_is_not_stored(garbage, says, cluster, run, principals_file):
    cluster["garbage"] = garbage or "\n"
    code, _, err = run("deploy", principals_file)
    assert code == 1
    assert f"no keytab from the KDC's task: {says}; look at" in err
    assert cluster["secrets"] == {}


def test_an_answer_that_is_no_json_is_reported(cluster, run, principals_file, tmp_path):
    (tmp_path / "bin" / "dcos").write_text("#!/bin/sh\necho Welcome\n")
    code, _, err = run("deploy", principals_file)
    assert code == 1
    assert (
        "dcos marathon app list --json answered 'Welcome\\n', not a JSON list; is this "
        "the DC/OS command line?"
    ) in err


def test_a_command_that_hangs_is_reported(cluster, run, tmp_path, monkeypatch):
    (tmp_path / "bin" / "dcos").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    monkeypatch.setattr(dcos, "COMMAND_S", 0.3)
    code, _, err = run("status")
    assert code == 1
    assert "dcos marathon app list gave no answer within 0.3 s; is the cluster" in err


def test_without_dcos_the_other_way_is_shown(run, principals_file, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("dcos") is None
    code, _, err = run("deploy", principals_file)
    assert code == 2
    assert err == (
        "kdc.py deploy: no `dcos` command on the PATH; install it and run `dcos "
        "cluster setup`, or give --local DIR for a KDC on this machine\n"
    )


@pytest.mark.parametrize("option", ["--port=2500", "--realm=LOCAL"])
def test_options_of_the_other_way_are_named(option, cluster, run):
    code, _, err = run(option, "status")
    assert code == 2
    assert err == (
        "kdc.py status: --port and --realm need --local DIR; a cluster's KDC has "
        "2500 and LOCAL, from kdc.json\n"
    )


def test_the_app_has_the_port_and_the_realm_that_are_shown():
    app = json.loads(dcos.APP.read_text())
    assert app["id"] == dcos.APP_ID
    assert [port["port"] for port in app["portDefinitions"]] == [2500]
    assert "default_realm = LOCAL\\n" in app["cmd"]
    assert app["healthChecks"][0]["protocol"] == "MESOS_TCP"
