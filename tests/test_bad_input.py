"""Bad input, and what it gets: a clear error or warning, and nothing lost.

Each case goes through the command line. Results of an earlier run lie where the new
ones would go, and must be what they were.
"""

import json
import os
import shutil
import zipfile

import pytest

from poets.backbones import download
from poets.cli import run
from tests.retraining import (
    FOLDERS,
    flags_for,
    snapshot,
    split_of,
    without_exports,
    write_images,
)

pytest_plugins = ["tests.finished"]
EVENTS = "summaries/train/events.out.tfevents.1.host"


@pytest.fixture
def image_dir(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture
def earlier(tmp_path):
    """Results of an earlier run and a user's own files beside them."""
    out = tmp_path / "out"
    for name in (
        *("retrained_graph.pb", "retrained_graph.tflite", "retrained_labels.txt"),
        *("metrics.json", "split.csv", "saved_model/1/saved_model.pb", "notes.txt"),
        *("summaries/train/notes.txt", EVENTS, "summaries/mine/events.out.tfevents.1"),
    ):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"earlier {name}")
    return out


@pytest.fixture
def poets(tmp_path, image_dir, earlier, capsys):
    """Runs `poets retrain`; returns exit code and message, having checked the rest."""

    def retrain(without=(), replaces=(), **flags):
        before = snapshot(earlier)
        for name in replaces:
            del before[name]
        flags = flags_for(earlier, image_dir) | flags
        words = [f"--{name}={flags[name]}" for name in flags if name not in without]
        code = run(["retrain", *words])
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        after = snapshot(earlier)
        assert {name: after[name] for name in before} == before
        assert not [name for name in after if name.endswith((".part", ".probe"))]
        return code, err

    return retrain


def empty_folder(path):
    path.mkdir()


def a_file(path):
    path.write_text("mine")


def only_empty_labels(path):
    for label in FOLDERS:
        (path / label).mkdir(parents=True)


def images_without_labels(path):
    write_images(path)
    for number, image in enumerate(sorted(path.rglob("*.jpg"))):
        image.rename(path / f"{number}.jpg")


def one_label(path):
    write_images(path, ["daisy"])


def two_spellings_of_one_label(path):
    write_images(path, ["Red Roses", "red-roses", "daisy"])


def all_broken(path):
    for image in write_images(path).rglob("*.jpg"):
        image.write_bytes(image.read_bytes()[:100])


def error_pages(path):
    for image in write_images(path).rglob("*.jpg"):
        image.write_text("<html>404 Not Found</html>")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (None, "Image directory '{0}' not found; give --image_dir a folder with one"),
        (a_file, "--image_dir='{0}' is a file; give the folder that has one folder of"),
        (
            empty_folder,
            "No valid folders of images found at '{0}': found 0 folders and no image; "
            "each label needs a folder with jpg, jpeg, png, webp, bmp, gif files",
        ),
        (
            only_empty_labels,
            "No valid folders of images found at '{0}': found 3 folders",
        ),
        (
            images_without_labels,
            "No valid folders of images found at '{0}': found 3 folders and 63 images "
            "at the top",
        ),
        (
            one_label,
            "Only one valid folder of images found at '{0}' - multiple classes are "
            "needed for classification: found 'daisy'; add a folder of images for",
        ),
        (
            two_spellings_of_one_label,
            "two folders are one label: 'Red Roses' and 'red-roses' both become 'red "
            "roses'; rename or merge the folders",
        ),
        (all_broken, "63 of 63 images in '{0}' cannot be used, first 'Red Roses/"),
        (error_pages, "63 of 63 images in '{0}' cannot be used, first 'Red Roses/"),
    ],
)
def test_images_that_cannot_train(poets, tmp_path, make, message):
    images = tmp_path / "bad"
    if make:
        make(images)
    code, err = poets(image_dir=str(images))
    assert code == 2
    assert err.startswith(f"poets retrain: {message.format(images)}")
    assert err.count("\n") == 1


def test_no_image_dir(poets):
    code, err = poets(without=["image_dir"])
    assert code == 2
    assert err == (
        "poets retrain: wrong flags: --image_dir is required: folder with one folder "
        "of images per label\n"
    )


