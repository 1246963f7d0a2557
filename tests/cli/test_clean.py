"""`poets clean` moves pictures of a list, loses none, and takes its moves back."""

import csv
import json

import pyarrow.fs
import pytest

from poets.cli import run
from poets.report import cleaning
from poets.storage import open_storage
from poets.storage.publish import write_atomically

LIST = "move,path,label\nyes,a/1.jpg,a\nno,a/2.jpg,a\nyes,b/3 ü.jpg,b\n"


@pytest.fixture
def made(tmp_path):
    """A run with three pictures and a list that moves two of them."""
    return write_run(str(tmp_path / "run"), str(tmp_path / "flowers"))


@pytest.fixture
def bucket(s3):
    return f"s3://{s3.make_bucket()}"


def write_run(folder, image_dir, text=LIST):
    for path in ("a/1.jpg", "a/2.jpg", "b/3 ü.jpg"):
        write_atomically(f"{image_dir}/{path}", path.encode())
    metrics = json.dumps({"flags": {"image_dir": image_dir}})
    write_atomically(f"{folder}/metrics.json", metrics.encode())
    write_atomically(f"{folder}/list.csv", text.encode())
    return f"{folder}/list.csv"


def files_below(url):
    filesystem, path = open_storage(url)
    selector = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True)
    found = filesystem.get_file_info(selector)
    return sorted(
        info.path[len(path) :].lstrip("/")
        for info in found
        if info.type == pyarrow.fs.FileType.File
    )


ALL = ["a/1.jpg", "a/2.jpg", "b/3 ü.jpg"]


def test_a_dry_run_prints_what_would_be_moved(made, tmp_path, capsys):
    assert run(["clean", made, "--dry_run"]) == 0
    flowers = tmp_path / "flowers"
    expected = f"{flowers}/a/1.jpg\n{flowers}/b/3 ü.jpg\n"
    assert capsys.readouterr().out == expected
    assert files_below(str(flowers)) == ALL


def test_pictures_are_moved_and_moved_back(made, tmp_path, capsys):
    flowers, review = str(tmp_path / "flowers"), str(tmp_path / "review")
    assert run(["clean", made, f"--move_to={review}"]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 pictures moved" in out
    assert files_below(flowers) == ["a/2.jpg"]
    *moved, undo = files_below(review)
    assert moved == ["a/1.jpg", "b/3 ü.jpg"]
    assert f"poets clean {review}/{undo} --undo" in out
    assert run(["clean", f"{review}/{undo}", "--undo"]) == 0
    assert files_below(flowers) == ALL
    assert files_below(review) == [undo]


def test_to_another_storage_pictures_are_copied_then_deleted(tmp_path, bucket):
    made = write_run(f"{bucket}/run", f"{bucket}/flowers")
    assert run(["clean", made, f"--move_to={tmp_path / 'review'}"]) == 0
    assert files_below(f"{bucket}/flowers") == ["a/2.jpg"]
    *_, undo = files_below(str(tmp_path / "review"))
    assert (tmp_path / "review" / "a" / "1.jpg").read_bytes() == b"a/1.jpg"
    assert run(["clean", str(tmp_path / "review" / undo), "--undo"]) == 0
    assert files_below(f"{bucket}/flowers") == ALL


def test_within_an_object_store_pictures_are_moved(bucket):
    made = write_run(f"{bucket}/run", f"{bucket}/flowers")
    assert run(["clean", made, f"--move_to={bucket}/review"]) == 0
    assert files_below(f"{bucket}/flowers") == ["a/2.jpg"]


def test_a_failure_on_the_way_can_be_undone(made, tmp_path, monkeypatch, capsys):
    whole, moved = cleaning._move, []

    def fail_at_second(move):
        if moved:
            raise PermissionError(13, "Permission denied")
        moved.append(move)
        whole(move)

    monkeypatch.setattr(cleaning, "_move", fail_at_second)
    review = tmp_path / "review"
    assert run(["clean", made, f"--move_to={review}"]) == 1
    assert "permission denied; undo the others by" in capsys.readouterr().err
    monkeypatch.setattr(cleaning, "_move", whole)
    [undo] = review.glob("moved-*.csv")
    assert run(["clean", str(undo), "--undo"]) == 0
    assert "1 of 2 pictures moved back" in capsys.readouterr().out
    assert files_below(str(tmp_path / "flowers")) == ALL


def test_no_file_is_replaced(made, tmp_path, capsys):
    there = tmp_path / "review" / "b" / "3 ü.jpg"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"another")
    assert run(["clean", made, f"--move_to={tmp_path / 'review'}"]) == 1
    assert "nothing was moved" in capsys.readouterr().err
    assert files_below(str(tmp_path / "review")) == ["b/3 ü.jpg"]
    assert there.read_bytes() == b"another"
    assert files_below(str(tmp_path / "flowers")) == ALL


