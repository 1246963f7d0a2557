"""Images from real servers on loopback: refused hosts, limits, wrong answers."""

import gzip
import logging
import socket
import threading
import time

import pytest

from poets.classifier.fetch import fetch_content, fetch_image
from poets.data.image_files import ImageError
from poets.errors import StorageError
from poets.system.hosts import Hosts
from poets.system.http import Limits

PICTURE = b"\xff\xd8 a picture " * 10_000
LOOPBACK = Hosts.parse("127.0.0.0/8")
SOON = Limits(connect_s=5, silence_s=0.2, total_s=60, max_bytes=2 * len(PICTURE))


@pytest.fixture
def web(web_server):
    web_server.files["/a.jpg"] = PICTURE
    return web_server


@pytest.fixture
def get():
    """Returns a function that fetches an image and returns its content."""

    def call(url, allowed=LOOPBACK, limits=SOON):
        return fetch_content(url, allowed, limits)

    return call


@pytest.fixture
def refusal(get):
    """Returns a function that fetches an image and returns the reason of the error."""

    def call(*args, **limits):
        with pytest.raises(ImageError) as caught:
            get(*args, **limits)
        return str(caught.value).removeprefix("cannot be fetched: ")

    return call


def redirect(target):
    def page(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return page


def answer(body, **headers):
    """Returns a page with headers, as Content_Type="text/html"."""

    def page(handler):
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return page


@pytest.mark.parametrize("text", [None, "127.0.0.0/8", "127.0.0.1", "*,127.0.0.0/8"])
def test_an_image_arrives(web, get, text):
    assert get(web.url("/a.jpg"), text and Hosts.parse(text)) == PICTURE


def test_a_name_needs_its_entry_and_the_network_of_its_address(web, get, refusal):
    url = web.url("/a.jpg").replace("127.0.0.1", "localhost")
    port = url.rpartition(":")[2].partition("/")[0]
    assert get(url, Hosts.parse(f"localhost:{port},127.0.0.0/8")) == PICTURE
    reason = "the host 'localhost' is not allowed"
    assert refusal(url, LOOPBACK) == reason
    assert refusal(url, Hosts.parse("localhost:1,127.0.0.0/8")) == reason
    assert refusal(url, Hosts.parse("localhost")) == (
        "the host 'localhost' has no public address, and none in an allowed network"
    )
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0"],
)
def test_any_public_host_is_none_on_loopback(web, refusal, host):
    url = web.url("/a.jpg").replace("127.0.0.1", host)
    assert "no public address" in refusal(url, Hosts.parse("*"))
    assert web.requests == []


def test_a_closed_port_of_a_private_host_looks_like_an_open_one(refusal, closed_port):
    url = f"http://127.0.0.1:{closed_port}/a.jpg"
    assert "no public address" in refusal(url, Hosts.parse("*"))
    assert refusal(url) == "connection refused"


