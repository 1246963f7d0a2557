"""Hostile requests: none crashes a server, shows a traceback or a secret, or is fatal.

`make test` sends some hundred, `make soak` ten thousand, of other seeds.
"""

import json
import random
import socket
import struct

import grpc
import pytest

from tests.serving import TIMEOUT_S, serving

pytest_plugins = ["tests.finished", "tests.served"]

TOKEN = "the-secret-token"
COUNTS = [
    pytest.param(600, id="some"),
    pytest.param(10_000, id="many", marks=pytest.mark.soak),
]


@pytest.fixture(scope="module")
def target(finished, tmp_path_factory):
    """A server whose token must never be seen, with small limits."""
    path = tmp_path_factory.mktemp("fuzz") / "token"
    path.write_text(TOKEN)
    words = [f"flowers={finished.folder}", "--processes=1", f"--token_file={path}"]
    with serving(*words, "--max_body_mb=1", "--max_queue=8") as server:
        yield server
        seen = "".join(server.lines)
    assert TOKEN not in seen
    assert "a fault of the server" not in seen


def ask_well(target, photo):
    """Asks for a picture as a good client does."""
    reply = target.post(
        "/v1/models/flowers:predict",
        data=photo,
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert reply.status_code == 200, reply.text


VALUES = [
    *(None, True, -1, 0, 1e308, 2**70, "", "\0", "\ud800", "x" * 5000, "{{", "'"),
    *([], {}, [[]], [[[]]], {"b64": 1}, {"b64": "AAAA"}, {"b64": ["AAAA"]}),
]
NAMES = [
    *("inputs", "instances", "signature_name", "examples", "context", "outputs"),
    *("name", "datatype", "shape", "data", "parameters", "id", "image", "b64"),
    *("image_bytes", "binary_data_size", "binary_data", "value", "url"),
]
PATHS = [
    *("/v1/models/flowers:predict", "/v1/models/flowers:classify", "/"),
    *("/v1/models/flowers", "/v2/models/flowers/infer", "/v2/models/flowers"),
    *("/v1/models/flowers/versions/1:predict", "/v1/models/flowers/metadata"),
    *("/metrics", "/about", "/v1/models/../..:predict", "/v1/models/%00:predict"),
    *(
        "/v1/models/flowers/versions/" + "9" * 5000,
        "/v2/models/x/versions/" + "9" * 5000,
    ),
    *("/v1/models/flowers/versions/" + "9" * 400, "/%ff%fe", "//", "/v2/models//infer"),
]


def value(rng, depth=0):
    kind = rng.random()
    if depth > 4 or kind < 0.5:
        return rng.choice(VALUES)
    if kind < 0.75:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NAMES): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def body(rng, photo):
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(3000))
    if kind == 1:
        return photo[: rng.randrange(len(photo))]
    if kind == 2:
        damaged = bytearray(photo)
        for _ in range(20):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return bytes(damaged)
    if kind == 3:
        opened = rng.choice([b"[", b'{"inputs":', b'{"a":['])
        return opened * rng.randrange(1, 50_000)
    if kind == 4:
        head = json.dumps(value(rng)).encode()
        return head + rng.randbytes(rng.randrange(64))
    if kind == 5:
        return b"--x\r\nContent-Disposition: form-data; name=" + rng.randbytes(40)
    text = json.dumps({rng.choice(NAMES): value(rng) for _ in range(3)})
    return text.encode()[: rng.randrange(1, len(text) + 1)] if kind == 6 else text


