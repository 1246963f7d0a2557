"""The original's ImageNet network, as published or unpacked, and its program."""

import io
import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from poets.classifier import best_labels, imagenet, load_classifier
from poets.errors import ModelError
from tests.models import write_inception_archive
from tests.retraining import jpeg
from tests.serve.actor import CLEAN, Delivery, run_actor

FILES = set(imagenet.FILES)
NOWHERE = "http://127.0.0.1:1"  # what is there is used
PICTURE = jpeg(np.random.default_rng(0), 1)
LINE = re.compile(r"label (\d+), also called \1 \(score = 0\.\d{5}\)")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A small network of random weights, packed as the original."""
    return write_inception_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    """A folder with all files of the archive; read it only."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as tar:
        for name in (*FILES, imagenet.PANDA):
            (folder / name).write_bytes(tar.extractfile(name).read())
    return folder


@pytest.fixture
def model_dir(archive, tmp_path):
    """A folder with the archive alone."""
    shutil.copy(archive, tmp_path)
    return tmp_path


def run_program(*arguments):
    """Runs `classify_image`; returns exit code, stdout and stderr."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "poets.serve.abaco.classify_image",
            *map(str, arguments),
        ],
        cwd="/",
        env=CLEAN,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_archive_is_unpacked_as_far_as_necessary(model_dir):
    (model_dir / imagenet.NAMES).write_text("kept")
    graph = imagenet.unpack(str(model_dir), NOWHERE)
    assert graph == f"{model_dir}/{imagenet.GRAPH}"
    assert {path.name for path in model_dir.iterdir()} == {*FILES, imagenet.ARCHIVE}
    assert (model_dir / imagenet.NAMES).read_text() == "kept"


def test_the_archive_is_downloaded_once(archive, web_server, tmp_path):
    web_server.files[f"/image/imagenet/{imagenet.ARCHIVE}"] = archive.read_bytes()
    for _ in range(2):
        imagenet.unpack(str(tmp_path), web_server.url())
    assert len(web_server.requests) == 1
    assert {path.name for path in tmp_path.iterdir()} >= FILES


def test_an_archive_of_another_kind_is_refused(tmp_path):
    with tarfile.open(tmp_path / imagenet.ARCHIVE, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other"), io.BytesIO())
    with pytest.raises(ModelError, match="does not hold 'classify_image_graph_def.pb'"):
        imagenet.unpack(str(tmp_path), NOWHERE)


def test_outputs_have_the_names_of_their_synsets(unpacked):
    classifier = load_classifier(str(unpacked))
    assert len(classifier.labels) == 1008
    assert classifier.labels[0] == ""
    assert classifier.labels[169] == "label 169, also called 169"
    assert set(classifier.labels[1001:]) == {""}
    (scores,) = classifier.predict([PICTURE])
    assert scores.shape == (1008,)
    assert scores.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (imagenet.SYNSETS, b"entry {}", "no synsets in '.*pbtxt'; unpack it from"),
        (imagenet.NAMES, b"n00000001\tone\n", "gives node 1000 the synset 'n00001000'"),
        (imagenet.NAMES, b"\xff\xfe", "is not UTF-8 text: "),
        (
            imagenet.SYNSETS,
            b'target_class: 1008\n target_class_string: "n00000001"',
            "gives node 1008 the synset 'n00000001', which is not in",
        ),
    ],
)
def test_damaged_label_files_are_named(unpacked, tmp_path, name, content, reason):
    folder = shutil.copytree(unpacked, tmp_path / "damaged")
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        load_classifier(str(folder / imagenet.GRAPH))


def test_the_program_prints_what_the_original_prints(unpacked, web_server):
    web_server.files["/a.jpg"] = PICTURE
    image = web_server.url("/a.jpg?x=1&y=*")
    code, out, err = run_program(f"--model_dir={unpacked}", "--image_file", image)
    assert (code, err) == (0, "")
    classifier = load_classifier(str(unpacked))
    (scores,) = classifier.predict([PICTURE])
    best = best_labels(classifier.labels, scores, 5)
    assert out.splitlines() == [f"{name} (score = {score:.5f})" for name, score in best]
    assert all(map(LINE.fullmatch, out.splitlines()))


def test_without_an_image_the_program_classifies_the_panda(
    archive, web_server, tmp_path
):
    """And the progress of the download is not on stdout."""
    web_server.files[f"/image/imagenet/{imagenet.ARCHIVE}"] = archive.read_bytes()
    flags = (f"--model_dir={tmp_path}", f"--model_url={web_server.url()}")
    code, out, err = run_program(*flags, "--num_top_predictions", "2")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert all(map(LINE.fullmatch, out.splitlines()))
    assert err.startswith(f"classify_image: downloading {web_server.url()}/image/")


def test_mistakes_are_exit_code_2_and_failures_1(unpacked):
    ours = f"--model_dir={unpacked}"
    code, out, err = run_program(ours, "--num_top_predictions=0")
    assert (code, out) == (2, "")
    assert err == "classify_image: --num_top_predictions=0: must be at least 1\n"
    code, out, err = run_program(ours, "--image_file=/nowhere/a.jpg")
    assert (code, out) == (1, "")
    assert err.startswith("classify_image: cannot read '/nowhere/a.jpg': ")
    assert run_program(ours, "--image_fiel=x")[0] == 2


def test_the_actor_has_imagenet_if_it_has_no_other_model(model_dir):
    done = run_actor("", Delivery(None, PICTURE), [f"--model_dir={model_dir}"])
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 3
    assert all(map(LINE.fullmatch, done.out.splitlines()))