def test_a_name_that_changes_its_address_is_looked_up_once(get, monkeypatch, web):
    """DNS rebinding: the first answer is allowed, every further one is not."""
    answers, real = iter(["127.0.0.1"]), socket.getaddrinfo

    def changing(host, *args, **kwargs):
        return real(next(answers) if host == "rebind.test" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    url = web.url("/a.jpg").replace("127.0.0.1", "rebind.test")
    assert get(url, Hosts.parse("rebind.test,127.0.0.1")) == PICTURE


def test_only_allowed_addresses_of_a_name_are_asked(refusal, get, monkeypatch, web):
    real = socket.getaddrinfo

    def two(host, *args, **kwargs):
        hosts = ("127.0.0.2", "127.0.0.1") if host == "two.test" else (host,)
        return [each for host in hosts for each in real(host, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    url = web.url("/a.jpg").replace("127.0.0.1", "two.test")
    assert refusal(url, Hosts.parse("two.test,127.0.0.2")) == "connection refused"
    assert get(url, Hosts.parse("two.test,127.0.0.1")) == PICTURE
    assert get(url, Hosts.parse("two.test,127.0.0.0/8")) == PICTURE


def test_redirects_are_followed_to_allowed_hosts(web, get):
    web.files["/there"] = redirect(web.url("/a.jpg"))
    web.files["/beside"] = redirect("there")
    assert get(web.url("/beside")) == PICTURE


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data", "'169.254.169.254' is not allowed"),
        ("http://127.0.0.2/a.jpg", "the host '127.0.0.2' is not allowed"),
        ("http://[::ffff:10.0.0.1]/", "the host '::ffff:10.0.0.1' is not allowed"),
        ("//intranet/a.jpg", "the host 'intranet' is not allowed"),
        ("file:///etc/passwd", "not an http or https address"),
        ("gopher://127.0.0.1/", "not an http or https address"),
        ("http://[::1", "not an http or https address"),
        ("http://a b/", "not an http or https address"),
    ],
)
def test_a_redirect_leads_nowhere_else(web, refusal, target, reason):
    web.files["/there"] = redirect(target)
    assert reason in refusal(web.url("/there"), Hosts.parse("127.0.0.1"))


def test_a_loop_of_redirects_ends(web, refusal):
    web.files["/round"] = redirect("/about")
    web.files["/about"] = redirect("/round")
    assert refusal(web.url("/round")) == "more than 5 redirects"
    assert len(web.requests) == 6


def test_the_content_of_a_redirect_is_not_read(web, get):
    def page(handler):
        handler.send_response(302)
        handler.send_header("Location", "/a.jpg")
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()

    web.files["/there"] = page
    assert get(web.url("/there")) == PICTURE


@pytest.mark.parametrize(
    "page",
    [
        answer(b"<p>log in", Content_Type="text/html; charset=utf-8"),
        answer(b"\xef\xbb\xbf\n <!DOCTYPE html><p>log in"),
        answer(b"<HTML><p>log in", Content_Type="image/jpeg"),
    ],
)
def test_a_page_is_not_a_picture(web, refusal, page):
    web.files["/a.jpg"] = page
    assert refusal(web.url("/a.jpg")) == "an HTML page, not a picture"


def test_a_failure_has_its_status_even_if_it_comes_with_a_page(web, refusal):
    assert refusal(web.url("/absent.jpg")) == "the server answered 404 Not Found"


def test_too_long_content_is_refused_by_its_header(web, refusal):
    """The content would never come."""
    web.files["/a.jpg"] = answer(b"", Content_Length=str(2**40))
    limits = Limits(silence_s=300, max_bytes=10)
    assert refusal(web.url("/a.jpg"), limits=limits) == "longer than 10 bytes"


def test_too_long_content_is_refused_while_it_comes(web, refusal):
    web.files["/a.jpg"] = answer(PICTURE)  # without a length
    limits = Limits(max_bytes=len(PICTURE) - 1)
    assert "longer than" in refusal(web.url("/a.jpg"), limits=limits)
    assert "longer than" in refusal(web.url("/a.jpg"), limits=Limits(max_bytes=10))


def test_too_long_content_is_refused_however_well_it_is_packed(web, refusal):
    packed = gzip.compress(bytes(50_000_000))
    web.files["/a.jpg"] = answer(packed, Content_Encoding="gzip")
    limits = Limits(max_bytes=1_000_000)
    assert len(packed) < limits.max_bytes
    reason = refusal(web.url("/a.jpg"), limits=limits)
    assert reason == "longer than 1,000,000 bytes"


def test_a_full_disk_is_not_the_picture_that_is_wrong(web, small_disk):
    web.files["/a.jpg"] = bytes(2**20)
    with pytest.raises(StorageError, match="cannot write '.*/image': no space left"):
        fetch_image(web.url("/a.jpg"), str(small_disk / "image"))


def test_an_earlier_file_is_replaced(web, tmp_path):
    path = tmp_path / "image"
    for content in (PICTURE, PICTURE[:100]):
        web.files["/a.jpg"] = content
        fetch_image(web.url("/a.jpg"), str(path))
        assert path.read_bytes() == content


def test_content_that_breaks_off_is_refused(web, refusal):
    web.break_after = [100]
    assert refusal(web.url("/a.jpg")) == "the connection broke"


def test_a_silent_server_is_given_up(web, refusal):
    done = threading.Event()
    web.files["/a.jpg"] = lambda handler: done.wait(300)
    try:
        assert refusal(web.url("/a.jpg")) == "timed out"
    finally:
        done.set()


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"]
)
def test_a_server_that_drips_is_given_up_at_the_deadline(web, refusal, start):
    """Each byte comes in time; the status, a header or the content never ends."""
    done = threading.Event()

    def drip(handler):
        handler.wfile.write(start)
        while not done.wait(0.02):
            handler.wfile.write(b".")

    web.files["/a.jpg"] = drip
    limits = Limits(silence_s=60, total_s=0.3)
    started = time.monotonic()
    try:
        assert refusal(web.url("/a.jpg"), limits=limits) == "not complete after 0.3 s"
    finally:
        done.set()
    assert time.monotonic() - started < 30


def test_a_look_up_that_hangs_is_given_up(refusal, monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: done.wait(300))
    limits = Limits(connect_s=0.1)
    try:
        reason = refusal("http://example.org/", Hosts.parse("*"), limits=limits)
    finally:
        done.set()
    assert reason == "timed out"


def test_a_server_of_another_protocol_is_one_short_sentence(web, refusal):
    web.files["/a.jpg"] = lambda handler: handler.wfile.write(b"220 smtp.example.org\n")
    reason = refusal(web.url("/a.jpg"))
    assert reason == "the server does not answer as a web server does"


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/a.jpg", "file:///etc/passwd", "http://", "a.jpg", ""]
)
def test_only_web_addresses_are_asked(refusal, url):
    assert refusal(url) == "not an http or https address"


def test_secrets_of_an_address_are_not_shown(web, refusal, closed_port, caplog):
    caplog.set_level(logging.DEBUG)
    web.files["/bad"] = lambda handler: handler.wfile.write(
        b"HTTP/1.1 404 No\r\n: bad header\r\nContent-Length: 0\r\n\r\n"
    )
    for url in (
        web.url("/absent.jpg"),
        web.url("/bad"),
        f"http://127.0.0.1:{closed_port}/a.jpg",
        "http://intranet/a.jpg",
        "http://[::1/a.jpg",
    ):
        url = url.replace("http://", "http://ann:s3cret@") + "?X-Amz-Signature=t0ken"
        said = refusal(url)
        assert "s3cret" not in said + caplog.text
        assert "t0ken" not in said + caplog.text


def test_neither_a_proxy_nor_netrc_serves_strangers(
    web, get, refusal, closed_port, monkeypatch, tmp_path
):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password s3cret\n")
    sent = []
    web.files["/b.jpg"] = lambda handler: sent.append(dict(handler.headers))
    refusal(web.url("/b.jpg"))
    assert get(web.url("/a.jpg")) == PICTURE
    assert [headers for headers in sent if "Authorization" in headers] == []
    assert refusal(web.url("/a.jpg"), None) == "connection refused"
