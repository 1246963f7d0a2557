"""The local file system: the contract, URLs, full and forbidden disks."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from poets.errors import StorageError, UnknownSchemeError
from poets.storage import exists, join, kind_of, open_storage, read_url, scheme_of
from poets.storage.publish import Publication, check_writable, write_atomically
from tests.storage.contract import StorageContract, is_disk_full, model, names_below

__all__ = ["model"]  # a fixture of the contract

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "storage"
    made.mkdir()
    return made


class TestPath(StorageContract):
    """Plain paths."""

    keeps_folders = sys.platform == "linux"

    @pytest.fixture
    def folder_url(self, folder):
        return str(folder)

    @pytest.fixture
    def refused_url(self, folder):
        (folder / "file").write_bytes(b"")
        return str(folder / "file" / "below")

    @pytest.fixture
    def as_seen(self):
        return lambda url: Path(url).read_bytes()


class TestUrl(StorageContract):
    """`file://` URLs, where names are quoted."""

    keeps_folders = sys.platform == "linux"

    @pytest.fixture
    def folder_url(self, folder):
        return f"file://{folder}"

    @pytest.fixture
    def refused_url(self):
        return "file:///proc/poets"  # a folder that not even root can make

    @pytest.fixture
    def as_seen(self):
        return lambda url: Path(url.removeprefix("file://")).read_bytes()

    def quoted(self, folder_url, name):
        return join(folder_url, quote(name))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a b#c?d%41", "/a b#c?d%41"),
        ("file:///a%20b", "/a b"),
        ("file:///a b#c?d", "/a b#c?d"),
        ("file:///k%C3%A4se", "/käse"),
        ("file:///käse/花", "/käse/花"),
        ("file:///a%23b%3Fc%25", "/a#b?c%"),
        ("file://localhost/a", "/a"),
        ("FILE:///a", "/a"),
        ("./hdfs:/a", f"{os.getcwd()}/hdfs:/a"),
        ("a:b", f"{os.getcwd()}/a:b"),
        ("", os.getcwd()),
    ],
)
def test_urls_name_paths(url, path):
    filesystem, found = open_storage(url)
    assert found == path
    assert filesystem.type_name == "local"


def test_relative_paths_begin_at_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("out/graph", b"x")
    assert (tmp_path / "out" / "graph").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "file://other/a/b",
            "cannot open 'file://other/a/b': it names the machine 'other'; "
            "a local file is file:///a/b with three slashes",
        ),
        ("a\0b", "cannot open 'a\\x00b': found a NUL character; name another path"),
        (
            "file:///a%00b",
            "cannot open 'file:///a%00b': found a NUL character; name another path",
        ),
        (
            "a\udce9",
            "cannot open 'a\\udce9': found a character that is not valid Unicode; "
            "name another path",
        ),
    ],
)
def test_what_is_no_local_path_is_reported(url, text):
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    assert str(caught.value) == text


@pytest.mark.parametrize("url", ["ftp://host/a", "hdsf://default/a", "C0://[a"])
def test_an_unknown_scheme_is_the_users_mistake(url):
    scheme = scheme_of(url)
    with pytest.raises(UnknownSchemeError) as caught:
        open_storage(url)
    assert str(caught.value).startswith(
        f"no storage for {url!r}: the scheme is {scheme!r}; use a local path or "
    )
    assert "file://" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("scheme", ["hdfs+libhdfs", "hdfs+jvm", "HDFS+libhdfs"])
def test_a_client_that_is_not_offered_is_answered_by_the_one_that_is(scheme):
    url = f"{scheme}://default/a"
    with pytest.raises(UnknownSchemeError) as caught:
        open_storage(url)
    assert str(caught.value) == (
        f"no storage for {url!r}: the scheme is {scheme.lower()!r}; use hdfs:// instead"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("a", ""),
        ("/a", ""),
        ("./hdfs:/a", ""),
        ("2024-01-01T10:30.jpg", ""),
        ("n:m/a", ""),
        ("C:/a", ""),
        ("S3://b", "s3"),
        ("hdfs://default/a://b", "hdfs"),
    ],
)
def test_the_scheme_is_what_stands_before_the_slashes(url, scheme):
    assert scheme_of(url) == scheme


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("hdfs:/a", "write hdfs:///a (./hdfs:/a is a local path)"),
        ("hdfs:a", "write hdfs:///a "),
        ("HDFS:/a", "write hdfs:///a "),
        ("webhdfs:/h:9870/a", "write webhdfs://h:9870/a "),
        ("s3:/bucket/a", "write s3://bucket/a (./s3:/bucket/a is a local path)"),
        ("S3:bucket", "write s3://bucket "),
        ("s3:///bucket", "found no name after 's3://'; write s3://bucket "),
        ("s3:\\\\bucket\\a", "write s3://bucket/a "),
        ("gs:/bucket", "write gs://bucket "),
        ("file:/a", "write file:///a "),
        ("http:/host/a", "write http://host/a "),
        ("host:/a", "./host:/a is a local path, a URL begins with one of file://, "),
        ("s3a:/bucket", "./s3a:/bucket is a local path, a URL begins with one of "),
    ],
)
@pytest.mark.parametrize("act", [scheme_of, open_storage, kind_of, read_url])
def test_a_url_without_its_slashes_is_no_local_path(act, url, right):
    with pytest.raises(UnknownSchemeError) as caught:
        act(url)
    assert str(caught.value).startswith(f"cannot open {url!r}: found no ")
    assert right in str(caught.value)
    assert caught.value.exit_code == 2


def test_keys_in_a_misspelled_url_are_not_shown():
    with pytest.raises(UnknownSchemeError) as caught:
        open_storage("s3:/AKIA:se/cr+et@bucket/a")
    assert str(caught.value) == (
        "cannot open 's3:***@bucket/a': found no '//' after 's3:'; write s3://bucket/a "
        "(./s3:***@bucket/a is a local path)"
    )


def test_a_local_name_may_look_like_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "a").write_bytes(b"a")
    assert read_url("./s3:/a") == read_url(f"{tmp_path}/s3:/a") == b"a"


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("a", "b"), "a/b"),
        (("a/", "b", "c"), "a/b/c"),
        (("file:///", "b"), "file:///b"),
        (("/", "b"), "/b"),
    ],
)
def test_join_puts_one_slash_between(parts, joined):
    assert join(*parts) == joined


def test_a_path_that_is_too_long_is_reported(folder):
    url = str(folder / ("x" * 300))
    for act in (kind_of, exists, read_url, lambda url: write_atomically(url, b"")):
        with pytest.raises(StorageError, match="file name too long"):
            act(url)


def test_a_folder_that_may_not_be_entered_is_reported(unprivileged):
    shut = unprivileged / "shut"
    shut.mkdir(mode=0o000)
    for act, verb in (
        (kind_of, "access"),
        (read_url, "read"),
        (check_writable, "write"),
    ):
        with pytest.raises(StorageError, match=f"cannot {verb} .*: permission denied"):
            act(str(shut / "graph"))


def test_an_earlier_file_survives_a_folder_that_became_read_only(unprivileged):
    url = str(unprivileged / "graph")
    write_atomically(url, b"old")
    unprivileged.chmod(0o500)
    with pytest.raises(StorageError, match="cannot write .*: permission denied"):
        write_atomically(url, b"new")
    assert read_url(url) == b"old"
    unprivileged.chmod(0o700)
    assert names_below(str(unprivileged)) == ["graph"]


def test_earlier_files_survive_a_full_disk(small_disk, tmp_path):
    big = tmp_path / "big"
    big.mkdir()
    (big / "variables").write_bytes(bytes(1 << 20))
    graph, saved = str(small_disk / "graph"), str(small_disk / "saved")
    write_atomically(graph, b"old")
    write_atomically(join(saved, "model"), b"old")
    for add in (
        lambda publication: publication.add_file(graph, bytes(1 << 20)),
        lambda publication: publication.add_folder(saved, str(big)),
    ):
        with (  # noqa: PT012, discarding is part of it
            pytest.raises(StorageError) as caught,
            Publication() as publication,
        ):
            publication.add_file(join(str(small_disk), "labels"), b"new")
            add(publication)
        assert is_disk_full(caught.value)
        assert "no space left on device; what was there before is unchanged" in str(
            caught.value
        )
        assert names_below(str(small_disk)) == ["graph", "saved/model"]
        assert read_url(graph) == read_url(join(saved, "model")) == b"old"
    write_atomically(graph, b"new")  # the space is free again
    assert read_url(graph) == b"new"


def test_an_earlier_file_survives_a_limit_on_file_sizes(folder):
    code = (
        "import resource, signal, sys\n"
        "from poets.errors import StorageError\n"
        "from poets.storage.publish import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(sys.argv[1], b'old')\n"
        "try: write_atomically(sys.argv[1], bytes(2000))\n"
        "except StorageError as error: print(error)\n"
    )
    url = str(folder / "graph")
    done = subprocess.run(
        [sys.executable, "-c", code, url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == (
        f"cannot write {url!r}: file too large; what was there before is unchanged\n"
    ), done.stderr
    assert read_url(url) == b"old"
    assert names_below(str(folder)) == ["graph"]


def test_a_killed_writer_leaves_the_earlier_file(folder, wait_until):
    code = (
        "import sys\n"
        "from poets.storage.publish import Publication\n"
        "publication = Publication()\n"
        "publication.add_file(sys.argv[1], b'new')\n"
        "print('written', flush=True)\n"
        "sys.stdin.read()\n"
    )
    url = str(folder / "graph")
    write_atomically(url, b"old")
    with subprocess.Popen(
        [sys.executable, "-c", code, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    assert read_url(url) == b"old"
    assert len(names_below(str(folder))) == 2


def test_a_link_to_a_folder_is_a_folder(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    write_atomically(str(folder / "link" / "graph"), b"x")
    assert (folder / "real" / "graph").read_bytes() == b"x"


def test_commit_says_what_could_not_be_renamed(folder):
    blocked = folder / "out"
    with (  # noqa: PT012, discarding is part of it
        pytest.raises(StorageError) as caught,
        Publication() as publication,
    ):
        publication.add_file(str(folder / "first"), b"1")
        publication.add_file(str(blocked), b"2")
        write_atomically(str(blocked / "precious"), b"3")
        publication.commit()
    assert str(caught.value) == (
        f"cannot publish {str(blocked)!r}: is a directory; what was there before is "
        "unchanged"
    )
    assert names_below(str(folder)) == ["first", "out/precious"]
