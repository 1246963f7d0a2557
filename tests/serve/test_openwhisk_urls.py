"""What the OpenWhisk action answers for the URLs of callers, good and bad."""

import time

import pytest

from tests.bombs import png_of
from tests.command import silent_server
from tests.serve.action import draw_digit

pytest_plugins = ["tests.serve.action"]

GOOD = draw_digit(6, format="JPEG", quality=95)
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture(scope="module")
def action(run_action, digit_model):
    """An action that may fetch from one address of this machine."""
    hosts = "*,127.0.0.1"
    with run_action(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=hosts) as made:
        yield made


@pytest.fixture(scope="module")
def careful_action(run_action, digit_model):
    """An action with the default for URLs."""
    with run_action(PATH_TO_ONNX_MODEL=digit_model) as made:
        yield made


def failure(action, url, **context):
    """Returns why a run failed; it has the code of a bad picture."""
    reply = action.run({"url": url}, **context).json()
    assert (reply["code"], reply["res"]) == (500, -1)
    assert (reply["error"]["code"], reply["error"]["res"]) == (500, -1)
    return reply["error"]["message"]


@pytest.mark.parametrize("query", ["", "?X-Amz-Signature=a%2Bb&X-Amz-Expires=172800"])
def test_a_picture_at_a_url(action, web_server, query):
    web_server.files["/six.jpg"] = GOOD
    reply = action.run({"url": web_server.url(f"/six.jpg{query}")}).json()
    assert (reply["code"], reply["res"]) == (200, 6)
    assert web_server.requests == [(f"/six.jpg{query}", None)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture", "not a JPEG, PNG, WEBP, BMP, GIF image"),
        (b"", "empty file"),
        (draw_digit(6)[:80], "cannot be decoded: "),
        (png_of(100_000, 100_000), "refused as a decompression bomb"),
        (bytes(48 * 2**20 + 1), "longer than 50,331,648 bytes"),
        (b"<!DOCTYPE html><title>Sign in</title>", "an HTML page, not a picture"),
        (None, "404 Not Found"),
    ],
)
def test_what_is_no_picture_is_named(action, web_server, content, reason):
    if content is not None:
        web_server.files["/a.jpg"] = content
    message = failure(action, web_server.url("/a.jpg"))
    assert message.startswith("cannot read ")
    assert reason in message
    web_server.files["/good.jpg"] = GOOD
    assert action.run({"url": web_server.url("/good.jpg")}).json()["res"] == 6


def test_a_download_that_breaks_off(action, web_server):
    web_server.files["/a.jpg"] = GOOD
    web_server.break_after = [100]
    message = failure(action, web_server.url("/a.jpg"))
    assert message.endswith("cannot be fetched: the connection broke")


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "s3://bucket/a.jpg", "gopher://127.0.0.1/", "a.jpg"),
        *("http://", "http://[::1", "http://127.0.0.1:99999/", "//127.0.0.1/a"),
        "http://\r\nHost: a/",
    ],
)
def test_what_is_no_web_address(action, url):
    assert failure(action, url).startswith("cannot read ")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0"]
)
def test_an_address_that_is_not_public_is_refused(careful_action, host):
    message = failure(careful_action, f"http://{host}:9000/mnist/6.png")
    assert "POETS_ALLOW_URLS" in message


def test_a_redirect_to_an_address_that_is_not_public_is_refused(action, web_server):
    other = web_server.url("/a.jpg").replace("127.0.0.1", "127.0.0.2")
    web_server.headers["/moved"] = {"Location": other}
    web_server.statuses = [302]
    assert "POETS_ALLOW_URLS" in failure(action, web_server.url("/moved"))


def test_a_redirect_loop_ends(action, web_server):
    web_server.headers["/loop"] = {"Location": web_server.url("/loop")}
    web_server.statuses = [302] * 100
    assert "redirects" in failure(action, web_server.url("/loop"))
    assert len(web_server.requests) < 12


def test_a_silent_server_is_given_up_before_the_deadline(action):
    started = time.monotonic()
    deadline_ms = int((time.time() + 1.5) * 1000)
    with silent_server() as port:
        url = f"http://127.0.0.1:{port}/a.jpg"
        message = failure(action, url, deadline=str(deadline_ms))
    assert "cannot be fetched: " in message
    assert time.monotonic() - started < 10  # as long as without a deadline


def test_no_secret_of_a_url_is_shown(action, web_server):
    address = web_server.url("/a.jpg").replace("//", "//me:pass@word@")
    message = failure(action, f"{address}?X-Amz-Signature=secret#secret")
    out, err = action.logs
    for text in (message, out, err):
        assert "secret" not in text
        assert "word" not in text
    assert "/a.jpg?…'" in message
