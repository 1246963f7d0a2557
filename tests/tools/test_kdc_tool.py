"""tools/kdc/kdc.py with --local: a real KDC below one folder, made again and again."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poets.kerberos.keytab import principals_of, read_keytab
from poets.kerberos.libkrb5 import Login, get_tgt
from tools import packages
from tools.kdc import local
from tools.kdc.interface import secret_name
from tools.kdc.local import LocalKdc

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SCRIPT = ROOT / "tools" / "kdc" / "kdc.py"


@pytest.fixture
def deploy(run, directory, principals_file):
    """Runs `deploy`, which must succeed, and returns what it printed."""

    def deploy(*options, file=principals_file) -> str:
        code, out, err = run(
            "--local", directory, "--port", 0, *options, "deploy", file
        )
        assert (code, err) == (0, "")
        return out

    return deploy


@pytest.fixture
def ticket(directory, monkeypatch):
    """Returns the ticket that a secret's keytab gets."""

    def ticket(secret: str, principal: str):
        monkeypatch.setenv("KRB5_CONFIG", str(directory / "krb5.conf"))
        return get_tgt(Login(principal, str(directory / "secrets" / secret), None), 30)

    return ticket


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_deploy_makes_a_kdc_and_a_keytab_that_logs_in(deploy, directory, ticket):
    out = deploy("--secret-name", "hdfs_keytab")
    secret = "__dcos_base64__hdfs_keytab"
    path = directory / "secrets" / secret
    assert out == (
        f"KDC of realm LOCAL: started on {LocalKdc(directory).address}\n"
        "principal tensorflow@LOCAL: made\n"
        "principal hdfs/localhost@LOCAL: made\n"
        f"keytab: secret {secret}, {path}\n"
        f"clients: export KRB5_CONFIG={directory / 'krb5.conf'}\n"
    )
    for principal in ("tensorflow@LOCAL", "hdfs/localhost@LOCAL"):
        assert ticket(secret, principal).principal == principal
    held = principals_of(read_keytab(str(path)))
    assert held == ["tensorflow@LOCAL", "hdfs/localhost@LOCAL"]


def test_keys_are_for_this_user_alone(deploy, directory):
    deploy()
    assert mode(directory) == 0o700
    assert {mode(directory / name) for name in ("db", "log", "secrets")} == {0o700}
    kept = [*(directory / "db").iterdir(), *(directory / "secrets").iterdir()]
    assert {mode(path) for path in kept} == {0o600}


def test_a_second_deploy_keeps_the_kdc_and_the_keys(deploy, directory, ticket):
    deploy("--secret-name", "a")
    pid = LocalKdc(directory).pid
    keytab = directory / "secrets" / "__dcos_base64__a"
    keytab.rename(directory / "secrets" / "first")
    out = deploy("--secret-name", "a")
    assert "KDC of realm LOCAL: already running on" in out
    assert "principal tensorflow@LOCAL: kept\n" in out
    assert LocalKdc(directory).pid == pid
    for secret in ("first", "__dcos_base64__a"):
        assert ticket(secret, "tensorflow@LOCAL").principal == "tensorflow@LOCAL"
    assert {entry.kvno for entry in read_keytab(str(keytab))} == {1}


def test_a_second_file_has_a_secret_of_its_own(deploy, directory, tmp_path, ticket):
    deploy("--secret-name", "hdfs")
    (tmp_path / "more.txt").write_text("alice\ntensorflow\n")
    out = deploy(
        *("--secret-name", "more", "--binary-secret"), file=tmp_path / "more.txt"
    )
    assert "principal alice@LOCAL: made\nprincipal tensorflow@LOCAL: kept\n" in out
    assert LocalKdc(directory).secrets() == {
        "__dcos_base64__hdfs": ["tensorflow@LOCAL", "hdfs/localhost@LOCAL"],
        "more": ["alice@LOCAL", "tensorflow@LOCAL"],
    }
    assert ticket("more", "tensorflow@LOCAL").principal == "tensorflow@LOCAL"


