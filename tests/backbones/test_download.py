"""Downloads from a real server that breaks off, refuses and lies."""

import base64
import hashlib
import os
import tempfile
import threading

import pytest

from poets.backbones import download as module
from poets.backbones.download import ATTEMPTS, download
from poets.errors import ModelError, StorageError
from poets.system.http import PIECE_BYTES

pytest_plugins = ["tests.far"]

DATA = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5_HEX = hashlib.md5(DATA).hexdigest()
HINT = (
    "; put the file at '{}' by hand, give another --model_url, or use "
    "--architecture=efficientnet_lite0, which pip installs"
)
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


@pytest.fixture
def web(web_server):
    web_server.files["/a.tgz"] = DATA
    return web_server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "a.tgz"


def beside(target):
    return sorted(path.name for path in target.parent.iterdir())


def refusal(url, target, sha256=None):
    with pytest.raises(ModelError) as caught:
        download(url, str(target), sha256)
    return str(caught.value)


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_file_arrives_whole_and_alone(web, target, sha256, caplog):
    caplog.set_level("INFO")
    assert download(web.url("/a.tgz"), str(target), sha256) == DATA
    assert target.read_bytes() == DATA
    assert beside(target) == ["a.tgz"]
    assert f"downloaded {len(DATA)} bytes, SHA-256 {SHA256}" in caplog.messages


def test_an_empty_file_is_a_file(web, target):
    web.files["/empty"] = b""
    assert download(web.url("/empty"), str(target), None) == b""
    assert target.read_bytes() == b""


def test_a_broken_connection_is_taken_up_where_it_broke(web, target):
    web.break_after = [PIECE_BYTES, 3 * PIECE_BYTES + 100]
    assert download(web.url("/a.tgz"), str(target), SHA256) == DATA
    wanted = [range_ for _, range_ in web.requests]
    assert wanted == [
        None,
        f"bytes={PIECE_BYTES}-",
        f"bytes={4 * PIECE_BYTES}-",
    ]


def test_what_a_failed_download_left_is_completed_by_the_next(web, target):
    web.break_after = [PIECE_BYTES] * ATTEMPTS
    text = refusal(web.url("/a.tgz"), target, SHA256)
    assert text.startswith(f"cannot download {web.url('/a.tgz')!r}: ")
    assert text.endswith(HINT.format(target))
    assert not target.exists()
    assert beside(target) == [".a.tgz.download"]
    assert download(web.url("/a.tgz"), str(target), SHA256) == DATA
    assert web.requests[-1] == ("/a.tgz", f"bytes={PIECE_BYTES * ATTEMPTS}-")
    assert beside(target) == ["a.tgz"]


def test_a_server_without_ranges_sends_all_again(web, target):
    web.takes_ranges = False
    web.break_after = [100_000]
    assert download(web.url("/a.tgz"), str(target), SHA256) == DATA


@pytest.mark.parametrize("left", [DATA, DATA + b"more"])
def test_a_part_that_is_too_long_begins_again(web, target, left):
    target.parent.mkdir()
    (target.parent / ".a.tgz.download").write_bytes(left)
    assert download(web.url("/a.tgz"), str(target), SHA256) == DATA


def test_another_digest_is_refused_and_nothing_kept(web, target):
    text = refusal(web.url("/a.tgz"), target, "0" * 64)
    assert text == (
        f"cannot download {web.url('/a.tgz')!r}: it is not the published file: SHA-256 "
        f"{SHA256}, MD5 {MD5_HEX}, expected {'0' * 64}{HINT.format(target)}"
    )
    assert beside(target) == []


def test_a_part_of_another_file_is_found_by_the_digest(web, target):
    target.parent.mkdir()
    (target.parent / ".a.tgz.download").write_bytes(b"of another version")
    assert "is not the published file" in refusal(web.url("/a.tgz"), target, SHA256)
    assert download(web.url("/a.tgz"), str(target), SHA256) == DATA


def test_an_earlier_file_stays_when_the_download_fails(web, target):
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    refusal(web.url("/a.tgz"), target, "0" * 64)
    assert target.read_bytes() == b"earlier"