def test_a_label_folder_that_cannot_be_read(unprivileged, capsys):
    images = write_images(unprivileged / "images")
    (images / "daisy").chmod(0)
    flags = flags_for(unprivileged / "out", images)
    assert run(["retrain", *(f"--{k}={v}" for k, v in flags.items())]) == 2
    assert capsys.readouterr().err == (
        f"poets retrain: cannot list '{images}/daisy': permission denied; every "
        "label's folder must be readable for the user that runs the job\n"
    )


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("learning_rate", "0", "must be above 0"),
        ("learning_rate", "-0.1", "must be above 0"),
        ("learning_rate", "nan", "takes a number"),
        ("learning_rate", "inf", "takes a number"),
        ("how_many_training_steps", "0", "must be at least 1"),
        ("how_many_training_steps", "1e3.5", "takes a whole number"),
        ("testing_percentage", "0", "must be at least 1"),
        ("validation_percentage", "99", "must be at most 98"),
        ("train_batch_size", "0", "must be at least 1"),
        ("architecture", "mobilenet_0.25_129", "did you mean 'mobilenet_0.25_1"),
        ("architecture", "inceptionv3", "did you mean 'inception_v3'?"),
        ("architecture", "scattering_100", "did you mean 'scattering_1"),
        ("output_graph", "", "may not be empty"),
    ],
)
def test_a_value_out_of_range(poets, flag, value, message):
    code, err = poets(**{flag: value})
    assert code == 2
    assert err.startswith(f"poets retrain: wrong flags: --{flag}={value}: ")
    assert message in err
    assert err.count("\n") == 1


def test_percentages_that_leave_nothing_to_train_on(poets):
    code, err = poets(testing_percentage=50, validation_percentage=50)
    assert code == 2
    assert "add up to 100, which leaves nothing to train on" in err


@pytest.mark.parametrize("split", ["validation", "testing"])
def test_a_split_without_any_image(poets, tmp_path, image_dir, split):
    name = {"validation": "validation", "testing": "test"}[split]
    for path in image_dir.rglob("*.jpg"):
        if split_of(str(path.relative_to(image_dir))) == name:
            path.unlink()
    code, err = poets()
    assert code == 2
    assert err.startswith(f"poets retrain: the {name} split of ")
    assert f"is empty; add images, or raise --{split}_percentage\n" in err


def test_a_label_without_training_images(poets, image_dir):
    for path in (image_dir / "daisy").iterdir():
        if split_of(f"daisy/{path.name}") == "train":
            path.unlink()
    code, err = poets()
    assert code == 2
    assert "no training images for 'daisy': the split left none; add images, or" in err


def test_a_truncated_model_archive(poets, tmp_path, model_dir):
    shutil.copytree(model_dir, tmp_path / "models")
    archive = tmp_path / "models" / "mobilenet_v1_0.25_128_frozen.tgz"
    archive.write_bytes(archive.read_bytes()[:100_000])
    code, err = poets(
        architecture="mobilenet_0.25_128", model_dir=str(tmp_path / "models")
    )
    assert code == 1
    assert f"poets retrain: the archive {archive} is damaged (100000 bytes: " in err
    assert "remove it to download it again, or replace it by a whole one" in err
    assert archive.stat().st_size == 100_000


