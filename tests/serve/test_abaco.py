"""`python -m poets.serve.abaco` as Abaco runs it, in a clean environment."""

import importlib.metadata
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

import pytest
from PIL import Image

from poets.data.image_files import ImageError
from poets.errors import PoetsError
from poets.serve.abaco import __main__ as abaco
from poets.serve.abaco.one_picture import fetch
from poets.system.hosts import Hosts
from tests.serve.actor import (
    CLEAN,
    LABELS,
    LOOPBACK,
    ROOT,
    Delivery,
    picture,
    run_actor,
)

pytest_plugins = ["tests.serve.small"]

LINES = re.compile(r"(?:[^\n]+ \(score = [01]\.\d{5}\)\n)+")
GREEN, RED = picture(1), picture(0)


@pytest.fixture
def classify(small_model):
    """Returns a function that runs the program: a message as text or bytes."""

    def call(message, *arguments, parameters=(), **more):
        sent = {"data": message} if isinstance(message, bytes) else {"text": message}
        delivery = Delivery(**sent, parameters=dict(parameters))
        return run_actor(small_model, delivery, arguments, **more)

    return call


@pytest.fixture
def green(web_server):
    web_server.files["/a%20b&c.jpg"] = GREEN
    return web_server.url("/a%20b&c.jpg")


def scores_in(out):
    assert LINES.fullmatch(out)
    found = [line.rpartition(" (score = ") for line in out.splitlines()]
    return {label: float(score[:-1]) for label, _, score in found}


def test_stdout_is_the_labels_and_their_scores_best_first(classify, green):
    done = classify(green)
    assert (done.code, done.err) == (0, "")
    scores = scores_in(done.out)
    assert next(iter(scores)) == "green"
    assert set(scores) == set(LABELS)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-4)


def test_all_forms_of_a_message_get_the_same_answer(classify, green, web_server):
    web_server.files["/x/y.jpg"] = GREEN
    message = {"data_url": web_server.url("/x/y.jpg"), "predictions": "2"}
    answers = {
        "literal": classify(repr(message)),
        "json": classify(json.dumps({**message, "flag": True})),
        "query": classify("classify", parameters=message),
        "binary": classify(GREEN, parameters={"predictions": "2"}),
    }
    assert {done.out for done in answers.values()} == {answers["binary"].out}
    assert len(answers["binary"].out.splitlines()) == 2
    assert {done.code for done in answers.values()} == {0}
    assert classify(green).out.startswith(answers["binary"].out)


def test_the_answer_is_sent_as_a_result_too(classify, green):
    done = classify(repr({"data_url": green, "data_name": "../x/rose.jpg"}))
    (result,) = map(json.loads, done.results)
    assert result["image"] == "rose.jpg"
    assert [each["label"] for each in result["labels"]] == list(scores_in(done.out))
    for each in result["labels"]:
        assert f"{each['score']:.5f}" in done.out


def test_a_name_that_is_not_unicode_breaks_nothing(classify, green):
    done = classify(json.dumps({"data_url": green, "data_name": "\ud800\n.jpg"}))
    assert done.code == 0
    assert json.loads(done.results[0])["image"] == "\ud800\n.jpg"


def test_a_picture_of_more_bytes_than_a_fifo_holds_is_read(classify):
    file = io.BytesIO()
    noise = Image.frombytes("RGB", (400, 400), os.urandom(480_000))
    noise.save(file, "PNG")
    assert len(file.getvalue()) > 400_000
    assert classify(file.getvalue()).code == 0


def chunk(kind, data):
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(100_000)))
)
NO_PICTURES = {
    "text": (b"no picture", "not a JPEG, PNG, WEBP, BMP, GIF image"),
    "empty": (b"", "empty file"),
    "truncated": (GREEN[:200], "cannot be decoded"),
    "bomb": (BOMB, "refused as a decompression bomb"),
    "html": (b"<!doctype html><p>404", "HTML"),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_one_sentence_and_exit_code_1(classify, web_server, kind):
    data, reason = NO_PICTURES[kind]
    web_server.files["/a.jpg"] = data
    done = classify(web_server.url("/a.jpg"))
    assert (done.code, done.out, done.results) == (1, "", [])
    assert done.err.startswith("abaco: ")
    assert reason in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["text", "truncated", "bomb"])
def test_bytes_that_are_no_picture_are_refused_alike(classify, kind):
    data, reason = NO_PICTURES[kind]
    done = classify(data)
    assert (done.code, done.out) == (1, "")
    assert reason in done.err


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{web}/absent.jpg", "the server answered 404 Not Found"),
        ("file:///etc/passwd", "not an http or https address"),
    ],
)
def test_a_failed_download_is_exit_code_1(classify, web_server, url, reason):
    done = classify(url.format(web=web_server.url()))
    assert (done.code, done.out, done.results) == (1, "", [])
    assert done.err == f"abaco: data_url was not downloaded: {reason}\n"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{closed}/a.jpg",
        "ftp://example.org/a.jpg",
        "http://",
        "http://[::1/a.jpg",
        "http://\udcff\udcfe/a.jpg",
        "http://a b/\x01.jpg",
        "http://127.0.0.1:99999/a.jpg",
        "http://" + "x" * 100_000,
    ],
)
def test_no_url_breaks_it(url, closed_port):
    with pytest.raises(ImageError, match="^data_url was not downloaded: .{5,80}$"):
        fetch("data_url", url.format(closed=closed_port), Hosts.parse(LOOPBACK))


def test_private_addresses_are_refused_by_default(classify, green, web_server):
    done = classify(green, allow_urls="*")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("abaco: data_url was not downloaded: ")
    assert web_server.requests == []


