"""The programs of demo/minio with a real store and the real action."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.command import ROOT, run_poets, run_python
from tests.serve.action import Platform, draw_digit

pytest_plugins = ["tests.finished", "tests.serve.action", "tests.stores"]

DEMO = ROOT / "demo" / "minio"
DAY_S = 86_400


@pytest.fixture(scope="module")
def action(run_action, digit_model):
    """An action that may fetch from this machine."""
    hosts = "*,127.0.0.1"
    with run_action(PATH_TO_ONNX_MODEL=digit_model, POETS_ALLOW_URLS=hosts) as made:
        yield made


@pytest.fixture
def six(tmp_path):
    path = tmp_path / "six.png"
    path.write_bytes(draw_digit(6))
    return path


@pytest.fixture
def run_demo(store):
    """Runs a program with the store's keys on its command line."""
    pytest.importorskip("minio")

    def run(program, *flags, **changes):
        given = {
            "endpoint": store.address,
            "access_key": store.access_key,
            "secret_key": store.secret_key,
            "bucket_name": "mnist",
            **changes,
        }
        words = [f"--{name}={value}" for name, value in given.items()]
        ended = run_python([DEMO / program, *words, *flags], {})
        assert store.secret_key not in ended.out + ended.err
        return ended

    return run


def objects_in(store, bucket="mnist"):
    """Returns the names of a bucket's objects, none if there is no bucket."""
    client = store.client()
    if bucket not in [each["Name"] for each in client.list_buckets()["Buckets"]]:
        return None
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [each["Key"] for each in found]


def test_a_picture_is_uploaded_and_its_url_is_for_anyone(run_demo, store, six):
    ended = run_demo("file_uploader.py", f"--file={six}", bucket_name="pictures")
    assert (ended.code, ended.err) == (0, "")
    found = ast.literal_eval(ended.out)
    assert list(found) == ["bucket_name", "object_name", "url"]
    assert found["bucket_name"] == "pictures"
    assert found["object_name"].endswith(".png")
    assert found["url"].startswith(f"http://{store.address}/pictures/")
    assert f"X-Amz-Expires={2 * DAY_S}" in found["url"]
    answer = requests.get(found["url"], timeout=60)
    assert answer.content == six.read_bytes()
    assert answer.headers["Content-Type"] == "image/png"
    again = ast.literal_eval(
        run_demo(
            "file_uploader.py",
            f"--file={six}",
            bucket_name="pictures",
            object_name="mine.png",
        ).out
    )
    assert sorted(objects_in(store, "pictures")) == sorted(
        [found["object_name"], "mine.png"]
    )
    assert again["object_name"] == "mine.png"


@pytest.fixture(scope="module")
def gateway(action):
    """The URL of a web action, as OpenWhisk's API gateway has it."""
    platform = Platform(action)

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, result = platform.invoke_web(json.loads(body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(result).encode())

        def log_message(self, *args):
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/api/guest/ml/mnist"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("api", ["gateway", "container"])
def test_a_picture_is_uploaded_classified_and_deleted(
    run_demo, store, six, action, gateway, api
):
    url = gateway if api == "gateway" else f"{action.url}/run"
    ended = run_demo("mnist_demo.py", f"--file={six}", mnist_api=url)
    assert (ended.code, ended.err) == (0, "")
    reply = ast.literal_eval(ended.out)
    assert (reply["code"], reply["res"], reply["label"]) == (200, 6, "6")
    assert objects_in(store) == []


def test_the_object_of_a_picture_that_is_none_is_deleted(
    run_demo, store, tmp_path, gateway
):
    (tmp_path / "six.png").write_bytes(b"no picture")
    words = f"--file={tmp_path / 'six.png'}"
    ended = run_demo("mnist_demo.py", words, mnist_api=gateway)
    reply = ast.literal_eval(ended.out)
    assert (ended.code, reply["code"], reply["res"]) == (1, 500, -1)
    assert "not a JPEG" in reply["message"]
    assert objects_in(store) == []


def test_the_object_is_deleted_if_nobody_answers(run_demo, store, six, closed_port):
    url = f"http://127.0.0.1:{closed_port}/"
    ended = run_demo("mnist_demo.py", f"--file={six}", mnist_api=url)
    assert (ended.code, ended.out) == (1, "None\n")
    assert ended.err.startswith(f"failed with {str(six)!r}: ")
    assert objects_in(store) == []


def test_the_object_is_deleted_if_the_program_is_stopped(store, six, wait_until):
    pytest.importorskip("minio")
    keys = {
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "S3_ENDPOINT": store.address,
    }
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        program = subprocess.Popen(
            [
                sys.executable,
                DEMO / "mnist_demo.py",
                f"--file={six}",
                "--mnist_api",
                url,
            ],
            env={**os.environ, **keys},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(60)
        caller, _ = silent.accept()
        assert len(objects_in(store)) == 1
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=60)
        caller.close()
    assert (program.returncode, out) == (1, "None\n")
    assert err == f"failed with {str(six)!r}: interrupted\n"
    assert objects_in(store) == []


@pytest.mark.parametrize("program", ["file_uploader.py", "mnist_demo.py"])
def test_a_file_that_is_absent_is_named_and_nothing_else_is_deleted(
    run_demo, store, six, program
):
    run_demo("file_uploader.py", f"--file={six}", object_name="kept.png")
    words = ["--file=absent.png", "--object_name=kept.png"]
    if program == "mnist_demo.py":
        words.append("--mnist_api=http://127.0.0.1:1/")
    ended = run_demo(program, *words)
    assert (ended.code, ended.out) == (1, "None\n")
    assert "'absent.png'" in ended.err
    assert objects_in(store) == ["kept.png"]
    store.client().delete_object(Bucket="mnist", Key="kept.png")


def test_wrong_keys_are_refused(run_demo, store, six, request):
    if request.node.callspec.params["store"] == "moto":
        pytest.skip("moto checks no signature")
    ended = run_demo("file_uploader.py", f"--file={six}", secret_key="wrong-secret")
    assert (ended.code, ended.out) == (1, "None\n")
    assert "SignatureDoesNotMatch" in ended.err


def test_poets_label_reads_the_store_and_presigned_urls(run_demo, store, finished):
    picture = finished.image_dir / finished.png
    place = ast.literal_eval(run_demo("file_uploader.py", f"--file={picture}").out)
    names = [
        str(picture),
        f"s3://mnist/{place['object_name']}",
        place["url"],
    ]
    words = ["label", *names, "--model", finished.graph, "--json"]
    ended = run_poets(words, store.environment)
    assert (ended.code, ended.err) == (0, "")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["image"] for row in rows] == names
    assert rows[0]["labels"] == rows[1]["labels"] == rows[2]["labels"]
    store.client().delete_object(Bucket="mnist", Key=place["object_name"])
