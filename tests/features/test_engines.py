"""LiteRT and TensorFlow give the same features."""

import numpy as np
import pytest

from poets.backbones import load_backbone
from poets.data.images import decode, resize
from poets.errors import ModelError
from poets.features.engines import load_engine
from poets.features.models import networks_of
from poets.flags import config_from_args

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def resized(pictures):
    return [resize(decode(data), 128) for data in pictures[:9]]


def close(found, expected):
    """Returns whether two [N, D] agree to 1e-4 of the features' own spread."""
    return np.abs(found - expected).max() <= TOLERANCE * max(1, np.std(expected))


def test_both_engines_agree_to_1e_4(network, resized):
    litert = load_engine("litert", network.paths["litert"])
    tensorflow = load_engine("tensorflow", network.paths["tensorflow"])
    found, expected = litert.run(resized), tensorflow.run(resized)
    assert found.shape == expected.shape == (9, network.size)
    assert found.dtype == expected.dtype == np.float32
    assert close(found, expected)
    assert np.abs(found[0] - found[1]).max() > 100 * TOLERANCE  # pictures differ
    assert litert.image_size_px == tensorflow.image_size_px == 128
    assert litert.output_size == tensorflow.output_size == network.size


@pytest.mark.parametrize("engine", ["litert", "tensorflow"])
def test_a_batch_gives_what_single_images_give(network, resized, engine):
    loaded = load_engine(engine, network.paths[engine])
    single = np.concatenate([loaded.run([picture]) for picture in resized])
    assert close(loaded.run(resized), single)


def test_bytes_and_floats_are_the_same_pixels(network, pictures):
    pixels = np.asarray(resize(decode(pictures[0]), 128))
    loaded = load_engine("litert", network.paths["litert"])
    whole = np.round(pixels)
    assert np.array_equal(
        loaded.run([whole]), loaded.run([whole.clip(0, 255).astype(np.uint8)])
    )


def test_a_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / "backbone.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"backbone.tflite' is not a LiteRT model: "):
        load_engine("litert", str(path))


def test_the_conversion_is_kept_and_named_by_the_backbone(network, tmp_path):
    folder = str(tmp_path / "models")
    config = config_from_args(
        {"image_dir": "x", "architecture": "scattering_96", "model_dir": folder}
    )
    backbone = load_backbone(config)
    (first,) = networks_of(config, backbone, str(tmp_path))
    assert first.engine == "litert"
    assert first.model_path == f"{folder}/scattering_96-{backbone.digest[:12]}.tflite"
    kept = (tmp_path / "models").stat().st_mtime_ns
    assert networks_of(config, backbone, str(tmp_path)) == (first,)
    assert (tmp_path / "models").stat().st_mtime_ns == kept


def test_a_model_folder_that_cannot_be_written_costs_the_conversion_alone(
    tmp_path, caplog
):
    (tmp_path / "models").write_text("a file")
    config = config_from_args(
        {
            "image_dir": "x",
            "architecture": "scattering_96",
            "model_dir": str(tmp_path / "models"),
        }
    )
    (tmp_path / "work").mkdir()
    backbone = load_backbone(config)
    (model,) = networks_of(config, backbone, str(tmp_path / "work"))
    name = f"{backbone.digest[:12]}.tflite"
    assert model.model_path == str(tmp_path / "work" / name)
    assert load_engine("litert", model.model_path).image_size_px == 96
    assert "the converted backbone is not kept" in caplog.text
