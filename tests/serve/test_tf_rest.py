"""TensorFlow Serving's REST interface, asked of a real server."""

import base64
import json

import pytest

pytest_plugins = ["tests.finished", "tests.served"]

PREDICT = "/v1/models/flowers:predict"
CLASSIFY = "/v1/models/flowers:classify"


@pytest.fixture
def b64(photo):
    return {"b64": base64.b64encode(photo).decode()}


def close(expected):
    return pytest.approx(expected, abs=1e-4)


class TestPredict:
    @pytest.mark.parametrize("named", [True, False], ids=["by name", "alone"])
    def test_columns_answer_as_the_signature_of_the_original(
        self, server, finished, b64, expected, named
    ):
        inputs = {"image": b64} if named else b64
        reply = server.post(PREDICT, json={"inputs": inputs})
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == {
            "outputs": {"classes": finished.labels, "prediction": [close(expected)]}
        }

    @pytest.mark.parametrize("named", [True, False], ids=["by name", "alone"])
    def test_rows_work_without_a_signature(
        self, server, finished, b64, expected, named
    ):
        instances = [{"image_bytes": b64} if named else b64] * 3
        reply = server.post(PREDICT, json={"instances": instances})
        row = {"classes": finished.labels, "prediction": close(expected)}
        assert reply.json() == {"predictions": [row] * 3}

    def test_columns_of_many_pictures(self, server, finished, b64, expected):
        body = {
            "signature_name": "serving_bytes",
            "inputs": {"image_bytes": [b64, b64]},
        }
        assert server.post(PREDICT, json=body).json() == {
            "outputs": {
                "classes": [finished.labels] * 2,
                "prediction": [close(expected)] * 2,
            }
        }

    def test_scores_are_written_with_the_digits_of_a_float32(self, server, photo):
        text = server.post(PREDICT, data=photo).text
        (row,) = json.loads(text, parse_float=str)["predictions"]
        digits = [score.partition("e")[0].lstrip("0.") for score in row["prediction"]]
        assert all(len(each) <= 13 for each in digits)

    def test_curl_sends_a_picture_as_it_is(self, server, photo, expected):
        reply = server.post(
            PREDICT,
            data=photo,
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert reply.json()["predictions"][0]["prediction"] == close(expected)

    def test_a_form_holds_many_pictures(self, server, photo, expected):
        files = [("image", ("rose.jpg", photo)), ("image", ("again.jpg", photo))]
        rows = server.post(PREDICT, files=files).json()["predictions"]
        assert [row["prediction"] for row in rows] == [close(expected)] * 2

    @pytest.mark.parametrize("place", ["", "/versions/1", "/versions/0"])
    def test_a_version_can_be_named(self, server, photo, place):
        reply = server.post(f"/v1/models/flowers{place}:predict", data=photo)
        assert reply.status_code == 200

    @pytest.mark.parametrize("form", ["instances", "inputs"])
    def test_scaled_pixels_are_a_signature_of_its_own(
        self, server, finished, scaled, form
    ):
        pixels, expected = scaled
        body = {"signature_name": "serving_images", form: pixels.tolist()}
        found = server.post(PREDICT, json=body).json()
        if form == "inputs":
            assert found["outputs"]["prediction"] == [close(row) for row in expected]
            assert found["outputs"]["classes"] == [finished.labels] * 2
        else:
            rows = [row["prediction"] for row in found["predictions"]]
            assert rows == [close(row) for row in expected]

    @pytest.mark.parametrize(
        ("images", "text"),
        [
            ([[[[0, 0, 0]]]], "it must have shape"),
            ([[[0, 0, 0]]], "it must have rank 4"),
            ([[0], [0, 0]], "not an array of numbers"),
            ([["x"]], "not an array of numbers"),
            (3, "it must have rank 4"),
        ],
    )
    def test_pixels_of_another_shape_are_refused(self, server, images, text):
        body = {"signature_name": "serving_images", "inputs": {"images": images}}
        reply = server.post(PREDICT, json=body)
        assert (reply.status_code, text in reply.text) == (400, True), reply.text


class TestClassify:
    def test_examples_are_answered_with_the_best_label_first(
        self, server, finished, b64, expected
    ):
        body = {"examples": [{"image": b64}, {"x": [b64]}]}
        results = server.post(CLASSIFY, json=body).json()["results"]
        order = sorted(zip(finished.labels, expected, strict=True), key=lambda p: -p[1])
        assert results == [[[label, close(score)] for label, score in order]] * 2


class TestLook:
    def test_the_state_has_the_version_as_text(self, server):
        assert server.get("/v1/models/flowers").json() == {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }

    def test_the_metadata_are_the_signatures_of_the_saved_model(self, server, finished):
        from google.protobuf.json_format import ParseDict
        from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((finished.saved_model / "saved_model.pb").read_bytes())
        found = server.get("/v1/models/flowers/metadata").json()
        assert found["model_spec"] == {
            "name": "flowers",
            "signature_name": "",
            "version": "1",
        }
        given = found["metadata"]["signature_def"]["signature_def"]
        names = ["serving_bytes", "serving_default", "serving_images"]
        assert sorted(given) == names
        for name, definition in given.items():
            real = saved.meta_graphs[0].signature_def[name]
            mine = ParseDict(definition, meta_graph_pb2.SignatureDef())
            for side in ("inputs", "outputs"):
                ours, theirs = getattr(mine, side), getattr(real, side)
                assert sorted(ours) == sorted(theirs)
                for key in ours:
                    assert ours[key].name == theirs[key].name
                    assert ours[key].dtype == theirs[key].dtype
                    assert ours[key].tensor_shape == theirs[key].tensor_shape
            assert mine.method_name == real.method_name


GOOD = {"inputs": {"b64": "AAAA"}}
REFUSED = [
    ("/v1/models/nope:predict", GOOD, 404, "Servable not found for request: Latest("),
    (
        "/v1/models/flowers/versions/7:predict",
        GOOD,
        404,
        "Servable not found for request: Specific(flowers, 7)",
    ),
    (
        "/v1/models/flowers/labels/x:predict",
        GOOD,
        400,
        "Unrecognized servable version label: x",
    ),
    (PREDICT, b"", 400, "JSON Parse error: The document is empty"),
    (PREDICT, b"{", 400, "JSON Parse error: Invalid value. at offset: 1"),
    (PREDICT, b"[" * 100_000, 400, "JSON Parse error"),
    (PREDICT, b"\xff\xfe{}", 400, "JSON Parse error"),
    (PREDICT, b"[]", 400, "Is not object"),
    (PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    (PREDICT, {"inputs": 1, "instances": 2}, 400, "only one of"),
    (PREDICT, {"signature_name": 1, "inputs": 1}, 400, "must be a string"),
    (PREDICT, {**GOOD, "signature_name": "x"}, 400, 'key "x" not found.'),
    (PREDICT, {"inputs": {"picture": {"b64": ""}}}, 400, "Missing named input: image"),
    (PREDICT, {"inputs": {"b64": "*"}}, 400, "Unable to base64 decode"),
    (PREDICT, {"inputs": {"image": 3}}, 400, "not of expected type: string"),
    (PREDICT, {"inputs": [{"b64": ""}]}, 400, "must have rank 0"),
    (PREDICT, {"instances": []}, 400, "No values in 'instances' array"),
    (PREDICT, {"instances": 3}, 400, "'instances' to be an list/array"),
    (PREDICT, {"instances": [{"x": 1}]}, 400, "keys must be equal to: image_bytes"),
    (
        PREDICT,
        {"instances": [{"b64": ""}], "signature_name": "serving_default"},
        400,
        "inconsistent batch size",
    ),
    (PREDICT, GOOD, 400, "not a JPEG"),
    (PREDICT, {"inputs": {"b64": ""}}, 400, "empty file"),
    (CLASSIFY, {"examples": []}, 400, "key 'examples' is expected"),
    (CLASSIFY, {"examples": [3]}, 400, "Example must be JSON object"),
    (CLASSIFY, {"examples": [{}]}, 400, "0 features"),
    ("/v1/models/flowers:regress", GOOD, 400, "Expected regression signature"),
    ("/v1/models/flowers", GOOD, 400, "Malformed request: POST /v1/models/flowers"),
    ("/v1/models/flowers:predict/", GOOD, 400, "Malformed request"),
    ("/v2/models/flowers", GOOD, 405, "Malformed request: POST"),
    ("/x", GOOD, 404, "Malformed request: POST /x"),
]


@pytest.mark.parametrize(("path", "body", "status", "text"), REFUSED)
def test_a_refusal_has_the_status_and_text_of_tensorflow_serving(
    server, path, body, status, text
):
    data = body if isinstance(body, bytes) else json.dumps(body)
    reply = server.post(path, data=data)
    assert list(reply.json()) == ["error"]
    assert text in reply.json()["error"]
    assert reply.status_code == status


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v1/models/nope", "Could not find any versions of model nope"),
        ("/v1/models/flowers/versions/9", "Could not find version 9 of model flowers"),
        ("/v1/models/nope/metadata", "Servable not found for request: Latest(nope)"),
    ],
)
def test_what_is_not_there_is_not_found(server, path, text):
    reply = server.get(path)
    assert (reply.status_code, reply.json()["error"]) == (404, text)


def test_a_bad_picture_among_good_ones_is_named(server, photo):
    rows = [{"b64": base64.b64encode(data).decode()} for data in (photo, photo[:99])]
    reply = server.post(PREDICT, json={"instances": rows})
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("picture 1: ")


def test_a_form_without_a_picture_is_refused(server):
    reply = server.post(PREDICT, files={}, data=b"--x--\r\n", headers=MULTIPART)
    assert (reply.status_code, "holds no picture" in reply.text) == (400, True)


def test_a_damaged_form_is_refused(server):
    reply = server.post(PREDICT, data=b"nonsense", headers=MULTIPART)
    assert (reply.status_code, "cannot read the form" in reply.text) == (400, True)


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}


def test_urls_are_not_fetched_unless_they_are_allowed(server):
    form = {"url": (None, "http://127.0.0.1:1/rose.jpg")}
    reply = server.post(PREDICT, files=form)
    assert (reply.status_code, "--allow_urls" in reply.text) == (400, True)
