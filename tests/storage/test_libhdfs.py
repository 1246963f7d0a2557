"""HDFS by libhdfs: the contract where it is installed, and what is said where not.

`libhdfs.so` comes with Hadoop's binary distribution alone: ARROW_LIBHDFS_DIR or
HADOOP_HOME says where it is. A process has one JVM, and one login in it.
"""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from poets.errors import ConfigError, StorageError
from poets.kerberos import login
from poets.storage import join, open_storage, read_url
from poets.storage.backend import Backend, Status
from poets.storage.hadoop import libhdfs
from poets.storage.hadoop.old_rename import bring_back, refuse_target
from tests.storage.contract import StorageContract, model

__all__ = ["model"]  # a fixture of the contract

ROOT = Path(__file__).parents[2]


def found_library() -> bool:
    home = os.environ.get("HADOOP_HOME", "")
    folder = os.environ.get("ARROW_LIBHDFS_DIR") or f"{home}/lib/native"
    return os.path.isfile(f"{folder}/libhdfs.so")


def java_home() -> str:
    java = shutil.which("java")
    return os.environ.get("JAVA_HOME") or (
        str(Path(os.path.realpath(java)).parents[1]) if java else ""
    )


@pytest.fixture(scope="module")
def cluster(require, request, tmp_path_factory):
    """A cluster and what the libraries need; it stays, since the JVM does."""
    require("libhdfs", found_library())
    secure_hdfs = request.getfixturevalue("secure_hdfs")
    hadoop = request.getfixturevalue("hadoop")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in secure_hdfs.environment("tensorflow").items():
            patch.setenv(name, value)
        patch.setenv("JAVA_HOME", java_home())
        quiet = tmp_path_factory.mktemp("log4j")
        (quiet / "log4j.properties").write_text("log4j.rootLogger=OFF")
        patch.setenv("CLASSPATH", f"{quiet}:{os.environ.get('CLASSPATH', hadoop)}")
        patch.setenv("LIBHDFS_OPTS", "-Xmx256m")
        yield secure_hdfs
    login.close()


class TestLibHdfs(StorageContract):
    """`hdfs+libhdfs://`, seen by hdfs-native."""

    keeps_folders = False
    renames_exclusively = False
    test_readers_find_results_at_all_times = None  # a file is replaced in two steps,
    test_readers_never_see_half_a_file = None  # and a reader may find none

    @pytest.fixture
    def root(self, cluster):
        return cluster.url.replace("hdfs://", "hdfs+libhdfs://")

    @pytest.fixture
    def folder_url(self, root):
        url = f"{root}/tensorflow/{uuid.uuid4().hex}"
        filesystem, path = open_storage(url)
        filesystem.create_dir(path)
        return url

    @pytest.fixture
    def refused_url(self, root):
        return f"{root}/of_the_superuser/model"

    @pytest.fixture
    def as_seen(self, root, cluster):
        return lambda url: read_url(cluster.url + url.removeprefix(root))

    def test_what_is_forbidden_is_not_taken_for_missing(self, folder_url, cluster):
        filesystem, path = open_storage(folder_url)
        filesystem.handler.write_bytes(f"{path}/graph", b"x")
        cluster.dfs("-chmod", "000", path, user="tensorflow")
        for act in (
            lambda: filesystem.get_file_info(f"{path}/graph"),
            lambda: filesystem.handler.read_bytes(f"{path}/graph"),
            lambda: filesystem.handler.write_bytes(f"{path}/graph", b"y"),
        ):
            with pytest.raises(PermissionError, match="Permission denied"):
                act()
        cluster.dfs("-chmod", "755", path, user="tensorflow")
        assert read_url(join(folder_url, "graph")) == b"x"


# Without the libraries.


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Nothing is installed, and the JVM is never started."""
    for name in (
        *("POETS_HADOOP_CONF", "HDFS_CORE_SITE_URI", "HDFS_HDFS_SITE_URI"),
        *("HADOOP_CONF_DIR", "HADOOP_HOME", "JAVA_HOME", "ARROW_LIBHDFS_DIR"),
        *("CLASSPATH", "LIBHDFS_OPTS", *login.VARIABLES),
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_all_that_is_missing_is_told_at_once(bare, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere/java")
    monkeypatch.setenv("ARROW_LIBHDFS_DIR", "/nowhere/native")
    with pytest.raises(ConfigError) as caught:
        open_storage("hdfs+libhdfs://nn/p")
    assert str(caught.value) == (
        "cannot open 'hdfs+libhdfs://nn/p': 3 problems\n"
        "  - no libjvm.so below JAVA_HOME, which is '/nowhere/java'; name there the "
        "folder of a Java that Hadoop runs with\n"
        "  - no libhdfs.so in '/nowhere/native'; name its folder in "
        "ARROW_LIBHDFS_DIR, or Hadoop's in HADOOP_HOME\n"
        "  - no Hadoop jar in CLASSPATH or below HADOOP_HOME, which is ''; set "
        "CLASSPATH to what `hadoop classpath --glob` prints"
    )


def installed(folder: Path, monkeypatch) -> list[str]:
    """Makes what looks like Java and Hadoop; returns Hadoop's jars."""
    jars = [
        *("common/hadoop-common-3.4.2.jar", "common/lib/guava-27.jar"),
        *("hdfs/hadoop-hdfs-3.4.2.jar", "hdfs/lib/netty.jar"),
    ]
    shared = folder / "hadoop" / "share" / "hadoop"
    files = [shared / jar for jar in jars]
    files.append(folder / "hadoop" / "lib" / "native" / "libhdfs.so")
    files.append(folder / "java" / "lib" / "server" / "libjvm.so")
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.setenv("HADOOP_HOME", str(folder / "hadoop"))
    monkeypatch.setenv("JAVA_HOME", str(folder / "java"))
    return [str(shared / jar) for jar in jars]


