"""Folders of versions: a new one takes over, a bad one is refused, none is lost."""

import os
import shutil
import threading
from types import SimpleNamespace

import pytest

from poets.classifier import load_classifier
from poets.errors import ConfigError, ModelError, StorageError
from poets.serve.server import models
from poets.serve.server.models import find_versions, name_and_url
from tests.serving import serving

pytest_plugins = ["tests.finished", "tests.served"]

STATUS = "/v1/models/flowers"


@pytest.fixture
def folder(finished, tmp_path):
    """A folder of versions with version 1."""
    add(finished, tmp_path / "flowers", 1)
    return tmp_path / "flowers"


def add(finished, folder, number, damaged=False):
    """Adds a version as a careful user does: beside its place, then renamed."""
    new = folder.parent / f"new-{number}"
    new.mkdir(parents=True)
    for name in ("retrained_graph.pb", "retrained_graph.tflite", "metrics.json"):
        shutil.copy(finished.folder / name, new)
    if damaged:
        for name in ("retrained_graph.pb", "retrained_graph.tflite"):
            (new / name).write_bytes(b"not a model")
    folder.mkdir(exist_ok=True)
    os.rename(new, folder / str(number))


def states(server):
    found = server.get(STATUS).json()["model_version_status"]
    return {each["version"]: each["state"] for each in found}


class TestTakeOver:
    def test_a_new_version_takes_over_without_a_lost_request(
        self, finished, folder, photo
    ):
        stopped, answers = threading.Event(), []

        def ask(server):
            while not stopped.is_set():
                reply = server.post(f"{STATUS}:predict", data=photo)
                answers.append(reply.status_code)

        with serving(folder, "--processes=1") as server:
            threads = [threading.Thread(target=ask, args=[server]) for _ in range(3)]
            for thread in threads:
                thread.start()
            add(finished, folder, 2)
            server.wait_for("version 2 serves")
            server.wait_for("version 1 ends")
            asked = len(answers)
            while len(answers) < asked + 5:
                pass  # the new one answers
            stopped.set()
            for thread in threads:
                thread.join()
            assert states(server) == {"2": "AVAILABLE", "1": "END"}
        assert set(answers) == {200}

    def test_a_bad_version_is_refused_and_tried_again_when_it_changes(
        self, finished, folder, photo
    ):
        with serving(folder, "--processes=1") as server:
            add(finished, folder, 2, damaged=True)
            server.wait_for("version 2 refused")
            found = server.get(STATUS).json()["model_version_status"]
            assert [each["state"] for each in found] == ["END", "AVAILABLE"]
            assert found[0]["status"]["error_code"] == "UNKNOWN"
            assert "retrained_graph" in found[0]["status"]["error_message"]
            assert server.post(f"{STATUS}:predict", data=photo).status_code == 200
            shutil.rmtree(folder / "2")
            add(finished, folder, 2)
            server.wait_for("version 2 serves")

    def test_removing_the_newest_version_goes_back_to_the_one_before(
        self, finished, folder, photo
    ):
        add(finished, folder, 2)
        with serving(folder, "--processes=1") as server:
            assert states(server) == {"2": "AVAILABLE"}
            shutil.rmtree(folder / "2")
            server.wait_for("version 1 serves")
            server.wait_for("version 2 ends")
            assert states(server) == {"2": "END", "1": "AVAILABLE"}
            assert server.post(f"{STATUS}:predict", data=photo).status_code == 200
            add(finished, folder, 2)
            server.wait_for("version 1 ends")
            assert states(server) == {"2": "AVAILABLE", "1": "END"}

    def test_the_last_version_serves_on_when_its_folder_is_removed(
        self, finished, folder, photo
    ):
        with serving(folder, "--processes=1") as server:
            shutil.rmtree(folder / "1")
            add(finished, folder, 2, damaged=True)
            server.wait_for("version 2 refused")
            assert server.post(f"{STATUS}:predict", data=photo).status_code == 200

    def test_a_label_keeps_its_version(self, finished, folder, photo):
        add(finished, folder, 2)
        label = "--version_label=stable=1"
        with serving(folder, "--processes=1", label) as server:
            assert states(server) == {"2": "AVAILABLE", "1": "AVAILABLE"}
            for place in ("", "/versions/1", "/versions/2", "/labels/stable"):
                reply = server.post(f"{STATUS}{place}:predict", data=photo)
                assert reply.status_code == 200
            add(finished, folder, 3)
            server.wait_for("version 2 ends")
            assert states(server)["1"] == "AVAILABLE"


