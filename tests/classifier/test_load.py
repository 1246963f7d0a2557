"""A model is found with its labels, and answered by the fastest that is its own."""

import json
import shutil

import numpy as np
import pytest

from poets.classifier import EngineClassifier, load_classifier
from poets.classifier.with_tensorflow import FrozenGraphClassifier, SavedModelClassifier
from poets.data.image_files import ImageError
from poets.errors import ModelError
from poets.system.runtime import tf, v1
from tests import retraining

pytest_plugins = ["tests.finished", "tests.far"]


@pytest.fixture
def results(finished, tmp_path):
    """A copy of the run's files that a test may change."""
    folder = tmp_path / "results"
    ignore = shutil.ignore_patterns("bottlenecks", "summaries")
    shutil.copytree(finished.folder, folder, ignore=ignore)
    return folder


@pytest.fixture
def contents(finished):
    """A JPEG, one turned by EXIF, a PNG, and two that are not images."""
    names = (finished.turned, finished.png, *finished.broken)
    first = next((finished.image_dir / "Red Roses").iterdir())
    return [first.read_bytes(), *((finished.image_dir / n).read_bytes() for n in names)]


MODELS = {
    "retrained_graph.pb": EngineClassifier,
    "retrained_graph.tflite": EngineClassifier,
    "saved_model/1": SavedModelClassifier,
    ".": EngineClassifier,
    "intermediate/intermediate_25.pb": FrozenGraphClassifier,
}


def test_many_pictures_at_once_get_what_each_gets_alone(results, contents):
    """Those that are no images are between the others; batches end in their midst."""
    classifier = load_classifier(str(results / "retrained_graph.tflite"))
    assert classifier.network.batch_size > 1
    given = [*contents[:2], contents[-1], *contents, *contents[:3]]
    together = classifier.predict(given)
    for data, found in zip(given, together, strict=True):
        (alone,) = classifier.predict([data])
        if isinstance(alone, ImageError):
            assert str(found) == str(alone)
        else:
            np.testing.assert_allclose(found, alone, atol=1e-6)
    assert classifier.predict([]) == []


@pytest.mark.parametrize(("name", "kind"), MODELS.items())
def test_every_form_of_a_run_is_loaded(results, name, kind):
    shutil.copy(results / "retrained_labels.txt", results / "intermediate")
    classifier = load_classifier(str(results / name))
    assert type(classifier) is kind
    assert classifier.labels == ("daisy", "red roses", "tulips")


def test_all_forms_of_a_run_answer_alike(results, contents):
    """Also for pictures that TensorFlow's decoder would see otherwise."""
    found = {}
    (results / "metrics.json").rename(results / "kept")
    for name in ("retrained_graph.pb", "retrained_graph.tflite", "saved_model/1"):
        found[name] = load_classifier(str(results / name)).predict(contents)
    first, *others = found.values()
    for other in others:
        for one, two in zip(first[:3], other[:3], strict=True):
            assert one.shape == (3,)
            assert np.allclose(one, two, atol=1e-3)
        for error in other[3:]:
            assert isinstance(error, ImageError)
    assert [str(error) for error in first[3:]] == [
        str(error) for error in others[0][3:]
    ]


@pytest.mark.parametrize(
    "damage", ["another .tflite", "another graph", "no metrics", "broken metrics"]
)
def test_a_tflite_that_is_not_of_the_graphs_run_is_not_used(results, damage, caplog):
    graph = results / "retrained_graph.pb"
    if damage == "another .tflite":
        with open(results / "retrained_graph.tflite", "ab") as file:
            file.write(b"\0")
    elif damage == "another graph":
        shutil.copy(results / "intermediate" / "intermediate_25.pb", graph)
    elif damage == "no metrics":
        (results / "metrics.json").unlink()
    else:
        (results / "metrics.json").write_text('{"exports": []}')
    assert type(load_classifier(str(graph))) is FrozenGraphClassifier
    warned = "retrained_graph.tflite is not from the same run as" in caplog.text
    assert warned is damage.startswith("another")


@pytest.mark.parametrize("model", ["retrained_graph.pb", "retrained_graph.tflite"])
@pytest.mark.parametrize("spoilt", ["other", "absent", "binary"])
def test_labels_are_those_of_the_run_that_made_the_model(results, model, spoilt):
    """Whatever the files are called that lie there."""
    labels = results / "retrained_labels.txt"
    if spoilt == "other":
        labels.write_text("one\ntwo\nthree\n")
    elif spoilt == "absent":
        labels.unlink()
    else:
        labels.write_bytes(b"\xff\xd8\xff")
    assert load_classifier(str(results / model)).labels[1] == "red roses"


