"""The digit network of the original OpenWhisk demo."""

import io

import numpy as np
import pytest
from PIL import Image

from poets.classifier.digits import load_digits
from poets.data.image_files import ImageError
from poets.errors import ModelError
from tests.serve.action import draw_digit, write_digits


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.onnx")


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_is_found(network, digit):
    (scores,) = load_digits(str(network)).predict([draw_digit(digit)])
    assert (scores.dtype, scores.shape) == (np.float32, (10,))
    assert scores.argmax() == digit
    assert scores.sum() == pytest.approx(1)


def test_pixels_are_those_of_the_original(network):
    """28 x 28 by Lanczos, then gray, then divided by 255; no other scaling."""
    onnxruntime = pytest.importorskip("onnxruntime")
    noise = np.random.default_rng(3).integers(0, 256, (90, 70, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    small = Image.open(file).resize((28, 28), Image.Resampling.LANCZOS).convert("L")
    batch = np.array(small).reshape(1, 1, 28, 28).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(str(network))
    ((logits,),) = session.run(None, {"input_0": batch})
    (scores,) = load_digits(str(network)).predict([file.getvalue()])
    np.testing.assert_allclose(
        np.log(scores), logits - np.log(np.exp(logits).sum()), atol=1e-4
    )


def test_a_picture_that_is_none_is_an_answer(network):
    good = draw_digit(4)
    first, second = load_digits(str(network)).predict([b"no picture", good])
    assert isinstance(first, ImageError)
    assert second.argmax() == 4


@pytest.mark.parametrize("content", [None, b"no network"])
def test_a_file_that_is_no_network_is_named(tmp_path, content):
    path = tmp_path / "digits.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="digits.onnx"):
        load_digits(str(path))
