"""`poets label` as typed, in all its forms."""

import csv
import gc
import io
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest

from poets.cli import run

pytest_plugins = ["tests.finished", "tests.far"]
LINE = re.compile(r"(.+) \(score = (\d\.\d{5})\)")


@pytest.fixture
def label(finished, capsys):
    """Returns a function that labels images: exit code, stdout, stderr."""

    def call(*words, model=finished.graph):
        code = run(["label", *map(str, words), "--model", str(model)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture
def flower(finished):
    return min((finished.image_dir / "tulips").glob("[0-9]*.jpg"))


def test_one_image_gives_labels_by_falling_score(label, flower):
    code, out, err = label(flower)
    assert (code, err) == (0, "")
    found = [LINE.fullmatch(line).groups() for line in out.splitlines()]
    assert {name for name, _ in found} == {"daisy", "red roses", "tulips"}
    scores = [float(score) for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "model", ["retrained_graph.tflite", "saved_model/1", "saved_model/1/", "."]
)
def test_every_form_of_the_model_says_the_same(label, flower, finished, model):
    assert (
        label(flower, model=f"{finished.folder}/{model}")[1].split("(")[0]
        == (label(flower)[1].split("(")[0])
    )


@pytest.mark.parametrize(("top", "lines"), [(1, 1), (2, 2), (3, 3), (50, 3)])
def test_top_limits_the_labels(label, flower, top, lines):
    assert len(label(flower, "--top", top)[1].splitlines()) == lines


def test_reject_answers_none_below_the_threshold_of_the_run(label, finished):
    threshold = finished.metrics["reject"]["threshold"]
    options = ("--csv", "--top", "2")
    _, out, _ = label(finished.image_dir, *options, "--reject")
    rows = list(csv.DictReader(io.StringIO(out)))
    none = [row for row in rows if row["label"] == "(none)"]
    assert none
    assert all(float(row["score"]) < threshold for row in none)
    answered = Counter(row["image"] for row in rows if row["label"] != "(none)")
    assert set(answered.values()) == {2}
    assert not answered.keys() & {row["image"] for row in none}
    assert label(finished.image_dir, *options, "--reject_below", threshold)[1] == out


def test_what_cannot_be_rejected_is_an_error(label, flower, finished, tmp_path):
    shutil.copy(finished.graph, tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    model = tmp_path / "retrained_graph.pb"
    code, out, err = label(flower, "--reject", model=model)
    assert (code, out) == (1, "")
    assert (
        "there is no metrics.json of its run with one; put it beside the model" in err
    )
    reject = {"wanted_accuracy": 0.99, "threshold": None}
    metrics = json.dumps(finished.metrics | {"reject": reject})
    (tmp_path / "metrics.json").write_text(metrics)
    _, _, err = label(flower, "--reject", model=model)
    assert "no score gives the --wanted_accuracy=0.99 on the validation" in err
    code, _, err = label(flower, "--reject_below", "1.5")
    assert (code, err) == (2, "poets label: --reject_below=1.5: must be 0 to 1\n")


def test_several_images_are_distinguished(label, flower, finished):
    other = finished.image_dir / finished.png
    _, out, _ = label(flower, other, "--top", 1)
    first, second, *rest = out.split("\n\n")
    assert rest == [""]
    assert first.splitlines()[0] == str(flower)
    assert second.splitlines()[0] == str(other)
    assert LINE.fullmatch(second.splitlines()[1])


def test_json_is_one_object_a_line(label, flower, finished):
    code, out, err = label(flower, finished.image_dir / "daisy", "--json", "--top", 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0]["image"] == str(flower)
    assert [set(best) for best in rows[0]["labels"]] == [{"label", "score"}] * 2
    (bad,) = [row for row in rows if "error" in row]
    assert bad["image"].endswith("broken.jpg")
    assert bad["error"].startswith("cannot be decoded: ")
    assert code == 1
    assert len(rows) == 1 + len(list((finished.image_dir / "daisy").iterdir()))


def test_csv_has_a_header_and_a_row_a_label(label, flower):
    _, out, _ = label(flower, "--csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["image", "label", "score"]
    assert len(rows) == 4
    assert all(row[0] == str(flower) and 0 <= float(row[2]) <= 1 for row in rows[1:])


def test_csv_quotes_what_must_be_quoted(label, flower, tmp_path):
    odd = tmp_path / 'a, "b"\n☃.jpg'
    shutil.copy(flower, odd)
    _, out, _ = label(odd, "--csv", "--top", 1)
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert rows[1][0] == str(odd)


def test_an_unreadable_image_among_good_ones_is_exit_code_1(label, flower, finished):
    bad = finished.image_dir / finished.broken[0]
    code, out, err = label(flower, bad, flower, "--top", 1)
    assert code == 1
    assert len([line for line in out.splitlines() if LINE.fullmatch(line)]) == 2
    assert err.startswith(f"poets label: {bad}: cannot be decoded: ")
    assert err.count("\n") == 1


def test_a_folder_is_labelled_whole_without_hidden_and_other_files(
    label, flower, tmp_path
):
    for name in ("b.JPG", "sub/a.jpeg", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(flower, tmp_path / name)
    _, out, _ = label(tmp_path, "--csv", "--top", 1)
    names = [row[0] for row in list(csv.reader(io.StringIO(out)))[1:]]
    assert names == [str(tmp_path / "b.JPG"), str(tmp_path / "sub" / "a.jpeg")]


@pytest.mark.parametrize("start", ["", "file://", "far://"])
def test_a_folder_is_listed_as_the_job_lists_it(label, flower, tmp_path, far, start):
    """The far storage has no links."""
    folder, linked = tmp_path / "folder", tmp_path / "linked"
    for path in (
        "a.jpg",
        "sub/b.jfif",
        "_temporary/c.jpg",
        "_d.jpg",
        "../linked/e.jpg",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(flower, folder / path)
    if start != "far://":
        (folder / "z").symlink_to(linked)
        (folder / "sub" / "all").symlink_to("..")
    code, out, err = label(f"{start}{folder}", "--csv", "--top", 1)
    names = [row[0] for row in list(csv.reader(io.StringIO(out)))[1:]]
    found = ["a.jpg", "sub/b.jfif", "z/e.jpg"][: 2 if start == "far://" else 3]
    assert (code, names) == (0, [f"{start}{folder}/{path}" for path in found])


def test_a_large_folder_goes_through_the_processes_and_agrees(label, finished):
    """63 images are many; each alone is not."""
    _, many, _ = label(finished.image_dir, "--csv", "--top", 1)
    rows = list(csv.reader(io.StringIO(many)))[1:]
    assert len(rows) == finished.metrics["images"]["used"]
    for path, name, score in rows[::13]:
        _, alone, _ = label(path, "--csv", "--top", 1)
        assert list(csv.reader(io.StringIO(alone)))[1] == [path, name, score]


def test_labels_agree_with_what_the_run_said(label, finished):
    _, out, _ = label(finished.image_dir, "--json", "--top", 1)
    found = {row["image"]: row for row in map(json.loads, out.splitlines())}
    text = (finished.folder / "split.csv").read_text()
    for row in csv.DictReader(io.StringIO(text)):
        (best,) = found[str(finished.image_dir / row["path"])]["labels"]
        assert best["label"] == row["predicted_label"]
        assert best["score"] == pytest.approx(float(row["score"]), abs=1e-3)


def test_urls_are_fetched(label, flower, web_server):
    web_server.files = {"/a.jpg": flower.read_bytes(), "/b.jpg": b"no image"}
    code, out, err = label(
        *(web_server.url(path) for path in ("/a.jpg", "/b.jpg", "/absent.jpg")),
        "--json",
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert rows[0]["labels"] == json.loads(label(flower, "--json")[1])["labels"]
    assert rows[1]["error"] == "not a JPEG, PNG, WEBP, BMP, GIF image"
    assert rows[2]["error"] == "cannot be fetched: the server answered 404 Not Found"


def test_a_server_that_breaks_off_or_is_not_there_is_reported(
    label, flower, web_server, closed_port
):
    web_server.files = {"/a.jpg": flower.read_bytes()}
    web_server.break_after = [100]
    absent = f"http://127.0.0.1:{closed_port}/a.jpg"
    code, out, err = label(web_server.url("/a.jpg"), absent)
    assert code == 1
    assert LINE.search(out) is None
    first, second = err.splitlines()
    assert "cannot be fetched: " in first
    assert second == f"poets label: {absent}: cannot be fetched: connection refused"


def test_the_graph_of_another_run_is_answered_by_itself(
    label, flower, finished, tmp_path
):
    folder = tmp_path / "results"
    ignore = shutil.ignore_patterns("bottlenecks", "summaries")
    shutil.copytree(finished.folder, folder, ignore=ignore)
    graph = folder / "retrained_graph.pb"
    shutil.copy(folder / "intermediate" / "intermediate_25.pb", graph)
    (folder / "retrained_graph.tflite").write_bytes(b"of some other run")
    code, out, _ = label(flower, model=graph)
    assert code == 0
    assert len(LINE.findall(out)) == 3
    assert not np.allclose(
        [float(score) for _, score in LINE.findall(out)],
        [float(score) for _, score in LINE.findall(label(flower)[1])],
        atol=1e-5,
    )


def test_labels_can_be_named(label, flower, finished, tmp_path):
    (tmp_path / "mine.txt").write_text("Gänseblümchen\nRosen\nTulpen\n")
    _, out, _ = label(flower, "--labels", tmp_path / "mine.txt")
    assert {name for name, _ in LINE.findall(out)} == {
        "Gänseblümchen",
        "Rosen",
        "Tulpen",
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("absent.jpg",), 2, "no file, folder or http(s) URL 'absent.jpg'"),
        (("ftp://x/a.jpg",), 2, "no storage for 'ftp://x/a.jpg': the scheme is 'ftp'"),
        (("{empty}",), 2, "no image below the folder '{empty}'"),
        (("{flower}", "--top", "0"), 2, "--top=0: must be at least 1"),
        (("{flower}", "--model", "absent.pb"), 1, "no model at 'absent.pb'; give one"),
        (("{flower}", "--model", "gopher://x/g.pb"), 2, "no storage for 'gopher://x"),
        (("{flower}", "--labels", "absent.txt"), 1, "cannot read 'absent.txt': "),
    ],
)
def test_a_mistake_is_one_clear_line(
    words, code, message, finished, flower, tmp_path, capsys
):
    places = {"empty": str(tmp_path), "flower": str(flower)}
    words = [word.format(**places) for word in words]
    assert run(["label", "--model", str(finished.graph), *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"poets label: {message.format(**places)}")
    assert err.count("\n") == 1


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files, of this process and of its children."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    "name", ["retrained_graph.pb", "retrained_graph.tflite", "saved_model/1", "."]
)
def test_a_model_on_another_storage_says_the_same(
    label, flower, finished, far, scratch, name
):
    here = label(flower, model=f"{finished.folder}/{name}")
    there = label(flower, model=f"{far.url(finished.folder)}/{name}")
    assert there == here
    assert list(scratch.iterdir()) == []


def test_images_on_another_storage_are_read_there(label, finished, far, scratch):
    """63 images go through the processes, one does not."""
    far.wait(0.002)
    url = far.url(finished.image_dir)
    code, many, err = label(url, "--csv", "--top", 1, model=far.url(finished.graph))
    assert (
        many.replace("far://", "") == label(finished.image_dir, "--csv", "--top", 1)[1]
    )
    assert (code, err.count("\n")) == (1, len(finished.broken))
    far.log()
    path = f"{url}/{finished.png}"
    assert label(path)[1] == label(finished.image_dir / finished.png)[1]
    assert len([line for line in far.log() if line.startswith("read ")]) == 1
    gc.collect()  # at its end a program does so: the copy of the model goes
    assert list(scratch.iterdir()) == []


def test_local_images_the_web_and_other_storages_may_be_mixed(
    label, flower, finished, far, web_server
):
    web_server.files = {"/a.jpg": flower.read_bytes()}
    far_flower, web_flower = far.url(flower), web_server.url("/a.jpg")
    for count in (1, 40):  # alone, and through the processes
        names = [flower, far_flower, web_flower, flower] * count
        code, out, _ = label(*names, "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [row["image"] for row in rows] == [str(name) for name in names]
        assert len({str(row["labels"]) for row in rows}) == 1


def test_a_long_file_on_another_storage_is_not_read(label, flower, far, tmp_path):
    with open(tmp_path / "long.jpg", "wb") as file:
        file.truncate(2**30)
    far.log()
    code, _, err = label(far.url(tmp_path / "long.jpg"), flower)
    assert code == 1
    assert "1073741824 bytes are more than 268435456: not read" in err
    assert not [line for line in far.log() if line.startswith("read ")]


@pytest.mark.parametrize("count", [1, 40])
def test_a_storage_that_fails_is_one_clear_line(label, flower, far, count):
    far.fail({f"read {flower}": "ConnectionError"})
    code, out, err = label(*[far.url(flower)] * count)
    assert (code, out) == (1, "")
    assert err.startswith(f"poets label: cannot read {far.url(flower)!r}: nobody answ")
    assert err.count("\n") == 1


def test_what_is_not_on_a_storage_is_reported_with_the_rest(label, far, tmp_path):
    (tmp_path / "empty").mkdir()
    absent, empty = far.url(tmp_path / "absent.jpg"), far.url(tmp_path / "empty")
    code, out, err = label(absent, empty)
    assert (code, out) == (2, "")
    assert err == (
        f"poets label: no file, folder or http(s) URL {absent!r}; "
        f"no image below the folder {empty!r}\n"
    )