def test_labels_may_lie_anywhere(results, tmp_path):
    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    for name in ("retrained_graph.pb", "retrained_graph.tflite", "saved_model/1"):
        found = load_classifier(str(results / name), str(tmp_path / "mine.txt"))
        assert found.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    "model", ["retrained_graph.pb", "retrained_graph.tflite", "saved_model/1"]
)
def test_labels_of_another_run_are_refused(results, tmp_path, model):
    (tmp_path / "mine.txt").write_text("one\ntwo\n")
    with pytest.raises(
        ModelError,
        match="has 3 outputs, and its labels file 2 labels; give the labels file",
    ):
        load_classifier(str(results / model), str(tmp_path / "mine.txt"))


def test_the_labels_file_of_a_model_without_its_run_must_fit(results):
    (results / "metrics.json").unlink()
    (results / "retrained_labels.txt").write_text("one\ntwo\n")
    with pytest.raises(ModelError, match="has 3 outputs, and its labels file 2 labels"):
        load_classifier(str(results / "retrained_graph.pb"))
    assert load_classifier(str(results / "retrained_graph.tflite")).labels[0] == "daisy"


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        ModelError, match="no model at '.*/absent.pb'; give one of: frozen"
    ):
        load_classifier(str(tmp_path / "absent.pb"))


def test_a_folder_of_several_graphs_is_ambiguous(results):
    shutil.copy(results / "retrained_graph.pb", results / "other.pb")
    with pytest.raises(
        ModelError, match="is a folder with 2 models and no saved_model"
    ):
        load_classifier(str(results))


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="is a folder with 0 models"):
        load_classifier(str(tmp_path))


def test_bytes_that_are_no_graph_are_refused(results):
    (results / "retrained_graph.pb").write_bytes(b"\xff not a graph" * 10)
    with pytest.raises(ModelError, match="are not a TensorFlow GraphDef"):
        load_classifier(str(results / "retrained_graph.pb"))


def test_a_broken_saved_model_is_refused(results):
    path = results / "saved_model" / "1" / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot load '.*/saved_model/1': "):
        load_classifier(str(path.parent))


def graph_of(*ends):
    """Returns a GraphDef from a placeholder to a softmax for each end."""
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [None, 8, 8, 3], name="Placeholder")
        means = tf.reduce_mean(images, axis=[1, 2])
        for name in ends:
            tf.nn.softmax(means, name=name)
    return graph.as_graph_def().SerializeToString()


def test_a_graph_of_the_hub_generation_takes_pixels_of_0_to_1(results, contents):
    (results / "hub.pb").write_bytes(graph_of("final_result"))
    classifier = load_classifier(str(results / "hub.pb"))
    red = retraining.jpeg(np.random.default_rng(0), 0)
    found = classifier.predict([red, contents[-1]])
    assert found[0].sum() == pytest.approx(1, abs=1e-5)
    assert found[0].argmax() == 0
    assert found[0].max() < 0.5  # of 0 to 255 it would be nearly 1
    assert str(found[1]) == "empty file"


@pytest.mark.parametrize(("ends", "count"), [((), 0), (("a", "b"), 2)])
def test_a_graph_without_one_softmax_is_refused(results, ends, count):
    (results / "other.pb").write_bytes(graph_of(*ends))
    with pytest.raises(ModelError, match=f"has {count} softmax outputs; a retrained"):
        load_classifier(str(results / "other.pb"))


def test_a_saved_model_without_the_signature_is_refused(tmp_path):
    module = tf.Module()
    module.double = tf.function(
        lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "1"))
    with pytest.raises(
        ModelError, match="has no signature 'serving_default' from image"
    ):
        load_classifier(str(tmp_path / "1"))


def test_the_records_of_metrics_are_those_of_the_files(results):
    """The fallback depends on it: names as they are on disk."""
    exports = json.loads((results / "metrics.json").read_text())["exports"]
    assert {"retrained_graph.pb", "retrained_graph.tflite"} <= set(exports)


def test_what_is_copied_here_goes_with_the_classifier(
    results, far, tmp_path, monkeypatch
):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    classifier = load_classifier(far.url(results / "retrained_graph.pb"))
    assert type(classifier) is EngineClassifier
    assert len(list((tmp_path / "scratch").rglob("*.tflite"))) == 1
    del classifier
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_model_that_does_not_load_is_named_and_leaves_nothing(
    results, far, tmp_path, monkeypatch
):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (results / "saved_model" / "1" / "saved_model.pb").write_bytes(b"no model")
    url = far.url(results / "saved_model" / "1")
    with pytest.raises(ModelError, match=f"cannot load '{url}': "):
        load_classifier(url)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_damaged_tflite_is_named_by_its_url(results, far):
    (results / "retrained_graph.tflite").write_bytes(b"no model")
    url = far.url(results / "retrained_graph.tflite")
    with pytest.raises(ModelError, match=f"'{url}' is not a LiteRT model: "):
        load_classifier(url)


def test_labels_of_another_storage_fit(results, far, tmp_path):
    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    graph = far.url(results / "retrained_graph.pb")
    assert load_classifier(graph, str(tmp_path / "mine.txt")).labels == ("a", "b", "c")
    found = load_classifier(str(results), far.url(tmp_path / "mine.txt"))
    assert found.labels == ("a", "b", "c")
