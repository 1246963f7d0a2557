"""Downloads from real servers: continued parts, logins, proxies, TLS."""

import base64
import ssl
import threading

import pytest

from poets.system.http import FetchError, Limits, download, read, shown
from tests.certificates import write_certificate

DATA = bytes(range(256)) * 2000
SOON = Limits(connect_s=5, silence_s=30, total_s=60)


@pytest.fixture
def web(web_server):
    web_server.files["/a.zip"] = DATA
    return web_server


@pytest.fixture
def part(tmp_path):
    return tmp_path / "a.zip.part"


def get(url, part, limits=SOON, **options):
    download(url, str(part), limits, pause_s=0, **options)
    return part.read_bytes()


def test_content_arrives_in_a_file_or_in_memory(web, part):
    assert get(web.url("/a.zip"), part) == DATA
    assert read(web.url("/a.zip"), SOON)[0] == DATA


def test_a_part_that_is_there_is_continued(web, part):
    part.write_bytes(DATA[:1000])
    assert get(web.url("/a.zip"), part) == DATA
    assert web.requests == [("/a.zip", "bytes=1000-")]


def test_the_limit_of_the_size_is_for_the_whole(web, part):
    part.write_bytes(DATA[:1000])
    with pytest.raises(FetchError, match="longer than 511,000 bytes"):
        get(web.url("/a.zip"), part, Limits(max_bytes=len(DATA) - 1000))


def test_a_file_that_changes_meanwhile_is_fetched_again(web, part):
    """The server sees by If-Range that its file is another one."""
    changed = DATA[::-1]
    asked = []

    def page(handler):
        asked.append(handler.headers["If-Range"])
        data = changed if asked[-1] else DATA
        handler.send_response(200)
        handler.send_header("ETag", '"1"')
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data if asked[-1] else data[:200_000])

    web.files["/a.zip"] = page
    assert get(web.url("/a.zip"), part, attempts=2) == changed
    assert asked == [None, '"1"']


def test_another_part_than_the_one_asked_for_is_refused(web, part):
    def page(handler):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-999/{len(DATA)}")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(DATA[:1000])

    web.files["/a.zip"] = page
    part.write_bytes(DATA[:1000])
    with pytest.raises(FetchError, match="sent the wrong part of the file"):
        get(web.url("/a.zip"), part)
    part.unlink()
    with pytest.raises(FetchError, match="the server answered 206"):
        get(web.url("/a.zip"), part)


def test_a_disk_that_is_full_is_not_the_servers_fault(web, small_disk):
    with pytest.raises(OSError, match="No space left on device"):
        get(web.url("/a.zip"), small_disk / "part")
    assert len(web.requests) == 1


def test_a_login_is_not_sent_to_another_host(web, part):
    sent = []

    def page(handler):
        sent.append(handler.headers["Authorization"])
        handler.send_response(302)
        to = "/second" if handler.path == "/first" else web.url("/third")
        handler.send_header("Location", to.replace("127.0.0.1", "localhost"))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    web.files.update({"/first": page, "/second": page, "/third": page})
    url = web.url("/first").replace("//", "//ann:s3cret@")
    with pytest.raises(FetchError, match="more than 5 redirects"):
        read(url, SOON)
    login = "Basic " + base64.b64encode(b"ann:s3cret").decode()
    assert sent == [login, login, None, None, None, None]


def test_a_proxy_of_the_environment_is_asked(web, monkeypatch):
    monkeypatch.setenv("http_proxy", web.url())
    monkeypatch.setenv("no_proxy", "")
    web.files["http://example.test/a.zip"] = DATA
    assert read("http://example.test/a.zip", SOON)[0] == DATA


@pytest.fixture
def tls(web, tmp_path):
    """Lets the web server speak TLS; returns its certificate, for 127.0.0.1."""
    certificate, key = write_certificate(tmp_path, "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web.wrap(context)
    return certificate


def test_a_certificate_is_checked(web, tls, monkeypatch):
    with pytest.raises(FetchError, match="certificate verify failed: self-signed"):
        read(web.url("/a.zip"), SOON)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls))
    assert read(web.url("/a.zip"), SOON)[0] == DATA
    with pytest.raises(FetchError, match="certificate verify failed: Hostname mism"):
        read(web.url("/a.zip").replace("127.0.0.1", "localhost"), SOON)


def test_the_deadline_holds_through_tls(web, tls, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls))
    done = threading.Event()

    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not done.wait(0.02):
            handler.wfile.write(b".")

    web.files["/a.zip"] = drip
    try:
        with pytest.raises(FetchError, match="not complete after 0.5 s"):
            read(web.url("/a.zip"), Limits(total_s=0.5))
    finally:
        done.set()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://ann:s3cret@host/a.zip", "http://host/a.zip"),
        ("http://host/a@b.zip?sig=s3cret&x=1", "http://host/a@b.zip?…"),
        ("/a folder/a.zip", "/a folder/a.zip"),
        ("http://[::1/s", "http://[::1/s"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, text):
    assert shown(url) == text
