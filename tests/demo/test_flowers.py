"""The drawn flowers: the folder they make, and that a classifier has work to do."""

import hashlib
import subprocess
import sys
from pathlib import Path

import flowers
import numpy as np
import pytest
from PIL import Image

PROGRAM = Path(__file__).parents[2] / "demo" / "flowers.py"
LABELS = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]


def drawn(out: Path, *arguments: str) -> dict[str, str]:
    """Draws small pictures; returns path -> digest of every visible file."""
    assert flowers.main([str(out), "--per_label=2", "--size=48..64", *arguments]) == 0
    return {
        str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(out.rglob("[!.]*.*"))
    }


def test_runs_as_a_plain_program_and_says_what_it_drew(tmp_path):
    out = tmp_path / "new" / "flowers"
    command = [sys.executable, PROGRAM, out, "--per_label=1", "--size=64"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("drew 5 pictures of 5 kinds in ")
    assert [folder.name for folder in sorted(out.glob("[!.]*"))] == LABELS
    for label in LABELS:
        with Image.open(out / label / f"{label}_00001.jpg") as picture:
            assert (picture.format, picture.size) == ("JPEG", (64, 64))


def test_every_label_has_its_pictures_within_the_sizes(tmp_path):
    files = drawn(tmp_path / "out")
    assert list(files) == [f"{n}/{n}_0000{i}.jpg" for n in LABELS for i in (1, 2)]
    sizes = set()
    for file in files:
        with Image.open(tmp_path / "out" / file) as picture:
            sizes.add(picture.size)
    assert all(48 <= side <= 64 for size in sizes for side in size)
    assert len(sizes) > 1


def test_the_seed_decides_every_byte(tmp_path):
    first = drawn(tmp_path / "first", "--seed=7")
    assert drawn(tmp_path / "again", "--seed=7") == first
    other = drawn(tmp_path / "other", "--seed=8")
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first)


def test_more_pictures_begin_with_the_same_ones(tmp_path):
    few = drawn(tmp_path / "few", "--odd", "--per_label=1")
    more = drawn(tmp_path / "more", "--odd")
    assert few.items() < more.items()


def test_odd_pictures_are_four_readable_kinds_and_a_broken_one(tmp_path):
    out = tmp_path / "out"
    drawn(out, "--odd")
    with Image.open(out / "daisy/odd_transparent.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGBA")
    with Image.open(out / "dandelion/odd_grey.jpg") as picture:
        assert (picture.format, picture.mode) == ("JPEG", "L")
    with Image.open(out / "roses/odd_turned.jpg") as picture:
        assert picture.getexif()[0x0112] == 6
    with Image.open(out / "sunflowers/odd.webp") as picture:
        assert picture.format == "WEBP"
    with pytest.raises(OSError, match="Truncated File Read"):
        Image.open(out / "tulips/odd_broken.jpg")


def test_draws_anew_over_its_own_folder_and_leaves_nothing_beside(tmp_path):
    drawn(tmp_path / "out", "--odd")
    again = drawn(tmp_path / "out", "--per_label=1")
    assert len(again) == len(LABELS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_taken(tmp_path):
    assert len(drawn(tmp_path)) == 2 * len(LABELS)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_refuses_what_it_did_not_draw(tmp_path, capsys, kind):
    out = tmp_path / "mine"
    kept = out / "daisy" / "photo.jpg" if kind == "folder" else out
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("dear")
    with pytest.raises(SystemExit) as caught:
        flowers.main([str(out)])
    assert caught.value.code == 2
    message = f"{str(out)!r} was not drawn by this program; name another folder"
    assert message in capsys.readouterr().err
    assert kept.read_text() == "dear"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--per_label=0", "--per_label is 0; give 1 or more"),
        ("--seed=-1", "--seed is -1; give 0 or more"),
        ("--size=320..160", "no sizes in '320..160'; give pixels within 32..4096"),
        ("--size=big", "no sizes in 'big'"),
        ("--size=8", "no sizes in '8'"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_drawn(
    tmp_path, capsys, argument, message
):
    with pytest.raises(SystemExit) as caught:
        flowers.main([str(tmp_path / "out"), argument])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_failed_run_leaves_the_earlier_pictures(tmp_path, capsys, monkeypatch):
    before = drawn(tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(flowers, "draw_odd", full)
    with pytest.raises(SystemExit) as caught:
        flowers.main([str(tmp_path / "out"), "--per_label=1", "--size=48", "--odd"])
    assert caught.value.code == 1
    assert "No space left on device; try another folder" in capsys.readouterr().err
    files = {str(f.relative_to(tmp_path / "out")) for f in tmp_path.rglob("*.jpg")}
    assert files == set(before)


@pytest.mark.parametrize("label", LABELS)
def test_a_picture_is_neither_blank_nor_like_the_next(label):
    pictures = [
        flowers.draw(label, np.random.default_rng([3, seed]), (96, 96)).astype(float)
        for seed in range(4)
    ]
    assert all(picture.std() > 10 for picture in pictures)
    assert all(
        np.abs(one - other).mean() > 10
        for index, one in enumerate(pictures)
        for other in pictures[:index]
    )
