"""TFLite Metadata is written once for a model, and read from any file."""

import contextlib
import io
import struct
import zipfile

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from poets.classifier import load_classifier
from poets.classifier.tflite_metadata import (
    ENTRY_NAME,
    METADATA_MARK,
    add_metadata,
    read_labels_file,
    read_normalization,
)
from poets.errors import ModelError
from poets.features.engines import Normalization
from poets.system.runtime import tf, v1

pytest_plugins = ["tests.finished", "tests.far"]

LABELS = ("red roses", "tulpe ü", "日本")
HALF = Normalization([127.5], [127.5])


@pytest.fixture(scope="module")
def plain():
    """A `.tflite` of two operations, without metadata of this kind."""
    with tf.Graph().as_default():
        images = v1.placeholder(tf.float32, [1, 8, 8, 3], "input")
        scores = tf.nn.softmax(tf.reduce_mean(images, axis=[1, 2]))
        make = v1.lite.TFLiteConverter.from_session
        with v1.Session() as session:
            return make(session, [images], [scores]).convert()


def answer(model):
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    picture = np.random.default_rng(0).uniform(0, 1, (1, 8, 8, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("labels", [LABELS, LABELS[:1], [f"l{i}" for i in range(1001)]])
@pytest.mark.parametrize(
    "normalization", [HALF, Normalization([0, 1, 2], [58.4, 57.1, 57.4])]
)
def test_what_is_written_is_read(plain, labels, normalization):
    model = add_metadata(plain, labels, normalization)
    found = read_normalization(model, "model")
    assert found.mean == pytest.approx(normalization.mean)
    assert found.std == pytest.approx(normalization.std)
    assert read_labels_file(model, "model").decode().splitlines() == list(labels)


def test_the_model_itself_stays_and_its_bytes_are_always_the_same(plain):
    model = add_metadata(plain, LABELS, HALF)
    assert model == add_metadata(plain, LABELS, HALF)
    assert np.array_equal(answer(model), answer(plain))


def test_the_labels_are_a_stored_file_of_a_fixed_date(plain):
    """Clients in C++ read them where they lie, without unpacking."""
    with zipfile.ZipFile(io.BytesIO(add_metadata(plain, LABELS, HALF))) as archive:
        (info,) = archive.infolist()
    assert (info.filename, info.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
    assert info.date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("model", [b"", b"TFL3", b"not a model at all"])
def test_what_is_no_model_has_no_metadata(model):
    assert read_normalization(model, "model") is None
    assert read_labels_file(model, "model") is None


def test_a_model_without_metadata_says_nothing(plain):
    assert read_normalization(plain, "model") is None
    assert read_labels_file(plain, "model") is None


def test_the_exported_model_carries_the_labels_of_its_run(finished):
    model = (finished.folder / "retrained_graph.tflite").read_bytes()
    assert read_normalization(model, "model") == Normalization([0], [1])
    assert read_labels_file(model, "model").decode().splitlines() == finished.labels


def test_an_exported_model_alone_is_enough(finished, tmp_path):
    model = (finished.folder / "retrained_graph.tflite").read_bytes()
    (tmp_path / "sent.tflite").write_bytes(model)
    assert (
        list(load_classifier(str(tmp_path / "sent.tflite")).labels) == finished.labels
    )


def without_archive(model):
    return model[: model.index(b"PK\x03\x04")]


def cut_archive(model):
    return model[:-30]


def another_version(model):
    return model.replace(METADATA_MARK, b"M999")


def no_std(model):
    one = struct.pack("<If", 1, 1)
    assert model.count(one, model.index(METADATA_MARK)) == 1
    start = model.index(one, model.index(METADATA_MARK))
    return model[:start] + struct.pack("<If", 1, 0) + model[start + 8 :]


def too_many(model):
    one = struct.pack("<If", 1, 1)
    start = model.index(one, model.index(METADATA_MARK))
    return model[:start] + struct.pack("<If", 2**31, 1) + model[start + 8 :]


def wild_offsets(model):
    start = model.index(METADATA_MARK) - 4
    return model[:start] + struct.pack("<I", 2**30) + model[start + 4 :]


DAMAGE = {
    read_labels_file: (without_archive, cut_archive, another_version, wild_offsets),
    read_normalization: (another_version, no_std, too_many, wild_offsets),
}


@pytest.mark.parametrize(
    ("read", "damage"),
    [(read, damage) for read, damages in DAMAGE.items() for damage in damages],
)
def test_damage_is_named_with_what_to_give(plain, read, damage):
    model = damage(add_metadata(plain, LABELS, Normalization([0], [1])))
    assert ENTRY_NAME in model
    with pytest.raises(
        ModelError,
        match=r"cannot read the TFLite metadata of 'model': .*; fetch the file again, "
        "or give --labels, --input_mean and --input_std",
    ):
        read(model, "model")


@pytest.mark.parametrize("read", DAMAGE)
def test_no_byte_of_it_can_break_the_reader(plain, read):
    """Whatever one byte becomes: an answer or a ModelError."""
    model = add_metadata(plain, LABELS, HALF)
    start = model.index(METADATA_MARK) - 4
    for place in range(start, model.index(b"PK\x03\x04")):
        spoilt = model[:place] + bytes([model[place] ^ 0xFF]) + model[place + 1 :]
        with contextlib.suppress(ModelError):
            read(spoilt, "model")