def test_a_flag_is_stronger_than_what_a_query_parameter_sets(small_model, green):
    """A sender could otherwise allow itself every address, or choose the model."""
    flags = (f"--model={small_model}", "--allow_urls=*")
    done = run_actor("/nowhere.tflite", Delivery(green), flags)
    assert (done.code, done.out) == (1, "")
    assert "has no public address" in done.err
    done = run_actor("/nowhere.tflite", Delivery(None, GREEN), flags)
    assert done.code == 0


def test_a_redirect_loop_ends(classify, web_server):
    web_server.files["/a.jpg"] = b""
    web_server.headers["/a.jpg"] = {"Location": web_server.url("/a.jpg")}
    web_server.statuses = [302] * 100
    done = classify(web_server.url("/a.jpg"))
    assert (done.code, done.out) == (1, "")
    assert "redirect" in done.err
    assert len(web_server.requests) < 40


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("classify", "MSG not set or interepretable as a dict object: "),
        ("{'data_ulr': 'http://x'}", "data_url was not defined: "),
        ("{'data_url': 'http://x', 'predictions': 0}", "predictions=0: must be a "),
    ],
)
def test_a_wrong_message_is_exit_code_2(classify, message, reason):
    done = classify(message)
    assert (done.code, done.out, done.results) == (2, "", [])
    assert done.err.startswith(f"abaco: {reason}")
    assert done.err.count("\n") == 1


def test_an_absent_model_is_named(green):
    done = run_actor("/nowhere/a.tflite", Delivery(green))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("abaco: no model at '/nowhere/a.tflite'; give ")


def test_a_wrong_list_of_hosts_is_exit_code_2(classify, green):
    done = classify(green, allow_urls="http://x/")
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("found", ["absent", "stale", "a file"])
def test_a_results_socket_is_not_required_but_heard(classify, green, tmp_path, found):
    place = tmp_path / "place"
    if found == "stale":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(str(place))
    elif found == "a file":
        place.write_bytes(b"")
    done = classify(green, f"--results={place}")
    if found == "absent":
        assert (done.code, done.err) == (0, "")
    else:
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"abaco: cannot send the result to '{place}': ")


def test_a_result_too_long_for_abaco_is_refused():
    labels = [{"label": "x" * 1000, "score": 0.5}] * 200
    with pytest.raises(PoetsError, match="has 2.* bytes, and Abaco takes 131,072; ask"):
        abaco.send_result({"labels": labels}, "/nowhere")


READ_ONLY = """
for folder in /tmp /var/tmp /dev/shm
do mount --bind -o ro $folder $folder || exit 9
done
exec setpriv --reuid=12345 --regid=12345 --clear-groups "$@"
"""


def test_it_runs_as_any_user_without_a_place_to_write(small_model, green, require):
    """The owner's user id has no name here, and no folder is writable for it."""
    prefix = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]
    able = os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("unshare")
    require("unshare", able and not subprocess.call([*prefix, "true"], timeout=300))
    started = subprocess.call([*prefix, sys.executable, "-c", ""], timeout=300)
    require("a Python that others may run", started == 0)
    with tempfile.TemporaryDirectory() as folder:  # pytest's are closed to others
        os.chmod(folder, 0o755)
        model = shutil.copy(small_model, folder)
        done = run_actor(model, Delivery(green), prefix=prefix)
    assert (done.code, done.err) == (0, "")
    assert next(iter(scores_in(done.out))) == "green"


LOADED = """
import sys
from poets.serve.abaco import __main__ as abaco
sys.argv = ["abaco", "--results=/nowhere"]
abaco.answer()
modules = [(name, getattr(each, "__file__", "") or "") for name, each in
           sys.modules.items()]
print(*(name.partition(".")[0] for name, path in modules if "site-packages" in path))
print(*(name.split(".")[1] for name, _ in modules if name.startswith("poets.")))
"""


def test_a_tflite_needs_only_the_packages_of_the_image(small_model, green):
    """TensorFlow is none of them. And it loads nothing of the training."""
    environment = {**CLEAN, "MODEL": str(small_model), "MSG": green}
    environment["POETS_ALLOW_URLS"] = LOOPBACK
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    packages, ours = map(set, map(str.split, done.stdout.splitlines()))
    distributions = importlib.metadata.packages_distributions()
    needed = {
        name.lower().replace("_", "-")
        for package in packages
        if package not in ("poets", "backports")  # urllib3 looks for one of these
        and not package.startswith("_")  # of setuptools
        for name in distributions.get(package, [package])  # Python 3.10 misses some
    }
    lines = (ROOT / "deploy" / "abaco" / "requirements.txt").read_text()
    assert "numpy" in needed
    assert needed <= set(re.findall(r"^([\w-]+)==", lines, re.MULTILINE))
    assert not ours & {"retraining", "job", "head", "workers", "backbones", "export"}


def test_signals_end_it_at_once(small_model):
    """Process 1 of a container has no default actions."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        environment = {**CLEAN, "MODEL": str(small_model)}
        environment |= {"MSG": f"http://127.0.0.1:{port}/a.jpg"}
        environment["POETS_ALLOW_URLS"] = LOOPBACK
        process = subprocess.Popen(
            [sys.executable, "-m", "poets.serve.abaco"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        silent.settimeout(300)
        connection, _ = silent.accept()
        started = time.monotonic()
        process.terminate()
        out, err = process.communicate(timeout=300)
        connection.close()
    assert (process.returncode, out, err) == (143, b"", b"")
    assert time.monotonic() - started < 60