def configured(folder: Path, monkeypatch) -> libhdfs.HadoopConf:
    for name in ("core-site.xml", "hdfs-site.xml"):
        (folder / name).write_text("<configuration/>")
    monkeypatch.setenv("POETS_HADOOP_CONF", str(folder))
    return libhdfs.load_conf()


def test_the_class_path_is_the_configuration_and_every_jar(bare, monkeypatch):
    jars = installed(bare, monkeypatch)
    conf = configured(bare, monkeypatch)
    monkeypatch.setenv("KRB5_CONFIG", "/etc/flowers.conf")
    monkeypatch.setenv("LIBHDFS_OPTS", "-Xmx1g")
    for _ in range(2):  # a second file system changes nothing
        libhdfs._prepare("hdfs+libhdfs://nn/p", conf)
        class_path = os.environ["CLASSPATH"].split(":")
        assert class_path[0] == str(bare)
        assert sorted(class_path[1:]) == sorted(jars)
        assert os.environ["LIBHDFS_OPTS"] == (
            "-Xmx1g -Djava.security.krb5.conf=/etc/flowers.conf"
        )


def test_a_class_path_with_stars_is_expanded(bare, monkeypatch):
    jars = installed(bare, monkeypatch)
    conf = configured(bare, monkeypatch)
    shared = bare / "hadoop" / "share" / "hadoop" / "common"
    monkeypatch.setenv("CLASSPATH", f"/etc/hadoop:{shared}/*:{shared}/lib/*")
    libhdfs._prepare("hdfs+libhdfs://nn/p", conf)
    assert os.environ["CLASSPATH"].split(":") == [str(bare), "/etc/hadoop", *jars[:2]]


def test_a_configuration_on_the_web_is_told(bare, monkeypatch, web_server):
    installed(bare, monkeypatch)
    for name in ("core-site.xml", "hdfs-site.xml"):
        web_server.files[f"/{name}"] = b"<configuration/>"
    monkeypatch.setenv("POETS_HADOOP_CONF", web_server.url())
    with pytest.raises(ConfigError, match="is on the web .*--hadoop_conf"):
        open_storage("hdfs+libhdfs://nn/p")


def test_a_forked_process_is_told(bare, monkeypatch):
    monkeypatch.setattr(libhdfs, "_jvm_process", os.getpid() + 1)
    with pytest.raises(StorageError, match="forked from one with a JVM.*spawn"):
        open_storage("hdfs+libhdfs://nn/p")


def test_a_library_that_does_not_load_is_told(bare, monkeypatch):
    installed(bare, monkeypatch)
    code = (
        "from poets.errors import StorageError\n"
        "from poets.storage import open_storage\n"
        "try: open_storage('hdfs+libhdfs://nn/p')\n"
        "except StorageError as error: print(error)\n"
    )
    configured(bare, monkeypatch)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith("cannot open 'hdfs+libhdfs://nn/p': "), done.stderr
    assert done.stdout.endswith("; libhdfs says more on stderr\n")


# The old rename.


class OldHdfs(Backend):
    """Paths in memory, renamed as HDFS's old call does: into a folder in its way."""

    root, type_name = "old:/", "old"
    listing = read = reader = writer = make_folder = delete = rename = None

    def __init__(self, files: set[str], folders: set[str]) -> None:
        self.files, self.folders = files, folders

    def status(self, path: str) -> Status:
        if path not in self.files | self.folders:
            raise FileNotFoundError
        return Status(path, path in self.folders, 0, 0, "", "", 0, 0)

    def move(self, source: str, target: str) -> None:
        if target in self.folders:
            target += f"/{source.rpartition('/')[2]}"
        for kind in (self.files, self.folders):
            if source in kind:
                kind.remove(source)
                kind.add(target)


@pytest.mark.parametrize(
    ("source", "target", "overwrite", "is_in_the_way"),
    [
        ("/file", "/new", False, False),
        ("/folder", "/new", True, False),
        ("/file", "/other", True, True),
        ("/file", "/other", False, FileExistsError),
        ("/file", "/folder", True, FileExistsError),
        ("/folder", "/other", True, FileExistsError),
        ("/folder", "/more", True, FileExistsError),
        ("/none", "/new", False, FileNotFoundError),
        ("/file", "/none/new", False, FileNotFoundError),
    ],
)
def test_what_is_in_the_way_is_found(source, target, overwrite, is_in_the_way):
    backend = OldHdfs({"/file", "/other"}, {"/", "/folder", "/more"})
    if isinstance(is_in_the_way, bool):
        assert refuse_target(backend, source, target, overwrite) == is_in_the_way
        return
    with pytest.raises(is_in_the_way):
        refuse_target(backend, source, target, overwrite)


def test_what_went_into_a_folder_is_brought_back():
    backend = OldHdfs(set(), {"/part", "/saved"})
    backend.move("/part", "/saved")
    assert backend.folders == {"/saved", "/saved/part"}
    with pytest.raises(FileExistsError):
        bring_back(backend, backend.move, "/part", "/saved")
    assert backend.folders == {"/part", "/saved"}


def test_what_went_to_its_place_stays():
    backend = OldHdfs({"/part"}, {"/"})
    backend.move("/part", "/graph")
    bring_back(backend, backend.move, "/part", "/graph")
    assert backend.files == {"/graph"}
