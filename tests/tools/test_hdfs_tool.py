"""tools/hdfs/hdfs.py as people run it, with a real KDC and a real HDFS.

One HDFS of 2 DataNodes is shared by the tests of this file; a test that breaks it has
it mended by `up` before it ends.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools import packages
from tools.hdfs import folder as folders
from tools.hdfs.archive import archive_of
from tools.hdfs.cluster import SecureHdfs
from tools.hdfs.daemons import command_line
from tools.packages import find_program

TOOL = Path(__file__).parents[2] / "tools" / "hdfs" / "hdfs.py"
FILES = 300
TIMEOUT_S = 300

ENTRY = re.compile(
    r"(?P<mode>[d-][rwxt-]{9})[ +]  ?(?P<replication>[\d-]+) (?P<owner>\S+) +"
    r"(?P<group>\S+) +(?P<size>\d+) \d{4}-\d\d-\d\d \d\d:\d\d (?P<path>/.*)"
)


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool as from a terminal."""
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def listing(*arguments: object) -> dict[str, dict[str, str]]:
    """Returns path -> columns of `hdfs dfs -ls`."""
    done = run("shell", *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if lines and lines[0].startswith("Found "):
        assert lines.pop(0) == f"Found {len(lines)} items"
    matches = [ENTRY.fullmatch(line) for line in lines]
    assert all(matches), lines
    return {match["path"]: match.groupdict() for match in matches if match}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder of many small files, some with names that are not plain."""
    root = tmp_path_factory.mktemp("local") / "photos"
    for i in range(FILES):
        folder = root / ("roses", "süß & sauer")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"photo {i:04}.jpg").write_bytes(b"%d" % i * (i % 700))
    return root


@pytest.fixture(scope="module")
def own_hdfs(
    hadoop: str,
    require: Callable[[str, object], None],
    tmp_path_factory: pytest.TempPathFactory,
    photos: Path,
) -> Iterator[tuple[Path, list[subprocess.CompletedProcess[str]]]]:
    """The folder of an HDFS, and what two `up` at once said that made it."""
    require("kdc", not packages.missing_packages(["krb5"]))
    folder = tmp_path_factory.mktemp("tool") / "hdfs"
    up = ["up", folder, "--datanodes", 2, "--put", f"{photos}=/data/photos"]
    command = [sys.executable, str(TOOL), *map(str, up)]
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(2)
    ]
    said = []
    for process in both:
        output = process.communicate(timeout=TIMEOUT_S)
        said.append(subprocess.CompletedProcess(command, process.returncode, *output))
    yield folder, said
    done = run("down", folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(own_hdfs: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> Path:
    """The folder of an HDFS that runs."""
    return own_hdfs[0]


def cluster(folder: Path) -> SecureHdfs:
    """Returns the HDFS of a folder, to look at its daemons."""
    settings = folders.find(folder)
    assert settings is not None
    return SecureHdfs(folder, settings, "")


def test_two_up_at_once_start_one_hdfs(
    own_hdfs: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    folder, said = own_hdfs
    assert [done.returncode for done in said] == [0, 0], [done.stderr for done in said]
    starts = sorted(done.stdout.splitlines()[0] for done in said)
    hdfs = cluster(folder)
    assert starts == [
        f"HDFS at {hdfs.url} is already running",
        "starting namenode, datanode-0, datanode-1, endpoints",
    ]


def test_up_puts_each_file_whole_and_once(
    own_hdfs: tuple[Path, list[subprocess.CompletedProcess[str]]], photos: Path
) -> None:
    folder, said = own_hdfs
    puts = sorted(done.stdout.splitlines()[1] for done in said)
    assert puts[0] == f"/data/photos already holds the 300 files of {photos}"
    assert re.fullmatch(
        r"put 300 files, 0\.\d MB, to /data/photos in \d+\.\d s \([\d,]+ files/s\)",
        puts[1],
    )
    local = sorted(path for path in photos.rglob("*") if path.is_file())
    done = run("shell", folder, "--", "-cat", "/data/photos/*/*")
    ours = b"".join(path.read_bytes() for path in local)
    assert (
        hashlib.sha256(done.stdout.encode()).digest() == hashlib.sha256(ours).digest()
    )
    entries = listing(folder, "--", "-ls", "-R", "/data")
    files = {
        path.removeprefix("/data/photos/"): row["mode"]
        for path, row in entries.items()
        if row["size"] != "0" or path.endswith(".jpg")
    }
    assert files == {
        path.relative_to(photos).as_posix(): "-rw-r--r--" for path in local
    }
    assert not [path for path in entries if "part" in path]


def test_put_refuses_a_folder_that_holds_something_else(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.jpg").write_bytes(b"one")
    done = run("up", folder, "--put", f"{tmp_path}=/data/photos")
    assert done.returncode == 1
    assert f"cannot put '{tmp_path}' to '/data/photos': it holds 300" in done.stderr
    assert "not 1 of 3; remove it with `shell DIR -- -rm -r" in done.stderr


def test_the_folders_are_those_of_the_walk_through(folder: Path) -> None:
    entries = listing(folder, "--", "-ls", "/")
    columns = {
        path: (row["mode"], row["replication"], row["owner"], row["group"])
        for path, row in entries.items()
    }
    assert columns["/tensorflow"] == ("drwxr-xr-x", "-", "tensorflow", "tensorflow")
    assert columns["/tensorflow_input_data"] == (
        "drwxr-xr-x",
        "-",
        "hdfs",
        "supergroup",
    )
    assert set(columns) == {"/data", "/tensorflow", "/tensorflow_input_data"}


def test_files_of_a_principal_are_listed_as_in_the_walk_through(
    folder: Path, tmp_path: Path
) -> None:
    kdc = cluster(folder).kdc
    logins = {}
    for name in ("tensorflow", "alice"):
        kdc.add([f"{name}@LOCAL"])
        keytab = kdc.keytab(f"{name}_keytab", [f"{name}@LOCAL"])
        logins[name] = ("--principal", f"{name}@LOCAL", "--keytab", keytab)
    graph = tmp_path / "retrained_graph.pb"
    graph.write_bytes(b"graph")
    target = "/tensorflow/retrained_graph.pb"
    done = run("shell", folder, *logins["tensorflow"], "--", "-put", graph, target)
    assert done.returncode == 0, done.stderr
    row = listing(folder, "--", "-ls", target)[target]
    del row["path"]
    assert row == {
        "mode": "-rw-r--r--",
        "replication": "3",
        "owner": "tensorflow",
        "group": "tensorflow",
        "size": "5",
    }
    done = run("shell", folder, *logins["alice"], "--", "-rm", target)
    assert done.returncode == 1
    assert "Permission denied: user=alice" in done.stderr


def test_a_principal_without_a_rule_is_nobody(folder: Path) -> None:
    kdc = cluster(folder).kdc
    kdc.add(["mallory@LOCAL"])
    keytab = kdc.keytab("mallory_keytab", ["mallory@LOCAL"])
    login = ("--principal", "mallory@LOCAL", "--keytab", keytab)
    done = run("shell", folder, *login, "--", "-ls", "/")
    assert done.returncode != 0
    assert "No rules applied to mallory@LOCAL" in done.stderr


def test_shell_ends_with_the_exit_code_of_hdfs_dfs(folder: Path) -> None:
    done = run("shell", folder, "--", "-ls", "/absent")
    assert done.returncode == 1
    assert done.stderr.strip() == "ls: `/absent': No such file or directory"


def test_shell_reports_a_keytab_that_does_not_fit(folder: Path) -> None:
    keytab = cluster(folder).settings.keytab
    login = ("--principal", "nobody@LOCAL", "--keytab", keytab)
    done = run("shell", folder, *login, "--", "-ls", "/")
    assert done.returncode == 1
    assert "no ticket for 'nobody@LOCAL' with keytab" in done.stderr
    done = run("shell", folder, "--principal", "alice@LOCAL", "--", "-ls", "/")
    assert (done.returncode, done.stderr) == (
        2,
        "hdfs.py shell: --principal and --keytab need each other; give both\n",
    )
    assert not list((folder / "secrets").glob("tmp*"))


def test_a_second_up_changes_nothing(folder: Path) -> None:
    before = {daemon.name: daemon.pid for daemon in cluster(folder).daemons}
    done = run("up", folder)
    assert done.returncode == 0, done.stderr
    running = f"HDFS at {cluster(folder).url} is already running\n"
    assert done.stdout.startswith(running)
    assert {daemon.name: daemon.pid for daemon in cluster(folder).daemons} == before
    assert None not in before.values()


def test_up_refuses_to_change_what_is_there_all_at_once(folder: Path) -> None:
    done = run("up", folder, "--protection", "privacy", "--datanodes", 3, "--httpfs")
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    for line in (
        "datanodes is 2 there, not 3; leave the option out, or use another folder",
        "protection is 'authentication' there, not 'privacy'; leave",
        "httpfs is False there, not True; leave",
    ):
        assert line in done.stderr


def test_status_shows_each_daemon(folder: Path) -> None:
    done = run("status", folder)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    for daemon in cluster(folder).daemons:
        (line,) = [line for line in lines if line.startswith(daemon.name)]
        assert f"pid {daemon.pid}" in line
        assert all(str(port) in line for port in daemon.ports.values())
    assert "safe mode    off" in lines
    assert "DataNodes    2 of 2 live" in lines


def test_a_killed_datanode_is_seen_and_up_brings_it_back(
    folder: Path, wait_until: Callable[..., None]
) -> None:
    killed = cluster(folder).datanodes[0]
    killed.kill()
    done = run("status", folder, "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["works"]) == (1, False)
    assert found["daemons"]["datanode-0"]["pid"] is None
    read = run("shell", folder, "--", "-cat", "/data/photos/roses/photo 0002.jpg")
    assert read.stdout == "2" * 2
    done = run("up", folder)
    assert done.returncode == 0, done.stderr

    def works() -> bool:
        return run("status", folder, "--json").returncode == 0

    wait_until(works, 60)


@pytest.mark.parametrize("verb", ["down", "status", "shell"])
def test_a_folder_without_an_hdfs_is_reported_with_what_to_do(
    verb: str, tmp_path: Path
) -> None:
    done = run(verb, tmp_path, "--", "-ls", "/")
    assert (done.returncode, done.stderr) == (
        2,
        f"hdfs.py {verb}: no HDFS in '{tmp_path}'; create it with "
        f"`hdfs.py up {tmp_path}`\n",
    )


def test_settings_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    (tmp_path / folders.FILE).write_text('{"nonsense": 1}')
    done = run("down", tmp_path)
    assert done.returncode == 2
    assert f"cannot read '{tmp_path / folders.FILE}': " in done.stderr
    assert "remove the folder and start again" in done.stderr


def test_missing_programs_are_named_with_their_packages(tmp_path: Path) -> None:
    done = run("up", tmp_path / "new", PATH=str(tmp_path), JAVA_HOME="")
    assert done.returncode == 2
    assert re.match(r"hdfs.py up: java, .*kinit.* not found on this mach", done.stderr)
    assert "apt-get install krb5-kdc krb5-admin-server krb5-user openjdk" in done.stderr
    assert not (tmp_path / "new").exists()


def test_wrong_puts_are_found_before_any_work(tmp_path: Path) -> None:
    new = tmp_path / "new"
    puts = ("photos", f"{tmp_path}=photos", f"{tmp_path}/absent=/photos")
    done = run("up", new, *(word for text in puts for word in ("--put", text)))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "hdfs.py up: --put: 3 problems",
        "  - 'photos' is not LOCAL=PATH with a path like /data/photos",
        f"  - '{tmp_path}=photos' is not LOCAL=PATH with a path like /data/photos",
        f"  - '{tmp_path}/absent' is not a folder; give a local folder of images",
    ]
    assert not new.exists()


def test_down_keeps_ports_files_and_logs(
    folder: Path, hadoop: str, wait_until: Callable[..., None]
) -> None:
    before = cluster(folder)
    pids = [daemon.pid for daemon in before.daemons]
    done = run("down", folder)
    assert (done.returncode, done.stdout) == (
        0,
        "stopped endpoints, datanode-1, datanode-0, namenode, kdc\n",
    )
    assert not [pid for pid in pids if pid and str(folder) in command_line(pid)]
    assert not list((folder / "run").iterdir())
    assert run("down", folder).stdout == "nothing runs\n"
    done = run("status", folder)
    assert done.returncode == 1
    assert "namenode     not running" in done.stdout
    log = before.namenode.log.read_text()
    archive = archive_of(hadoop, find_program("java") or "").with_suffix(".jsa")
    wait_until(archive.exists)  # the first `up` has it made
    done = run("up", folder)
    assert done.returncode == 0, done.stderr
    after = cluster(folder)
    assert after.settings == before.settings
    for daemon in (after.namenode, *after.datanodes):
        assert str(archive) in Path(f"/proc/{daemon.pid}/maps").read_text()
    assert before.namenode.log.read_text().startswith(log)
    done = run("shell", folder, "--", "-count", "/data/photos")
    assert done.stdout.split() == ["3", "300", done.stdout.split()[2], "/data/photos"]
