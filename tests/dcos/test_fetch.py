"""The fetcher: real downloads from a server on loopback, and files."""

import os
import threading

import pytest

from poets.dcos.fetch import download, fetch, place
from poets.dcos.run import reserved_ports
from poets.errors import ConfigError, StorageError
from poets.system.http import Limits

JOB = b"print('the job')\n" * 1000


def get(url, path, **limits):
    return download(url, path, Limits(**limits), pause_s=0.01)


def answer(status, body=b"", length=None):
    """Returns a page with a status and perhaps a wrong length."""

    def page(handler):
        handler.send_response(status)
        handler.send_header(
            "Content-Length", str(len(body) if length is None else length)
        )
        handler.end_headers()
        handler.wfile.write(body)

    return page


def in_turn(*pages):
    left = list(pages)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def test_a_download_is_named_as_its_address(web_server, tmp_path):
    web_server.files["/a%20b/job.py"] = JOB
    found = fetch(web_server.url("/a%20b/job.py?sig=1"), tmp_path / "fetched")
    assert found == tmp_path / "fetched/job.py"
    assert found.read_bytes() == JOB


def test_a_script_goes_into_the_sandbox_as_it_is(web_server, tmp_path):
    web_server.files["/job.py"] = JOB
    place(fetch(web_server.url("/job.py"), tmp_path / "fetched"), tmp_path / "sandbox")
    assert (tmp_path / "sandbox/job.py").read_bytes() == JOB


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
def test_files_need_no_server(tmp_path, form):
    (tmp_path / "my job.py").write_bytes(JOB)
    path = str(tmp_path / "my job.py")
    url = form.format(path=path if form == "{path}" else path.replace(" ", "%20"))
    assert fetch(url, tmp_path / "fetched").read_bytes() == JOB


def test_a_relative_path_is_seen_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_bytes(JOB)
    assert fetch("job.py", tmp_path / "fetched") == tmp_path / "job.py"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gone.zip", "'gone.zip': there is no such file; give a file, relative"),
        ("folder.zip", "'folder.zip': it is a folder"),
        ("hdfs://default/job.zip", "use http://, https://, file:/// or a path"),
        ("file://host/job.zip", "use http://, https://, file:/// or a path"),
    ],
)
def test_what_cannot_be_fetched_is_the_users_mistake(
    tmp_path, monkeypatch, url, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(ConfigError, match=message):
        fetch(url, tmp_path / "fetched")


def test_a_passing_error_is_tried_again(web_server, tmp_path):
    web_server.files["/job.py"] = in_turn(answer(503), answer(200, JOB))
    assert get(web_server.url("/job.py"), tmp_path / "job.py").read_bytes() == JOB
    assert len(web_server.requests) == 2


def test_a_lasting_error_is_not_tried_again(web_server, tmp_path):
    with pytest.raises(
        StorageError,
        match=r"cannot download 'http://.*/gone.zip': the server answ.*404",
    ):
        get(web_server.url("/gone.zip"), tmp_path / "job.zip")
    assert len(web_server.requests) == 1
    assert os.listdir(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing(web_server, tmp_path):
    web_server.files["/job.zip"] = answer(200, JOB, length=len(JOB) + 1)
    with pytest.raises(StorageError, match="the connection broke, attempt 3 of 3"):
        get(web_server.url("/job.zip"), tmp_path / "job.zip")
    assert len(web_server.requests) == 3
    assert os.listdir(tmp_path) == []


def test_an_earlier_file_survives_a_failed_download(web_server, tmp_path):
    (tmp_path / "job.zip").write_bytes(b"earlier")
    web_server.files["/job.zip"] = answer(500)
    with pytest.raises(StorageError, match="the server answered 500"):
        get(web_server.url("/job.zip"), tmp_path / "job.zip")
    assert (tmp_path / "job.zip").read_bytes() == b"earlier"


def test_a_silent_server_is_given_up(web_server, tmp_path):
    done = threading.Event()
    web_server.files["/job.zip"] = lambda handler: done.wait(300)
    try:
        with pytest.raises(StorageError, match="timed out"):
            get(web_server.url("/job.zip"), tmp_path / "job.zip", silence_s=0.1)
    finally:
        done.set()


def test_a_server_that_only_drips_is_given_up(web_server, tmp_path):
    done = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(b".")
            handler.wfile.flush()
            if done.wait(0.02):
                return

    web_server.files["/job.zip"] = drip
    try:
        with pytest.raises(StorageError, match="not complete after 0.2 s"):
            get(web_server.url("/job.zip"), tmp_path / "job.zip", total_s=0.2)
    finally:
        done.set()


def test_nobody_listening_is_one_clear_line(tmp_path):
    with reserved_ports([0]) as (port,):  # bound, but not listening
        url = f"http://127.0.0.1:{port}/job.zip"
        with pytest.raises(StorageError, match="connection refused, attempt 3 of 3"):
            get(url, tmp_path / "job.zip")


def test_a_login_is_sent_and_never_shown(web_server, tmp_path, caplog):
    sent = []

    def page(handler):
        sent.append(handler.headers["Authorization"])
        answer(503)(handler)

    web_server.files["/job.zip"] = page
    url = web_server.url("/job.zip?token=t0ken").replace("//", "//ann:s3cret@")
    with pytest.raises(StorageError) as caught:
        get(url, tmp_path / "job.zip")
    assert sent[0] == "Basic YW5uOnMzY3JldA=="
    said = f"{caught.value!r} {caplog.text}"
    assert "s3cret" not in said
    assert "t0ken" not in said
    assert caught.value.__suppress_context__