def raw_request(rng, photo):
    """Returns the bytes of an HTTP request, most of them well-formed."""
    content = body(rng, photo)
    content = content.encode() if isinstance(content, str) else content
    method = rng.choice(["POST", "POST", "POST", "GET", "PUT", "DELETE", "X" * 50])
    length = rng.choice([len(content)] * 8 + [0, -1, "x", 2**80])
    lines = [
        f"{method} {rng.choice(PATHS)} HTTP/1.1",
        "Host: x",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    if rng.random() < 0.9:
        lines.append(f"Authorization: Bearer {TOKEN}")
    kinds = ["application/json", "image/jpeg", "multipart/form-data; boundary=x"]
    kinds += ["multipart/form-data", "\xff", "text/plain; charset=utf-99"]
    lines.append(f"Content-Type: {rng.choice(kinds)}")
    if rng.random() < 0.2:
        lines.append(f"Inference-Header-Content-Length: {rng.choice([0, 7, -3, 'x'])}")
    if rng.random() < 0.1:
        lines.append("X: " + "y" * rng.randrange(100_000))
    head = "\r\n".join(lines) + "\r\n\r\n"
    data = head.encode("latin-1") + content
    return data[: rng.randrange(len(data))] if rng.random() < 0.05 else data


@pytest.mark.parametrize("count", COUNTS)
def test_http_survives_hostile_requests(target, photo, count):
    rng = random.Random(count)
    host, _, port = target.url.rpartition("//")[2].partition(":")
    for number in range(count):
        data = raw_request(rng, photo)
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            answer = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(1 << 16):
                    answer += part
            except OSError:
                pass  # it need not read what it refuses
        assert b"Traceback" not in answer, (number, data[:300])
        assert TOKEN.encode() not in answer
        assert not answer.startswith(b"HTTP/1.1 5"), (number, data[:300], answer)
        if number % 100 == 0:
            ask_well(target, photo)
    ask_well(target, photo)


def message(rng, photo):
    """Returns a damaged PredictRequest, or one with odd content."""
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = rng.choice(["flowers", "", "x" * 999, "\u2028"])
    names = ["", "serving_default", "serving_bytes", "x"]
    request.model_spec.signature_name = rng.choice(names)
    if rng.random() < 0.2:
        request.model_spec.version.value = rng.choice([-(2**63), 0, 1, 2**63 - 1])
    tensor = request.inputs[rng.choice(["image", "image_bytes", "x"])]
    tensor.dtype = rng.choice([0, 1, 7, 7, 7, 20])
    for _ in range(rng.randrange(3)):
        tensor.tensor_shape.dim.add(size=rng.choice([-(2**63), -1, 0, 1, 2**62]))
    for _ in range(rng.randrange(4)):
        picture = body(rng, photo)
        tensor.string_val.append(
            picture.encode() if isinstance(picture, str) else picture
        )
    request.output_filter.extend(["classes"] * rng.randrange(3))
    data = bytearray(request.SerializeToString())
    if rng.random() < 0.4 and data:
        for _ in range(rng.randrange(1, 10)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


METHODS = [
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/x/y",
]
USERS_FAULTS = {
    *("OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "UNIMPLEMENTED"),
    *("RESOURCE_EXHAUSTED", "UNAUTHENTICATED"),
}


@pytest.mark.parametrize("count", COUNTS)
def test_grpc_survives_hostile_messages(target, photo, count):
    rng = random.Random(count)
    metadata = [("authorization", f"Bearer {TOKEN}")]
    codes = set()
    with grpc.insecure_channel(target.grpc) as channel:
        calls = [channel.unary_unary(method) for method in METHODS]
        for _ in range(count):
            given = metadata if rng.random() < 0.9 else None
            data, call = message(rng, photo), rng.choice(calls)
            answer = call.future(data, TIMEOUT_S, metadata=given)
            codes.add(answer.code().name)
            assert TOKEN not in (answer.details() or "")
    assert codes <= USERS_FAULTS
    ask_well(target, photo)


def test_the_binary_extension_survives_hostile_lengths(target, photo):
    rng = random.Random(7)
    for _ in range(60):
        raw = struct.pack("<I", rng.choice([0, 1, 2**31, 2**32 - 1])) + photo[:50]
        size = rng.choice([len(raw), 0, -1, 2**70, "x", None])
        tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1]}
        tensor["parameters"] = {"binary_data_size": size}
        head = json.dumps({"inputs": [tensor]}).encode()
        reply = target.post(
            "/v2/models/flowers/infer",
            data=head + raw,
            headers={
                "Authorization": f"Bearer {TOKEN}",
                "Inference-Header-Content-Length": str(len(head)),
            },
        )
        assert reply.status_code == 400
    ask_well(target, photo)
