"""The SavedModel has the published signatures, in both loaders."""

import numpy as np
import pytest

from poets.data.images import is_plain
from poets.errors import StorageError
from poets.export.saved_model import build
from poets.system.runtime import tf, v1
from tests.export.test_frozen import OPS_OF_1_5

pytest_plugins = ["tests.finished"]

# Of a loop over images, in the registry of TensorFlow 1.5.0 too.
LOOP_OPS_OF_1_5 = {
    "AddV2", "Enter", "Exit", "Less", "LogicalAnd", "LoopCond", "Merge",
    "NextIteration", "Pack", "Range", "Shape", "StridedSlice", "Switch",
    "TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayScatterV3",
    "TensorArrayV3", "TensorArrayWriteV3", "Tile",
}  # fmt: skip
NEWER_ATTRIBUTES = {"explicit_paddings", "Truncate", "half_pixel_centers", "batch_dims"}


@pytest.fixture
def contents(finished):
    """Three of the run's pictures, as TensorFlow decodes them."""
    paths = sorted((finished.image_dir / "daisy").glob("[0-9]*.jpg"))
    return [d for path in paths if is_plain(d := path.read_bytes())][:3]


@pytest.fixture(scope="module")
def loaded(finished):
    return tf.saved_model.load(str(finished.saved_model)).signatures


def test_signatures_have_the_documented_names_shapes_and_types(finished):
    with v1.Session(graph=tf.Graph()) as session:
        meta = v1.saved_model.load(session, ["serve"], str(finished.saved_model))

    def shown(tensors):
        return {
            name: (
                tf.dtypes.as_dtype(info.dtype).name,
                tf.TensorShape(info.tensor_shape).as_list(),
            )
            for name, info in tensors.items()
        }

    signatures = meta.signature_def
    assert set(signatures) == {"serving_default", "serving_bytes", "serving_images"}
    for signature in signatures.values():
        assert signature.method_name == "tensorflow/serving/predict"
    default = signatures["serving_default"]
    assert default.inputs["image"].name == "DecodeJpeg/contents:0"
    assert default.outputs["prediction"].name == "final_result:0"
    assert shown(default.inputs) == {"image": ("string", [])}
    assert shown(default.outputs)["classes"] == ("string", [3])
    many = signatures["serving_bytes"]
    assert shown(many.inputs) == {"image_bytes": ("string", [None])}
    images = signatures["serving_images"]
    assert shown(images.inputs) == {"images": ("float32", [None, 96, 96, 3])}


def test_one_image_gives_one_row_and_the_labels(loaded, contents, finished):
    found = loaded["serving_default"](image=tf.constant(contents[0]))
    assert found["prediction"].shape == (1, 3)
    assert [name.decode() for name in found["classes"].numpy()] == finished.labels


def test_a_batch_shares_its_dimension_with_all_outputs(loaded, contents, finished):
    found = loaded["serving_bytes"](image_bytes=tf.constant(contents))
    assert found["prediction"].shape == found["classes"].shape == (3, 3)
    for row, data in enumerate(contents):
        alone = loaded["serving_default"](image=tf.constant(data))
        assert np.allclose(found["prediction"][row], alone["prediction"][0], atol=1e-5)
        assert np.array_equal(found["classes"][row], alone["classes"])


def test_floats_are_scaled_as_for_the_graph(loaded, finished):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
    found = loaded["serving_images"](images=tf.constant(images))
    with tf.Graph().as_default() as graph:
        v1.import_graph_def(
            v1.GraphDef.FromString(finished.graph.read_bytes()), name=""
        )
    with v1.Session(graph=graph) as session:
        expected = session.run("final_result:0", {"input:0": images})
    assert np.allclose(found["prediction"], expected, atol=1e-5)
    assert found["classes"].shape == (2, 3)


def test_it_needs_no_operation_that_tensorflow_1_5_lacks(finished):
    from tensorflow.core.protobuf import saved_model_pb2

    data = (finished.saved_model / "saved_model.pb").read_bytes()
    (meta,) = saved_model_pb2.SavedModel.FromString(data).meta_graphs
    assert not meta.graph_def.library.function
    assert {
        node.op for node in meta.graph_def.node
    } <= OPS_OF_1_5.keys() | LOOP_OPS_OF_1_5
    for node in meta.graph_def.node:
        assert not {name for name in node.attr if name in NEWER_ATTRIBUTES}, node.name


def test_a_temporary_folder_without_room_is_reported(small_disk, small_model):
    (small_disk / "filler").write_bytes(bytes(200_000))
    with pytest.raises(
        StorageError,
        match="cannot write the SavedModel to the temporary folder '.*/1': ",
    ):
        build(small_model, str(small_disk / "1"))
