"""The web interface of HDFS where it fails, played on loopback."""

import errno
import logging
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.fs
import pytest

from poets.errors import NotAuthenticatedError
from poets.storage import open_storage, read_bytes
from tests.storage.hadoop_confs import bare_environment, web_client
from tests.storage.played_webhdfs import (
    STATUS,
    TOKEN,
    Server,
    configure_service,
    named_user,
    refusal,
    server,
)

__all__ = ["bare_environment", "server", "named_user", "web_client"]  # fixtures

ROOT = Path(__file__).parents[2]


def opened(server: Server) -> pyarrow.fs.FileSystem:
    return open_storage(f"webhdfs://{server.address}/")[0]


def test_without_kerberos_the_user_is_named(server):
    server.add(200, STATUS)
    info = opened(server).get_file_info("/a b#c?d%41;e/käse")
    assert (info.size, info.mtime_ns) == (5, 1_500_000_000_000_000_000)
    (request,) = server.requests
    name = "a%20b%23c%3Fd%2541%3Be/k%C3%A4se"
    assert request.startswith(f"GET /webhdfs/v1/{name}?")
    assert {"op=GETFILESTATUS", "user.name=alice"} <= set(re.split("[?&]", request))


def test_without_kerberos_too_a_user_acts_for_another(server, monkeypatch):
    monkeypatch.setenv("HADOOP_PROXY_USER", "bob")
    server.add(200, STATUS)
    assert opened(server).get_file_info("/graph").size == 5
    (request,) = server.requests
    assert {"user.name=alice", "doas=bob"} <= set(re.split("[?&]", request))


def test_a_silent_server_is_given_up_at_the_deadline(server, monkeypatch):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "0.3")
    server.add(200, None)
    with pytest.raises(TimeoutError, match="took more than 0.3 s: the server does not"):
        opened(server).handler.read_bytes("/graph")


def test_a_server_that_is_not_there_is_reported(closed_port, monkeypatch):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "0.5")
    filesystem, _ = open_storage(f"webhdfs://127.0.0.1:{closed_port}/graph")
    with pytest.raises(ConnectionRefusedError, match=f"answers at .*:{closed_port};"):
        read_bytes(filesystem, "/graph")


@pytest.mark.parametrize(
    ("java_class", "message", "kind", "text"),
    [
        ("FileNotFoundException", "File /a", FileNotFoundError, "No such file"),
        ("FileNotFoundException", "Path is not a file: /a", IsADirectoryError, "Is a"),
        ("FileAlreadyExistsException", "/a exists", FileExistsError, "File exists"),
        ("AccessControlException", "no", PermissionError, "we are 'alice'"),
        (
            "AccessControlException",
            "/a (is not a directory)",
            NotADirectoryError,
            "Not a",
        ),
        ("ParentNotDirectoryException", "/a", NotADirectoryError, "Not a directory"),
        ("InvalidToken", "expired", NotAuthenticatedError, "InvalidToken: expired"),
        ("NSQuotaExceededException", "quota=1", OSError, "quota=1"),
        (
            "BlockMissingException",
            "Could not obtain block: BP-1:blk_1",
            OSError,
            "blk_1; `hdfs fsck` on the file shows whether its blocks are lost",
        ),
        ("IllegalArgumentException", "what", OSError, "what"),
    ],
)
def test_refusals_are_built_in_errors(server, java_class, message, kind, text):
    server.add(403, refusal(java_class, message))
    with pytest.raises(kind, match=text) as caught:
        opened(server).handler.read_bytes("/a")
    assert caught.value.filename == f"webhdfs://{server.address}/a"


@pytest.mark.parametrize(
    "java_class", ["StandbyException", "RetriableException", "SafeModeException"]
)
def test_what_passes_is_waited_for(server, java_class):
    for _ in range(2):
        server.add(403, refusal(java_class))
    server.add(200, STATUS)
    assert opened(server).get_file_info("/a").size == 5
    assert len(server.requests) == 3


def test_a_standby_is_passed_over(server, tmp_path, closed_port, monkeypatch):
    standby = Server()
    standby.add(403, refusal("StandbyException"))
    addresses = {"1": standby.address, "2": f"127.0.0.1:{closed_port}"}
    configure_service(
        tmp_path, monkeypatch, "Flowers", addresses | {"3": server.address}
    )
    for _ in range(2):
        server.add(200, STATUS)
    try:
        filesystem, path = open_storage("webhdfs://Flowers/a")
        for _ in range(2):
            assert filesystem.get_file_info(path).size == 5
    finally:
        standby.close()
    assert len(standby.requests) == 1  # it is remembered who answers