def test_add_leaves_in_the_keytab_who_is_there(deploy, directory, run, ticket):
    deploy("--secret-name", "a")
    code, out, _ = run(
        *("--local", directory, "--secret-name", "a"),
        *("add", "--max-life", "20s", "alice", "bob@LOCAL"),
    )
    assert code == 0
    assert "principal alice@LOCAL: made\nprincipal bob@LOCAL: made\n" in out
    secret = "__dcos_base64__a"
    assert LocalKdc(directory).secrets() == {
        secret: ["tensorflow@LOCAL", "hdfs/localhost@LOCAL", "alice@LOCAL", "bob@LOCAL"]
    }
    assert 0 < ticket(secret, "alice@LOCAL").endtime - time.time() <= 20
    assert ticket(secret, "tensorflow@LOCAL").endtime - time.time() > 80_000


def test_the_life_of_tickets_changes_and_the_key_stays(deploy, directory, run, ticket):
    deploy()
    code, *_ = run("--local", directory, "add", "--max-life", "1h30m", "tensorflow")
    assert code == 0
    life_s = ticket("__dcos_base64___keytab", "tensorflow@LOCAL").endtime - time.time()
    assert 5300 < life_s <= 5400


@pytest.mark.parametrize("life", ["", "soon", "20", "-1s", "1h x", "20s -pw x"])
def test_what_is_no_duration_is_reported(life, run, directory):
    code, _, err = run("--local", directory, "add", f"--max-life={life}", "alice")
    assert code == 2
    assert err.endswith(
        f"{life!r} is not a duration; write one like '20s' or '1d12h'\n"
    )


def test_status_shows_what_there_is(deploy, directory, run):
    assert run("--local", directory, "status") == (
        1,
        "KDC of realm LOCAL: not running\n",
        "",
    )
    assert not directory.exists()
    deploy("--secret-name", "x/y")
    code, out, _ = run("--local", directory, "status")
    assert code == 0
    assert out.startswith(
        f"KDC of realm LOCAL: runs on {LocalKdc(directory).address}\n"
    )
    assert "principal hdfs/localhost@LOCAL\n" in out
    assert out.endswith(
        "secret x/__dcos_base64__y: tensorflow@LOCAL, hdfs/localhost@LOCAL\n"
    )