def test_pictures_that_are_gone_are_left_out(made, tmp_path, capsys):
    (tmp_path / "flowers" / "a" / "1.jpg").unlink()
    assert run(["clean", made, f"--move_to={tmp_path / 'review'}"]) == 0
    assert "1 of 2 pictures moved" in capsys.readouterr().out


def test_all_mistakes_of_a_list_are_reported_and_nothing_moves(tmp_path, capsys):
    text = (
        "move,path\nyes,../secret\nperhaps,a/1.jpg\nyes,/etc/passwd\nyes,a//1.jpg\nyes,"
    )
    made = write_run(str(tmp_path / "run"), str(tmp_path / "flowers"), text)
    inside = tmp_path / "flowers" / "review"
    assert run(["clean", made, f"--move_to={inside}"]) == 2
    message = capsys.readouterr().err
    assert "6 problems" in message
    for part in ("'../secret'", "'perhaps'", "'/etc/passwd'", "'a//1.jpg'", "a label"):
        assert part in message
    assert files_below(str(tmp_path / "flowers")) == ALL


def test_a_hidden_folder_of_the_pictures_may_take_them(made, tmp_path):
    assert run(["clean", made, f"--move_to={tmp_path / 'flowers' / '_review'}"]) == 0


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("picture\n1.jpg\n", [], "no column 'path'"),
        ("path\n" + "a" * 200_000, [], "not a list of pictures: it is not CSV (field"),
        (LIST, ["--undo"], "no column 'from'"),
        (LIST, ["--dry_run", "--image_dir=/nowhere/at/all"], "is not a folder"),
    ],
)
def test_a_wrong_list_or_folder_is_a_mistake(tmp_path, capsys, text, flags, message):
    made = write_run(str(tmp_path / "run"), str(tmp_path / "flowers"), text)
    assert run(["clean", made, *(flags or ["--dry_run"])]) == 2
    assert message in capsys.readouterr().err


def test_without_a_run_beside_the_list_the_pictures_have_to_be_named(tmp_path, capsys):
    made = write_run(str(tmp_path / "run"), str(tmp_path / "flowers"))
    (tmp_path / "run" / "metrics.json").unlink()
    assert run(["clean", made, "--dry_run"]) == 2
    assert "give --image_dir" in capsys.readouterr().err
    flag = f"--image_dir={tmp_path / 'flowers'}"
    assert run(["clean", made, "--dry_run", flag]) == 0


def test_the_undo_list_names_both_places(made, tmp_path):
    run(["clean", made, f"--move_to={tmp_path / 'review'}"])
    [undo] = (tmp_path / "review").glob("moved-*.csv")
    rows = csv.DictReader(undo.read_text("utf-8").splitlines())
    assert [row["from"] for row in rows] == [
        str(tmp_path / "flowers" / path) for path in ("a/1.jpg", "b/3 ü.jpg")
    ]
