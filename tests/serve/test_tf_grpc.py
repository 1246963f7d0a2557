"""TensorFlow Serving's gRPC services, asked by its own Python client."""

import contextlib
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

pytest_plugins = ["tests.finished", "tests.served"]

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def channel(server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict_request(name="flowers", signature="serving_default", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


@contextlib.contextmanager
def refused(code, text):
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert (caught.value.code(), text in caught.value.details()) == (code, True), (
        caught.value.details()
    )


INVALID = grpc.StatusCode.INVALID_ARGUMENT


class TestPredict:
    def test_the_client_of_the_original_gets_its_reply(
        self, predictions, finished, photo, expected
    ):
        request = predict_request(image=photo)
        reply = predictions.Predict(request, TIMEOUT_S)
        assert reply.model_spec.name == "flowers"
        assert reply.model_spec.version.value == 1
        assert reply.model_spec.signature_name == "serving_default"
        scores, classes = reply.outputs["prediction"], reply.outputs["classes"]
        assert list(scores.float_val) == pytest.approx(expected, abs=1e-4)
        assert [label.decode() for label in classes.string_val] == finished.labels
        assert tf.make_ndarray(scores).shape == (1, len(finished.labels))
        assert tf.make_ndarray(classes).shape == (len(finished.labels),)
        assert (scores.tensor_content, classes.tensor_content) == (b"", b"")

    def test_many_pictures_at_once(self, predictions, finished, photo, expected):
        request = predict_request(signature="serving_bytes", image_bytes=[photo] * 3)
        reply = predictions.Predict(request, TIMEOUT_S)
        scores = tf.make_ndarray(reply.outputs["prediction"])
        assert scores == pytest.approx(np.array([expected] * 3), abs=1e-4)
        assert tf.make_ndarray(reply.outputs["classes"]).shape == scores.shape

    @pytest.mark.parametrize("typed", [False, True], ids=["content", "float_val"])
    def test_scaled_pixels_are_a_signature_of_its_own(self, predictions, scaled, typed):
        pixels, expected = scaled
        request = predict_request(signature="serving_images", images=pixels)
        if typed:
            tensor = request.inputs["images"]
            tensor.tensor_content = b""
            tensor.float_val.extend(pixels.ravel().tolist())
        reply = predictions.Predict(request, TIMEOUT_S)
        found = tf.make_ndarray(reply.outputs["prediction"])
        assert found == pytest.approx(np.array(expected), abs=1e-4)

    def test_the_filter_leaves_outputs_out(self, predictions, photo):
        request = predict_request(image=photo)
        request.output_filter.append("classes")
        assert list(predictions.Predict(request, TIMEOUT_S).outputs) == ["classes"]

    @pytest.mark.parametrize(
        ("aliases", "text"),
        [
            (
                ["x"],
                "output tensor alias not found in signature: x Outputs expected to be "
                "in the set {classes,prediction}.",
            ),
            (["classes"] * 2, "duplicate output tensor alias: classes"),
        ],
    )
    def test_a_wrong_filter_is_refused(self, predictions, photo, aliases, text):
        request = predict_request(image=photo)
        request.output_filter.extend(aliases)
        with refused(INVALID, text):
            predictions.Predict(request, TIMEOUT_S)

    @pytest.mark.parametrize(
        ("request_", "code", "text"),
        [
            (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
            (predict_request(name=""), INVALID, "no name"),
            (
                predict_request(name="nope"),
                grpc.StatusCode.NOT_FOUND,
                "Servable not found for request: Latest(nope)",
            ),
            (
                predict_request(signature="x"),
                grpc.StatusCode.FAILED_PRECONDITION,
                'Serving signature key "x" not found.',
            ),
            (
                predict_request(),
                INVALID,
                "input size does not match signature: 0!=1 len({}) != len({image}). "
                "Sent extra: {}. Missing but required: {image}.",
            ),
            (predict_request(image=[b""]), INVALID, "must have rank 0"),
            (predict_request(image=1.0), INVALID, "data type 1"),
            (predict_request(image=b"x"), INVALID, "not a JPEG"),
        ],
    )
    def test_a_wrong_request_is_refused(self, predictions, request_, code, text):
        with refused(code, text):
            predictions.Predict(request_, TIMEOUT_S)

    def test_a_version_that_does_not_serve_is_not_found(self, predictions, photo):
        request = predict_request(image=photo)
        request.model_spec.version.value = 3
        with refused(grpc.StatusCode.NOT_FOUND, "Specific(flowers, 3)"):
            predictions.Predict(request, TIMEOUT_S)


def test_classify_returns_the_best_label_first(predictions, finished, photo, expected):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "flowers"
    features = request.input.example_list.examples.add().features
    features.feature["image"].bytes_list.value.append(photo)
    reply = predictions.Classify(request, TIMEOUT_S)
    (row,) = reply.result.classifications
    order = sorted(zip(expected, finished.labels, strict=True), reverse=True)
    assert [each.label for each in row.classes] == [label for _, label in order]
    scores = [each.score for each in row.classes]
    assert scores == pytest.approx([score for score, _ in order], abs=1e-4)


def test_metadata_are_the_signatures_of_the_saved_model(predictions, finished):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "flowers"
    request.metadata_field.append("signature_def")
    reply = predictions.GetModelMetadata(request, TIMEOUT_S)
    found = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(found)
    image = found.signature_def["serving_default"].inputs["image"]
    assert (image.name, image.dtype) == ("DecodeJpeg/contents:0", tf.string)
    assert not image.tensor_shape.dim
    many = found.signature_def["serving_bytes"].outputs["prediction"]
    sizes = [dim.size for dim in many.tensor_shape.dim]
    assert sizes == [-1, len(finished.labels)]
    assert reply.model_spec.version.value == 1


def test_metadata_of_an_unknown_field_are_refused(predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "flowers"
    request.metadata_field.append("x")
    with refused(INVALID, "Metadata field x is not supported"):
        predictions.GetModelMetadata(request, TIMEOUT_S)


class TestStatus:
    def test_it_serves(self, channel):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "flowers"
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = service.GetModelStatus(request, TIMEOUT_S).model_version_status
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        assert (status.version, status.state) == (1, available)
        assert status.status.error_code == 0

    def test_an_unknown_model_is_not_found(self, channel):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "nope"
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        with refused(grpc.StatusCode.NOT_FOUND, "Could not find any versions"):
            service.GetModelStatus(request, TIMEOUT_S)
