"""The private folder: the process that made it removes it, however it ends."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from poets.errors import ConfigError
from poets.kerberos.login import close, current_login

ROOT = Path(__file__).parents[2]
LOG_IN = (
    "import os, subprocess, sys\n"
    "from poets.kerberos.login import close, current_login\n"
    "def fill(login):  # as GSSAPI does\n"
    "    subprocess.run(['kinit', '-k', '-t', login.keytab, '-c', login.cache,\n"
    "                    login.principal], check=True, timeout=30)\n"
    "login = current_login()\n"
    "fill(login)\n"
    "folder = os.environ['POETS_KERBEROS_DIR']\n"
    "assert os.path.exists(login.cache.removeprefix('FILE:'))\n"
    "print(folder, flush=True)\n"
)


@pytest.fixture(autouse=True)
def _logged_in(environment, kdc, keytab):
    environment.setenv("KRB5_CONFIG", str(kdc.krb5_conf))
    environment.setenv("POETS_KERBEROS_PRINCIPAL", "tensorflow@LOCAL")
    environment.setenv("KRB5_CLIENT_KTNAME", str(keytab))


@pytest.fixture
def temporary(tmp_path):
    return tmp_path / "temporary"


def start(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", LOG_IN + code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(code: str) -> tuple[str, int]:
    """Returns the first line that a process prints, and its exit code."""
    with start(code) as process:
        out, _ = process.communicate(timeout=300)
    return out.splitlines()[0], process.returncode


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("sys.stderr.close(); raise ValueError", 1),
        ("close(); os._exit(4)", 4),
    ],
    ids=["end", "exit", "exception", "_exit"],
)
def test_it_is_gone_however_its_maker_ends(end, code, temporary):
    folder, exit_code = run(end)
    assert Path(folder).parent == temporary
    assert exit_code == code
    assert list(temporary.iterdir()) == []


def test_a_child_uses_it_and_leaves_it(temporary):
    child = LOG_IN + "print(login.cache, flush=True)"
    code = (
        f"child = {child!r}\n"
        "for end in ('', 'sys.exit(0)', 'close(); os._exit(0)'):\n"
        "    out = subprocess.run([sys.executable, '-c', child + chr(10) + end],\n"
        "                         check=True, capture_output=True, text=True).stdout\n"
        "    assert out.split()[0] == folder, out\n"
        "    assert out.split()[1] != login.cache\n"
        "    assert os.path.exists(login.cache.removeprefix('FILE:'))\n"
        "    fill(login)\n"
    )
    assert run(code)[1] == 0
    assert list(temporary.iterdir()) == []


def test_a_killed_child_leaves_nothing(temporary):
    code = (
        f"child = {LOG_IN + 'sys.stdin.read()'!r}\n"
        "pipe = subprocess.PIPE\n"
        "command = [sys.executable, '-c', child]\n"
        "with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:\n"
        "    assert process.stdout.readline().decode().strip() == folder\n"
        "    process.kill()\n"
        "assert len([n for n in os.listdir(folder) if n.startswith('ccache')]) == 2\n"
    )
    assert run(code)[1] == 0
    assert list(temporary.iterdir()) == []


def test_a_forked_child_has_a_cache_of_its_own_and_leaves_the_folder(temporary):
    code = (
        "child = os.fork()\n"
        "if not child:\n"
        "    forked = current_login()\n"
        "    fill(forked)\n"
        "    own = forked.cache != login.cache and str(os.getpid()) in forked.cache\n"
        "    close()\n"
        "    os._exit(0 if own else 1)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "assert os.path.exists(folder)\n"
        "fill(login)\n"
        "sys.exit(code)\n"
    )
    assert run(code)[1] == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_that_of_a_killed_process_is_removed_by_the_next(number, temporary, caplog):
    with start("sys.stdin.read()") as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        current_login()  # its maker lives
        assert folder.exists()
        close()
        process.send_signal(number)
    assert list(temporary.iterdir()) == [folder]
    caplog.set_level("INFO")
    current_login()
    assert list(temporary.iterdir()) == [Path(os.environ["POETS_KERBEROS_DIR"])]
    assert f"a killed process left in {folder}" in caplog.text


@pytest.mark.parametrize("what", ["open", "link", "file", "absent", "of another user"])
def test_a_folder_that_is_not_private_is_not_taken(
    what, temporary, tmp_path, environment
):
    given = tmp_path / "given"
    if what == "open":
        given.mkdir(mode=0o755)
    elif what == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        given.symlink_to(tmp_path / "real")
    elif what == "file":
        given.touch(mode=0o600)
    elif what == "of another user":
        given.mkdir(mode=0o700)
        if os.geteuid():
            pytest.skip("only root can give a folder away")
        os.chown(given, 65534, 65534)
    environment.setenv("POETS_KERBEROS_DIR", str(given))
    current_login()
    taken = Path(os.environ["POETS_KERBEROS_DIR"])
    assert taken.parent == temporary
    assert stat.S_IMODE(taken.stat().st_mode) == 0o700
    close()
    assert given.exists() == (what != "absent")


def test_what_is_not_ours_is_left_alone(temporary):
    (temporary / "somebody-elses").mkdir(mode=0o700)
    (temporary / "poets-kerberos-open").mkdir(mode=0o755)
    (temporary / "poets-kerberos-link").symlink_to(temporary / "somebody-elses")
    (temporary / "poets-kerberos-file").touch(mode=0o600)
    current_login()
    close()
    assert sorted(path.name for path in temporary.iterdir()) == [
        "poets-kerberos-file",
        "poets-kerberos-link",
        "poets-kerberos-open",
        "somebody-elses",
    ]


def test_many_begin_at_once(temporary):
    """Nobody takes a folder for abandoned that is just being made."""
    processes = [start("sys.stdin.read()") for _ in range(6)]
    folders = set()
    for process in processes:
        assert process.stdout is not None
        folders.add(Path(process.stdout.readline().strip()))
    assert len(folders) == 6
    assert set(temporary.iterdir()) == folders
    for process in processes:
        process.communicate(timeout=300)
    assert list(temporary.iterdir()) == []


def test_no_place_for_it_is_reported(environment, tmp_path):
    environment.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigError) as caught:
        current_login()
    assert str(caught.value) == (
        "no place for Kerberos tickets: no such file or directory; set TMPDIR to a "
        "folder that this user may write to"
    )
