"""The contract of exporters and readers, for each row of the table of formats."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from poets.classifier import load_classifier
from poets.errors import ModelError
from poets.export.verify import Check, Samples
from poets.formats import FORMATS
from poets.head import Head
from tests import retraining


@pytest.fixture(scope="module", params=FORMATS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def row(name):
    return FORMATS[name]


@pytest.fixture(scope="module")
def exporter(row):
    return importlib.import_module(row.exporter)


@pytest.fixture(scope="module")
def built(name, built_as):
    """Path of the export of the small model."""
    return built_as(name)


def test_it_is_written_as_its_row_says(row, built):
    assert built.is_dir() == bool(row.marker)
    assert not row.marker or (built / row.marker).is_file()


def test_it_scores_as_the_head(exporter, built, small_model, samples_of):
    found = exporter.check(str(built), small_model, samples_of(small_model.head))
    assert found.images == 6
    assert 0 <= found.max_score_difference < 1e-3


def test_that_of_another_head_is_refused(exporter, built, small_model, samples_of):
    other = Head(small_model.head.weights[:, ::-1].copy(), small_model.head.biases)
    with pytest.raises(
        ModelError,
        match=r"gives another label than the trained head on \d of 6 test images, "
        r"first 'daisy/\d.jpg'; nothing was published",
    ):
        exporter.check(str(built), small_model, samples_of(other))


def test_without_test_images_nothing_is_compared(exporter, built, small_model):
    none = Samples([], [], np.zeros((0, 3), np.float32))
    assert exporter.check(str(built), small_model, none) == Check(0, 0)


def test_the_same_model_gives_the_same_bytes(exporter, built, small_model, tmp_path):
    exporter.build(small_model, str(tmp_path / "again"))
    if built.is_dir():
        assert retraining.snapshot(tmp_path / "again") == retraining.snapshot(built)
    else:
        assert (tmp_path / "again").read_bytes() == built.read_bytes()


def test_its_reader_scores_as_the_head(built, small_model, samples_of, tmp_path):
    samples = samples_of(small_model.head)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    classifier = load_classifier(str(built), str(tmp_path / "labels.txt"))
    assert classifier.labels == ("a", "b", "c")
    found = classifier.predict(samples.contents)
    assert np.allclose(found, samples.expected, atol=1e-3)


def test_a_label_too_few_is_refused(built, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match="has 3 outputs, and its labels file 2 labels"):
        load_classifier(str(built), str(tmp_path / "labels.txt"))


@pytest.mark.parametrize(
    "name",
    [  # the comparison is that of all, and this conversion takes 5 s
        pytest.param(each, marks=pytest.mark.soak if each == "onnx" else [])
        for each in FORMATS
    ],
    indirect=True,
)
def test_a_model_without_a_decided_label_is_no_disagreement(
    exporter, small_model, samples_of, tmp_path
):
    size = small_model.backbone.bottleneck_size
    flat = Head(np.zeros((size, 3), np.float32), np.zeros(3, np.float32))
    noisy = replace(flat, biases=np.array([0, 1e-6, 0], np.float32))
    exporter.build(replace(small_model, head=noisy), str(tmp_path / "model"))
    samples = samples_of(flat)
    assert exporter.check(str(tmp_path / "model"), small_model, samples).images == 6
