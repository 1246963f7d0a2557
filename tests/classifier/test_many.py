"""Many images through the processes answer as one image in this process does."""

import os

import numpy as np
import pytest

from poets.classifier import load_classifier
from poets.classifier.many import FEW, classify_files
from poets.classifier.sources import source_of
from poets.data.image_files import ImageError

pytest_plugins = ["tests.finished"]


def sources(paths):
    return [source_of(path) for path in paths]


@pytest.fixture
def classifier(finished):
    return load_classifier(str(finished.graph))


@pytest.mark.parametrize(
    "head_start_s", [0, pytest.param(0.02, marks=pytest.mark.soak), 60]
)
def test_both_ways_agree_bit_for_bit(finished, classifier, tmp_path, head_start_s):
    paths = sorted(str(path) for path in finished.image_dir.rglob("*.*"))
    paths += [str(tmp_path / "absent.jpg"), str(tmp_path), paths[0]]
    assert len(paths) > FEW
    together = classify_files(classifier, sources(paths), head_start_s)
    alone = [classify_files(classifier, sources([path]))[0] for path in paths]
    for path, one, other in zip(paths, together, alone, strict=True):
        if isinstance(other, ImageError):
            assert str(one) == str(other), path
        else:
            assert np.array_equal(one, other), path
    bad = [
        path
        for path, one in zip(paths, together, strict=True)
        if isinstance(one, ImageError)
    ]
    names = {os.path.basename(path) for path in bad}
    assert names == {"broken.jpg", "empty.png", "absent.jpg", tmp_path.name}


def test_relative_paths_are_of_this_folder(finished, classifier, monkeypatch):
    monkeypatch.chdir(finished.image_dir)
    paths = [
        f"daisy/{path.name}"
        for path in sorted((finished.image_dir / "daisy").iterdir())
    ]
    many = classify_files(classifier, sources(paths * 2), head_start_s=0)
    assert len(many) > FEW
    few = classify_files(classifier, sources(paths[:3]))
    for one, other in zip(many[:3], few, strict=True):
        assert np.array_equal(one, other)


def test_nothing_is_left_behind(finished, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths = [str(path) for path in sorted(finished.image_dir.rglob("*.jpg"))]
    assert len(classify_files(classifier, sources(paths), head_start_s=0)) == len(paths)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("poets-label-")]


def test_no_images_no_answers(classifier):
    assert classify_files(classifier, []) == []