def test_a_model_that_can_be_had_nowhere(poets, tmp_path, closed_port, monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    url = f"http://127.0.0.1:{closed_port}/models"
    code, err = poets(
        architecture="mobilenet_0.25_128", model_dir=str(tmp_path), model_url=url
    )
    assert code == 1
    assert err.splitlines()[-1].startswith("poets retrain: cannot download")
    assert f"{url}/mobilenet_v1_0.25_128_frozen.tgz" in err


@pytest.mark.parametrize(
    ("flag", "name", "code"),
    [
        ("summaries_dir", "notes.txt", 2),
        ("saved_model_dir", "notes.txt", 2),
        ("saved_model_dir", "summaries", 2),
        ("output_graph", "notes.txt/graph.pb", 1),
        ("bottleneck_dir", "notes.txt/bottlenecks", 1),
        ("checkpoint_path", "notes.txt/checkpoint", 1),
        ("bottleneck_dir", "notes.txt", 1),
        ("output_graph", "summaries", 2),
        ("output_labels", "summaries", 2),
    ],
)
def test_an_output_that_is_in_the_way(poets, earlier, flag, name, code):
    """Found before the work: not even a bottleneck is computed."""
    found, err = poets(**{flag: str(earlier / name)})
    assert found == code
    assert err.startswith("poets retrain: ")
    assert name.split("/")[0] in err
    assert not list(earlier.rglob("part-*.parquet"))


def test_summaries_beside_other_files_are_written_and_those_stay(poets, earlier):
    with without_exports():
        code, _ = poets(
            output_graph=str(earlier / "new" / "graph.pb"),
            output_labels=str(earlier / "new" / "labels.txt"),
            saved_model_dir="",
            replaces=[EVENTS],
        )
    assert code == 0
    events = list((earlier / "summaries" / "train").glob("events.out.tfevents.*"))
    assert len(events) == 1


def test_a_corrupt_part_in_the_feature_store_is_a_warning(poets, earlier, caplog):
    flags = {
        "output_graph": str(earlier / "new" / "graph.pb"),
        "output_labels": str(earlier / "new" / "labels.txt"),
        "summaries_dir": str(earlier.parent / "summaries"),
        "saved_model_dir": "",
        "checkpoint_path": "",
        "bottleneck_dir": str(earlier.parent / "store"),
    }
    with without_exports():
        assert poets(**flags)[0] == 0
    (part, *_) = (earlier.parent / "store").rglob("part-*.parquet")
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    shutil.rmtree(earlier / "new")
    with without_exports():
        assert poets(**flags)[0] == 0
    assert f"the part {part.name} of the feature store" in caplog.text
    assert part.with_name(f"{part.name}.damaged").exists()


LIMITED = """
import contextlib, io, resource, sys
from poets.cli import run
_, most = unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
with contextlib.redirect_stderr(io.StringIO()) as said:  # a file would be too short
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), most))
    code = run(sys.argv[2:])
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
sys.stderr.write(said.getvalue())
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("limit", "message"),
    [(20_000, "cannot write to the temporary folder '"), (2, "cannot write results")],
)
def test_files_that_cannot_be_written_whole(
    finished, tmp_path, earlier, nursery, limit, message
):
    """As on a full disk: a file may not grow beyond the limit."""
    shutil.copytree(finished.image_dir.parent / "models", tmp_path / "models")
    before = snapshot(earlier)
    flags = flags_for(
        earlier,
        finished.image_dir,
        bottleneck_dir=str(finished.folder / "bottlenecks"),
        summaries_dir=str(tmp_path / "summaries"),
        model_dir=str(tmp_path / "models"),
    )
    words = [str(limit), "retrain", *(f"--{k}={v}" for k, v in flags.items())]
    with open(tmp_path / "log", "wb") as log:
        task = nursery.start(LIMITED, os.environ, log, words)
    assert task.wait() == 1
    err = task.log.read_text()
    assert "Traceback" not in err
    assert message in err
    assert "file too large" in err.splitlines()[-1]
    assert snapshot(earlier) == before


def options(job_context, **service):
    return json.dumps(
        {
            "service": {
                "job_url": "http://127.0.0.1:1/poets.zip",
                "job_path": "poets-1.0.0",
                "job_name": "poets",
                "job_context": job_context,
                "shared_filesystem": "hdfs://default/run",
                **service,
            }
        }
    )


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"--image_dir": "hdfs://default/it's"}, 0),
        ({"--image_dir": "<<shared_filesystem>>/Gänseblümchen ☃"}, 0),
        ({"--image_dir": "x", "--learning_rate": "0"}, 1),
    ],
)
def test_a_job_context_with_an_apostrophe_and_unicode(tmp_path, capsys, args, code):
    path = tmp_path / "options.json"
    context = json.dumps({"args": args}, ensure_ascii=False, indent=1)
    path.write_bytes(options(context.replace("\n", "\r\n")).encode())
    found = run(["dcos", "validate", str(path)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert (found != 0) == bool(code), out + err
    if "it's" in str(args):
        assert "warning: service.job_context: has an apostrophe near" in out + err


def test_a_zip_with_a_path_out_of_the_sandbox(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("poets-1.0.0/poets.py", "")
        archive.writestr("../../escaped.py", "")
    path = tmp_path / "options.json"
    context = json.dumps({"args": {"--image_dir": "flowers"}})
    path.write_text(options(context, job_url=(tmp_path / "job.zip").as_uri()))
    shared = tmp_path / "shared"
    words = ["dcos", "run", str(path), f"--set=service.shared_filesystem={shared}"]
    code = run(words)
    out, err = capsys.readouterr()
    assert code != 0
    assert "../../escaped.py" in out + err
    assert "Traceback" not in err
    assert not list(tmp_path.parent.rglob("escaped.py"))
