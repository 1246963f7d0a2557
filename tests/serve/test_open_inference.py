"""The Open Inference Protocol, as the clients of KServe and Triton speak it."""

import base64
import json
import struct

import pytest

pytest_plugins = ["tests.finished", "tests.served"]

INFER = "/v2/models/flowers/infer"
LENGTH = "Inference-Header-Content-Length"


def tensor(*data, **more):
    shape = [len(data)]
    return {"name": "image_bytes", "datatype": "BYTES", "shape": shape, **more}


@pytest.fixture
def text(photo):
    return base64.b64encode(photo).decode()


def test_health_and_metadata(server, finished):
    count = len(finished.labels)
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert server.get("/v2/models/flowers/ready").json()["ready"] is True
    for place in ("", "/versions/1"):
        assert server.get(f"/v2/models/flowers{place}").json() == {
            "name": "flowers",
            "versions": ["1"],
            "platform": "poets",
            "inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": "prediction", "datatype": "FP32", "shape": [-1, count]},
                {"name": "classes", "datatype": "BYTES", "shape": [-1, count]},
            ],
        }


def test_json_in_and_out(server, finished, text, expected):
    body = {"id": "7", "inputs": [tensor(text, text, data=[text, text])]}
    reply = server.post(INFER, json=body).json()
    assert (reply["id"], reply["model_name"], reply["model_version"]) == (
        *("7", "flowers"),
        "1",
    )
    scores, classes = reply["outputs"]
    assert scores["shape"] == classes["shape"] == [2, len(finished.labels)]
    assert scores["data"] == pytest.approx(expected * 2, abs=1e-4)
    assert classes["data"] == finished.labels * 2


def test_binary_in_and_out(server, finished, photo, expected):
    raw = struct.pack("<I", len(photo)) + photo
    given = tensor(photo, parameters={"binary_data_size": len(raw)})
    wanted = [
        {"name": "classes", "parameters": {"binary_data": True}},
        {"name": "prediction", "parameters": {"binary_data": True}},
    ]
    head = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    reply = server.post(INFER, data=head + raw, headers={LENGTH: str(len(head))})
    end = int(reply.headers[LENGTH])
    classes, scores = json.loads(reply.content[:end])["outputs"]
    tail = reply.content[end:]
    size = classes["parameters"]["binary_data_size"]
    texts, at = [], 0
    while at < size:
        (length,) = struct.unpack_from("<I", tail, at)
        texts.append(tail[at + 4 : at + 4 + length].decode())
        at += 4 + length
    assert texts == finished.labels
    assert len(tail) == size + scores["parameters"]["binary_data_size"]
    found = struct.unpack(f"<{len(expected)}f", tail[size:])
    assert list(found) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "not a JSON object"),
        ({}, "'inputs' must be a list of one tensor"),
        ({"inputs": [tensor()] * 2}, "'inputs' must be a list of one tensor"),
        ({"inputs": [{"name": "x", "datatype": "BYTES"}]}, "takes 'image_bytes'"),
        ({"inputs": [tensor(1)]}, "no 'data'"),
        ({"inputs": [tensor(1, data=["*"])]}, "not Base64"),
        ({"inputs": [tensor(1, 2, data=["AAAA"])]}, "shape [2] and 1 elements"),
        ({"inputs": [tensor(data=[])]}, "is empty"),
        ({"inputs": [tensor(1, parameters={"binary_data_size": 9})]}, "0 bytes follow"),
        (
            {"inputs": [tensor(1, data=["AAAA"])], "outputs": [{"name": "x"}]},
            "unknown output 'x'",
        ),
        ({"inputs": [tensor(1, data=["AAAA"])]}, "not a JPEG"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(server, body, text):
    reply = server.post(INFER, json=body)
    assert (reply.status_code, text in reply.json()["error"]) == (400, True), reply.text


@pytest.mark.parametrize("length", ["-1", "x", "99"])
def test_a_wrong_length_of_the_json_is_refused(server, length):
    reply = server.post(INFER, data=b"{}", headers={LENGTH: length})
    assert (reply.status_code, LENGTH in reply.json()["error"]) == (400, True)


@pytest.mark.parametrize("raw", [b"\1\0", struct.pack("<I", 5) + b"abc"])
def test_binary_data_that_ends_within_an_element_is_refused(server, raw):
    given = tensor(1, parameters={"binary_data_size": len(raw)})
    head = json.dumps({"inputs": [given]}).encode()
    reply = server.post(INFER, data=head + raw, headers={LENGTH: str(len(head))})
    assert (reply.status_code, "within an element" in reply.text) == (400, True)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nope", 404),
        ("/v2/models/nope/ready", 404),
        ("/v2/models/flowers/versions/2", 404),
        ("/v2/models/flowers/versions/x", 400),
    ],
)
def test_what_is_not_there_is_an_error_in_json(server, path, status):
    reply = server.get(path)
    assert (reply.status_code, list(reply.json())) == (status, ["error"])