def test_the_md5_of_google_cloud_storage_is_checked(web, target):
    web.headers["/a.tgz"] = {"x-goog-hash": f"crc32c=AAAAAA==, md5={MD5}"}
    assert download(web.url("/a.tgz"), str(target), None) == DATA
    other = base64.b64encode(bytes(16)).decode()
    web.headers["/a.tgz"] = {"x-goog-hash": f"crc32c=AAAAAA==,md5={other}"}
    target.unlink()
    text = refusal(web.url("/a.tgz"), target)
    assert f"expected MD5 {other}" in text
    assert beside(target) == []


def test_the_md5_of_the_whole_holds_for_a_resumed_download(web, target):
    web.headers["/a.tgz"] = {"x-goog-hash": f"md5={MD5}"}
    web.break_after = [100_000]
    assert download(web.url("/a.tgz"), str(target), None) == DATA


def test_a_missing_file_is_reported_at_once(web, target):
    text = refusal(web.url("/b.tgz"), target)
    assert text == (
        f"cannot download {web.url('/b.tgz')!r}: the server answered 404 Not Found"
        f"{HINT.format(target)}"
    )
    assert len(web.requests) == 1


def test_a_server_out_of_order_is_asked_again(web, target):
    web.statuses = [503, 500]
    assert download(web.url("/a.tgz"), str(target), SHA256) == DATA
    web.statuses = [503] * ATTEMPTS
    assert "503 Service Unavailable, attempt 4 of 4" in refusal(
        web.url("/a.tgz"), target
    )


def test_a_refused_connection_is_reported_in_one_line(closed_port, target):
    url = f"http://127.0.0.1:{closed_port}/a.tgz"
    text = refusal(url, target)
    assert text == (
        f"cannot download {url!r}: connection refused, attempt 4 of 4"
        f"{HINT.format(target)}"
    )


@pytest.mark.parametrize("url", ["htp://x/a.tgz", "nowhere/a.tgz"])
def test_what_is_no_web_address_is_reported(url, target):
    text = refusal(url, target)
    assert text.startswith(f"cannot download {url!r}: ")


def test_a_folder_that_cannot_be_made_is_reported_before_the_download(web, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    target = str(tmp_path / "file" / "models" / "a.tgz")
    with pytest.raises(StorageError, match=r"cannot write '.*/a\.tgz': not a dir"):
        download(web.url("/a.tgz"), target, None)
    assert web.requests == []


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_file_arrives_on_another_storage(web, target, far, scratch):
    url = far.url(target)
    assert download(web.url("/a.tgz"), url, SHA256) == DATA
    assert target.read_bytes() == DATA
    assert beside(target) == ["a.tgz"]
    (folder,) = scratch.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []


def test_what_a_failed_download_left_serves_its_own_target_alone(
    web, target, far, scratch
):
    web.break_after = [PIECE_BYTES] * ATTEMPTS
    refusal(web.url("/a.tgz"), far.url(target), SHA256)
    other = far.url(target.parent / "other" / "a.tgz")
    web.requests.clear()
    assert download(web.url("/a.tgz"), other, SHA256) == DATA
    assert download(web.url("/a.tgz"), far.url(target), SHA256) == DATA
    assert [wanted for _, wanted in web.requests] == [
        None,
        f"bytes={PIECE_BYTES * ATTEMPTS}-",
    ]


def test_a_temporary_folder_of_another_user_is_refused(web, target, far, scratch):
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    folder = scratch / f"poets-downloads-{os.getuid()}"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(StorageError, match="it is another user's; remove it"):
        download(web.url("/a.tgz"), far.url(target), SHA256)


@pytest.mark.parametrize("where", ["local", "far"])
def test_of_two_that_want_a_file_one_downloads(
    web, target, far, scratch, where, wait_until, caplog
):
    caplog.set_level("INFO")
    url = str(target) if where == "local" else far.url(target)
    part = module._part_path(url)
    found = []
    with module._locked(part):
        second = threading.Thread(
            target=lambda: found.append(download(web.url("/a.tgz"), url, SHA256))
        )
        second.start()
        wait_until(lambda: "waiting for the process" in caplog.text)
        first = module._download(web.url("/a.tgz"), url, SHA256, part)
    second.join(300)
    assert found == [first] == [DATA]
    assert len(web.requests) == 1


def test_a_digest_may_be_an_md5(web, target):
    assert download(web.url("/a.tgz"), str(target), MD5_HEX) == DATA