def test_several_models_serve_side_by_side(finished, folder, photo):
    words = [folder, f"other={finished.folder}", "--processes=1"]
    with serving(*words) as server:
        for name in ("flowers", "other"):
            reply = server.post(f"/v1/models/{name}:classify", data=photo)
            assert reply.status_code == 200
        names = [each["name"] for each in server.get("/about").json()["models"]]
        assert names == ["flowers", "other"]


@pytest.mark.parametrize("name", ["retrained_graph.tflite", "retrained_graph.pb"])
def test_a_version_may_be_one_file(finished, tmp_path, name):
    (tmp_path / "flowers" / "1").mkdir(parents=True)
    for each in (name, "retrained_labels.txt"):
        shutil.copy(finished.folder / each, tmp_path / "flowers" / "1")
    assert list(find_versions(str(tmp_path / "flowers"))) == [1]
    loaded = load_classifier(str(tmp_path / "flowers" / "1"))
    assert list(loaded.labels) == finished.labels


class TestFind:
    def test_a_model_by_itself_is_version_1(self, finished):
        assert list(find_versions(str(finished.folder))) == [1]
        assert list(find_versions(str(finished.graph))) == [1]

    def test_a_saved_model_has_the_version_of_its_folder(self, finished, tmp_path):
        shutil.copytree(finished.saved_model, tmp_path / "7")
        assert list(find_versions(str(tmp_path / "7"))) == [7]
        assert list(find_versions(str(tmp_path))) == [7]

    def test_what_is_no_version_is_passed_over(self, folder):
        for name in ("0", "-1", "1.5", "x", "00"):
            (folder / name).mkdir()
            (folder / name / "file").touch()
        (folder / "3").mkdir()  # empty
        (folder / "4").touch()
        assert list(find_versions(str(folder))) == [1]

    def test_a_change_of_a_file_changes_what_is_found(self, folder):
        before = find_versions(str(folder))
        (folder / "1" / "metrics.json").write_text("{}")
        assert find_versions(str(folder)) != before

    def test_what_a_storage_answers_is_named(self, folder, monkeypatch):
        def gone(*args):
            raise OSError(5, "Input/output error")

        found = (SimpleNamespace(get_file_info=gone), str(folder))
        monkeypatch.setattr(models, "open_storage", lambda url: found)
        with pytest.raises(StorageError, match="cannot list .*flowers'"):
            find_versions(str(folder))

    def test_nothing_there_is_an_error(self, tmp_path):
        with pytest.raises(ModelError, match="no model at"):
            find_versions(str(tmp_path / "x"))


class TestName:
    @pytest.mark.parametrize(
        ("text", "name", "url"),
        [
            ("models/flowers", "flowers", "models/flowers"),
            ("models/flowers/", "flowers", "models/flowers/"),
            ("models/flowers/12", "flowers", "models/flowers/12"),
            ("flowers.tflite", "flowers", "flowers.tflite"),
            ("hdfs://default/run/saved_model/1", "saved_model", None),
            ("x=flowers.pb", "x", "flowers.pb"),
            ("x=s3://b/flowers?region=a", "x", "s3://b/flowers?region=a"),
            ("s3://b/flowers?region=a=b", "flowers", None),
            ("a/b=c", "b=c", None),
        ],
    )
    def test_it_is_given_or_comes_from_the_url(self, text, name, url):
        assert name_and_url(text, None) == (name, url or text)

    @pytest.mark.parametrize("name", ["", "a/b", "a:b", "a b", "a%"])
    def test_one_that_cannot_be_asked_for_is_refused(self, name):
        with pytest.raises(ConfigError, match="request's path"):
            name_and_url("flowers.pb", name)