def test_teardown_removes_what_was_made_and_no_more(deploy, directory, run):
    deploy("--secret-name", "a")
    pid = LocalKdc(directory).pid
    (directory / "notes.txt").write_text("mine")
    code, out, _ = run("--local", directory, "--secret-name", "a", "teardown")
    assert code == 0
    assert out == "secret __dcos_base64__a: removed\nKDC of realm LOCAL: removed\n"
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]
    assert (
        not Path(f"/proc/{pid}/cmdline").exists()
        or not Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    code, out, _ = run("--local", directory, "--secret-name", "a", "teardown")
    assert (code, out.splitlines()[0]) == (0, "secret __dcos_base64__a: did not exist")


def test_a_port_that_is_taken_is_reported_and_the_free_one_kept(
    run, directory, principals_file, caplog
):
    caplog.set_level("INFO")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        command = ("--local", directory, "--port", taken, "deploy", principals_file)
        assert run(*command)[0] == 0
    kdc = LocalKdc(directory)
    assert kdc.port != taken
    assert caplog.messages == [f"port {taken} is in use; using {kdc.port}"]
    kdc.stop()
    caplog.clear()
    assert run(*command)[0] == 0
    assert LocalKdc(directory).port == kdc.port
    assert caplog.messages == [f"port {taken} is not used: this KDC has had {kdc.port}"]


def test_a_port_taken_for_udp_alone_is_not_used(directory):
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        kdc = LocalKdc(directory, port=other.getsockname()[1])
        kdc.start()
        assert kdc.port != other.getsockname()[1]


def test_a_killed_kdc_starts_again_with_its_keys(deploy, directory, ticket, wait_until):
    deploy()
    kdc = LocalKdc(directory)
    assert kdc.pid is not None
    os.kill(kdc.pid, signal.SIGKILL)
    wait_until(lambda: not kdc.is_running)
    (directory / "secrets" / "__dcos_base64___keytab").rename(
        directory / "secrets" / "first"
    )
    assert "KDC of realm LOCAL: started on" in deploy()
    assert ticket("first", "tensorflow@LOCAL").principal == "tensorflow@LOCAL"


@pytest.mark.parametrize(
    "text",
    ["", "x", str(os.getpid()), "99999999"],
    ids=["empty", "no number", "ours", "nobody"],
)
def test_a_stale_pid_file_stops_nobody(text, directory):
    kdc = LocalKdc(directory, port=0)
    kdc.start()
    kdc.stop()
    (directory / "kdc.pid").write_text(text)
    assert not kdc.is_running
    kdc.stop()
    assert kdc.start()


def test_what_was_stopped_while_it_was_made_is_made_anew(directory):
    (directory / "db").mkdir(parents=True)
    (directory / "db" / "principal").write_text("torn")
    kdc = LocalKdc(directory, port=0)
    assert kdc.start()
    assert kdc.add(["alice@LOCAL"]) == ["alice@LOCAL"]


def test_two_deploys_at_once_make_one_kdc(directory, principals_file):
    command = [sys.executable, SCRIPT, "--local", directory, "--port", "0"]
    both = [
        subprocess.Popen(
            [*command, "--secret-name", name, "deploy", principals_file],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    outs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    addresses = {out.splitlines()[0].rpartition(" ")[2] for out, _ in outs}
    assert addresses == {LocalKdc(directory).address}
    assert len(LocalKdc(directory).secrets()) == 2


def test_it_is_called_from_anywhere(tmp_path, directory, principals_file):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--local", directory.name, "--port", "0", "deploy"]
        + [principals_file.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert LocalKdc(directory).is_running


def test_an_ordinary_user_can_run_it(directory, unprivileged):
    if os.getuid():
        pytest.skip("the tests are run by an ordinary user anyway")
    (unprivileged / "principals.txt").write_text("alice\n")
    os.seteuid(0)  # the child's user is not to differ from its effective one
    code = (
        "import encodings.idna, encodings.utf_8_sig, locale, os, sys\n"
        "from tools.kdc.kdc import main\n"  # this Python may be root's alone
        f"os.setgid({NOBODY}), os.setuid({NOBODY})\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    options = ["--local", unprivileged / "kdc", "--port", "0"]
    try:
        for verb in (["deploy", unprivileged / "principals.txt"], ["teardown"]):
            done = subprocess.run(
                [sys.executable, "-c", code, *options, *verb],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert (done.returncode, done.stderr) == (0, "")
    finally:
        LocalKdc(unprivileged / "kdc").stop()


def test_another_realm(directory, tmp_path, run, monkeypatch):
    (tmp_path / "p.txt").write_text("alice\nbob@EXAMPLE.COM\n")
    options = ("--local", directory, "--port", 0, "--realm", "EXAMPLE.COM")
    assert run(*options, "deploy", tmp_path / "p.txt")[0] == 0
    monkeypatch.setenv("KRB5_CONFIG", str(directory / "krb5.conf"))
    keytab = directory / "secrets" / "__dcos_base64___keytab"
    login = Login("alice@EXAMPLE.COM", str(keytab), None)
    assert get_tgt(login, 30).service == "krbtgt/EXAMPLE.COM@EXAMPLE.COM"
    code, out, _ = run("--local", directory, "add", "carol")
    assert code == 0
    assert "principal carol@EXAMPLE.COM: made\n" in out
    code, _, err = run("--local", directory, "--realm", "LOCAL", "status")
    assert code == 2
    assert err == (
        f"kdc.py status: the KDC in {str(directory)!r} is of realm 'EXAMPLE.COM', not "
        "'LOCAL'; give its own realm or another folder\n"
    )


def test_a_realm_that_cannot_be_is_reported(directory, run):
    code, _, err = run("--local", directory, "--realm", "A B", "add", "alice")
    assert code == 2
    assert "invalid Kerberos realm 'A B'; give one like" in err


def test_a_folder_that_kerberos_could_not_name_is_reported(tmp_path, run):
    code, _, err = run("--local", tmp_path / "a:b", "status")
    assert code == 2
    assert "KRB5_CONFIG separates files by colons; give a folder without one" in err


def test_mistakes_are_reported_before_anything_is_made(directory, tmp_path, run):
    (tmp_path / "p.txt").write_text("alice\nalice\n")
    code, out, err = run("--local", directory, "deploy", tmp_path / "p.txt")
    assert (code, out) == (2, "")
    assert err == (
        f"kdc.py deploy: principals file {str(tmp_path / 'p.txt')!r}: line 2: "
        "'alice@LOCAL' again, first in line 1; keep one of them\n"
    )
    code, _, err = run("--local", directory, "add", "alice", "b b", "alice@LOCAL")
    assert code == 2
    assert "argument 2: 'b b' is not a principal" in err
    assert "argument 3: 'alice@LOCAL' again, first in argument 1" in err
    assert not directory.exists()


def test_missing_programs_are_named_with_their_packages(directory, run, monkeypatch):
    monkeypatch.setattr(packages, "SBIN", ())
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run("--local", directory, "add", "alice")
    assert code == 2
    assert err.startswith("kdc.py add: krb5kdc, kadmin.local, kdb5_util, kinit not fo")
    assert "apt-get install krb5-kdc krb5-admin-server krb5-user" in err
    assert not directory.exists()


def test_a_kdc_that_cannot_start_is_reported(directory, run):
    kdc = LocalKdc(directory, port=0)
    kdc.start()
    kdc.stop()
    (directory / "db" / "principal").unlink()
    code, _, err = run("--local", directory, "add", "alice")
    assert code == 1
    assert f"failed on the KDC in {str(directory)!r}: krb5kdc: cannot initialize" in err
    assert err.endswith(f"see {directory / 'log'}\n")


def test_a_keytab_of_nobody_known_leaves_the_old_one(directory):
    kdc = LocalKdc(directory, port=0)
    kdc.start()
    kdc.add(["alice@LOCAL"])
    before = kdc.keytab("x", ["alice@LOCAL"]).read_bytes()
    with pytest.raises(
        local.KdcError, match="no keys of bob@LOCAL: unknown to the KDC in .*; add them"
    ):
        kdc.keytab("x", ["alice@LOCAL", "bob@LOCAL"])
    assert [path.name for path in (directory / "secrets").iterdir()] == ["x"]
    assert (directory / "secrets" / "x").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "binary", "secret"),
    [
        ("hdfs_keytab", False, "__dcos_base64__hdfs_keytab"),
        ("hdfs_keytab", True, "hdfs_keytab"),
        ("hdfs/keytab", False, "hdfs/__dcos_base64__keytab"),
        (None, False, "__dcos_base64___keytab"),
        (None, True, "_keytab"),
    ],
)
def test_the_name_of_a_secret(name, binary, secret):
    assert secret_name(name, binary) == secret


@pytest.mark.parametrize("name", ["", "/a", "a/", "..", "a/../b", "a b", ".a", "a\n"])
def test_what_cannot_name_a_secret_is_reported(name, run, directory):
    code, _, err = run("--local", directory, "--secret-name", name, "add", "alice")
    assert code == 2
    assert f"{name!r} is not a valid name of a secret; use letters, digits" in err


def test_a_prefix_that_is_there_already_is_reported(run, directory):
    code, _, err = run(
        "--local", directory, "--secret-name", "a/__dcos_base64__b", "teardown"
    )
    assert code == 2
    assert err.endswith("which kdc.py adds; give 'a/b'\n")


@pytest.mark.parametrize("port", ["x", "-1", "65536"])
def test_what_is_no_port_is_reported(port, run, directory):
    code, _, err = run("--local", directory, f"--port={port}", "status")
    assert code == 2
    assert f"{port!r} is not a port: 0 to 65535" in err