def test_an_html_refusal_is_of_the_ticket(server):
    text = b"<h2>HTTP ERROR 403 x</h2><tr><th>MESSAGE:</th><td>GSSException: stale</td>"
    server.add(403, text)
    with pytest.raises(NotAuthenticatedError, match="'alice' .403 GSSException: stale"):
        opened(server).get_file_info("/a")


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>It works</html>"), (404, b""), (200, b"{}")]
)
def test_another_web_server_is_reported(server, status, body):
    server.add(status, body)
    with pytest.raises(OSError, match="host and port are those of the NameNode's web"):
        opened(server).get_file_info("/a")


def test_a_body_that_breaks_is_read_again(server):
    for body in (b"flow", b"flowers"):
        server.redirect(server.address)
        server.add(200, body, Content_Length="7")
    assert opened(server).handler.read_bytes("/graph") == b"flowers"


def test_a_server_that_lost_another_is_asked_again(server):
    server.redirect(server.address)
    server.add(403, refusal("EOFException", "End of File Exception between ..."))
    server.redirect(server.address)
    server.add(200, b"flowers")
    assert opened(server).handler.read_bytes("/graph") == b"flowers"


def test_a_range_is_whole_or_an_error(server, monkeypatch):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "0.5")
    for _ in range(20):
        server.add(200, STATUS)
        server.redirect(server.address)
        server.add(200, b"flow")
    with pytest.raises(ConnectionError, match="4 bytes came where 5 were asked for"):
        opened(server).open_input_file("/graph").read()


def test_a_lost_answer_to_a_rename_is_looked_into(server):
    server.answers.append((200, {"Content-Length": "9"}, b""))  # and breaks
    server.add(404, refusal("FileNotFoundException"))  # the second try
    server.add(200, STATUS)  # the target
    server.add(404, refusal("FileNotFoundException"))  # the source
    opened(server).handler.rename("/part", "/graph", overwrite=False)
    assert server.answers == []


def test_a_write_that_breaks_is_repeated_and_leaves_no_part(server):
    for status, body in ((0, None), (201, b"")):
        server.redirect(server.address)
        if status:
            server.add(status, body)
        else:
            server.answers.append((201, {"Content-Length": "9"}, b""))
            server.redirect(server.address)  # whether it was refused
            server.add(201)
            server.add(200, {"boolean": True})  # deleted
    opened(server).handler.write_bytes("/graph", b"flowers")
    assert [request.split()[0] for request in server.requests] == [
        *("PUT", "PUT", "PUT", "PUT", "DELETE", "PUT", "PUT")
    ]


@pytest.mark.parametrize("fault", ["refused", "unknown", "broken", "forbidden"])
def test_no_token_reaches_an_exception_or_a_log(
    server, closed_port, fault, monkeypatch, caplog
):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "0.4")
    place = {"refused": f"127.0.0.1:{closed_port}", "unknown": "no.such.invalid:9864"}
    for _ in range(20):
        server.redirect(place.get(fault, server.address))
        if fault == "broken":
            server.add(200, b"flow", Content_Length="7")
        if fault == "forbidden":
            server.add(403, f"/graph?op=OPEN&delegation={TOKEN}".encode())
    with caplog.at_level(logging.DEBUG), pytest.raises(OSError, match=".") as caught:
        opened(server).handler.read_bytes("/graph")
    chain: list[BaseException | None] = [caught.value]
    while chain[-1] is not None:
        assert TOKEN not in repr(chain[-1]) + str(chain[-1])
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    assert "?…" in caplog.text
    assert TOKEN not in caplog.text


def test_the_first_token_is_shown_until_it_is_refused(server):
    for refused in (False, False, True):
        if refused:
            server.add(403, refusal("SecurityException", "can't be found in cache"))
        server.redirect(server.address)
        server.add(200, b"flowers")
        assert opened(server).handler.read_bytes("/graph") == b"flowers"
    shown = [f"delegation={TOKEN}" in request for request in server.requests]
    assert shown == [False, True, True, True, True, False, True]


def test_a_data_node_that_is_not_known_is_reported(server):
    server.redirect("no.such.invalid:9864")
    with pytest.raises(OSError, match="host of no.such.invalid:9864 is not known") as e:
        opened(server).handler.read_bytes("/graph")
    assert e.value.errno == errno.EHOSTUNREACH
    assert "or use HttpFS" in str(e.value)


def test_a_forked_process_has_connections_of_its_own(server):
    code = (
        "import os, sys\n"
        "from poets.storage import open_storage\n"
        "filesystem, path = open_storage(sys.argv[1])\n"
        "parent = filesystem.handler.backend.client._session\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    own = filesystem.handler.backend.client._session\n"
        "    size = filesystem.get_file_info(path).size\n"
        "    os._exit(size if own is not parent else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    server.add(200, STATUS)
    arguments = [sys.executable, "-c", code, f"webhdfs://{server.address}/graph"]
    assert subprocess.run(arguments, cwd=ROOT, timeout=300).returncode == 5
