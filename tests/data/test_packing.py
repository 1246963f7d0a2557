"""`poets pack` and `poets unpack`: the same pictures, whole files, and going on."""

import hashlib
import json
import os
import shutil

import google_crc32c
import numpy as np
import pytest

from poets.cli import run as run_verb
from poets.data import packing
from poets.data.dataset import find_images
from poets.data.packing import MANIFEST, pack_images, unpack_images
from poets.data.packs import parquet
from poets.errors import ConfigError, StorageError
from tests import packs
from tests.retraining import snapshot

pytest_plugins = ["tests.far"]

MB = 2**20
JPEG = b"\xff\xd8\xff\xe0"


@pytest.fixture
def image_dir(tmp_path):
    """Three labels, 2.4 MB, with times to the nanosecond."""
    folder = tmp_path / "flowers"
    random = np.random.default_rng(0)
    for label in ("Red Roses", "daisy", "tulips"):
        for number in range(8):
            path = folder / label / ("deep" * (number % 2)) / f"ü {number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(JPEG + random.bytes(100_000))
            os.utime(path, ns=(1, 1_700_000_000_123_456_789 + number))
    return folder


def listed(url):
    """Returns what identifies the pictures at a URL, and their contents."""
    dataset = find_images(str(url))
    images = [tuple(image)[:4] for image in dataset.images]
    return images, list(dataset.source.read(dataset.images))


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_what_is_packed_and_unpacked_is_the_same(image_dir, tmp_path, form):
    target, back = tmp_path / "packs", tmp_path / "back"
    packed = pack_images(str(image_dir), str(target), form, file_mb=1)
    assert (packed.files, packed.images, packed.skipped) == (3, 24, [])
    assert listed(target) == listed(image_dir)
    unpacked = unpack_images(str(target), str(back))
    assert (unpacked.images, unpacked.kept, unpacked.skipped) == (24, 0, [])
    assert snapshot(back) == snapshot(image_dir)
    assert listed(back) == listed(image_dir)


@pytest.mark.parametrize("form", packs.FORMS)
def test_every_form_can_be_packed_again(image_dir, tmp_path, form):
    (tmp_path / "given").mkdir()
    files = {n: d for n, d in snapshot(image_dir).items() if "deep" not in n}
    packs.FORMS[form](tmp_path / "given", files)
    pack_images(str(tmp_path / "given"), str(tmp_path / "packs"))
    dataset = find_images(str(tmp_path / "packs"))
    assert dataset.images.paths.to_pylist() == sorted(files)
    assert list(dataset.read(sorted(files))) == [files[name] for name in sorted(files)]


def test_packs_may_be_far_away(image_dir, tmp_path, far):
    pack_images(far.url(image_dir), far.url(tmp_path / "packs"), file_mb=1)
    assert listed(tmp_path / "packs")[1] == listed(image_dir)[1]
    unpack_images(far.url(tmp_path / "packs"), far.url(tmp_path / "back"))
    assert snapshot(tmp_path / "back") == snapshot(image_dir)


def test_the_manifest_has_the_digest_of_each_pack(image_dir, tmp_path):
    pack_images(str(image_dir), str(tmp_path / "packs"), file_mb=1)
    manifest = json.loads((tmp_path / "packs" / MANIFEST).read_text())
    files = snapshot(tmp_path / "packs")
    assert {*manifest["packs"], MANIFEST} == {*files}
    for name, about in manifest["packs"].items():
        assert about["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert about["bytes"] == len(files[name])


def test_equal_pictures_give_equal_packs(image_dir, tmp_path):
    for name in ("one", "other"):
        pack_images(str(image_dir), str(tmp_path / name), file_mb=1)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")


def test_a_split_has_packs_of_its_own(image_dir, tmp_path):
    for split in ("train", "test"):
        for label in ("daisy", "tulips"):
            shutil.copytree(image_dir / label, tmp_path / "own" / split / label)
    pack_images(str(tmp_path / "own"), str(tmp_path / "packs"))
    names = sorted(snapshot(tmp_path / "packs"))
    assert [name.partition("-")[0] for name in names] == [MANIFEST, "test", "train"]
    assert listed(tmp_path / "packs") == listed(tmp_path / "own")
    assert find_images(str(tmp_path / "packs")).splits == {
        "train": "train",
        "test": "test",
    }


def test_an_interrupted_run_goes_on(image_dir, tmp_path, far):
    target = tmp_path / "packs"
    far.fail({"images-00001": "ConnectionError"})
    with pytest.raises(StorageError, match="cannot write '.*images-00001.*nobody"):
        pack_images(str(image_dir), far.url(target), file_mb=1)
    done = set(snapshot(target)) - {MANIFEST}
    far.fail({})
    far.log()
    packed = pack_images(str(image_dir), far.url(target), file_mb=1)
    assert packed.kept == len(done) >= 1
    assert not [n for n in done if any(f"write {n}" in line for line in far.log())]
    pack_images(str(image_dir), str(tmp_path / "whole"), file_mb=1)
    assert snapshot(target) == snapshot(tmp_path / "whole")


def test_other_pictures_give_other_packs_and_no_old_ones(image_dir, tmp_path):
    target = tmp_path / "packs"
    pack_images(str(image_dir), str(target), file_mb=1)
    (image_dir / "tulips" / "new.jpg").write_bytes(JPEG + bytes(900_000))
    assert pack_images(str(image_dir), str(target), file_mb=1).kept == 0
    assert listed(target) == listed(image_dir)
    packed = pack_images(str(image_dir), str(target), file_mb=1)
    assert packed.kept == packed.files


def test_a_folder_with_other_files_is_refused(image_dir, tmp_path):
    target = tmp_path / "other"
    target.mkdir()
    (target / "thesis.tex").write_text("")
    with pytest.raises(
        ConfigError, match="it holds 'thesis.tex'; name an empty folder"
    ):
        pack_images(str(image_dir), str(target))
    with pytest.raises(ConfigError, match="cannot write packs to"):
        pack_images(str(image_dir), str(image_dir))
    assert sorted(snapshot(target)) == ["thesis.tex"]


def test_a_manifest_of_something_else_is_refused(image_dir, tmp_path):
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / MANIFEST).write_text('{"packs": {"a": 1}}')
    with pytest.raises(StorageError, match="is not a manifest of packs"):
        pack_images(str(image_dir), str(tmp_path / "packs"))


def test_a_picture_that_cannot_be_read_is_left_out_and_named(image_dir, tmp_path, far):
    far.fail({"daisy/ü 2.jpg": "PermissionError"})
    packed = pack_images(far.url(image_dir), str(tmp_path / "packs"))
    assert packed.skipped == [("daisy/ü 2.jpg", "permission denied")]
    assert packed.images == 23
    again = pack_images(far.url(image_dir), str(tmp_path / "packs"))
    assert again.skipped == [("daisy/ü 2.jpg", "permission denied")]


def test_a_storage_that_fails_ends_the_packing(image_dir, tmp_path, far):
    far.fail({"daisy/ü 2.jpg": "TimeoutError"})
    with pytest.raises(StorageError, match=r"cannot read .*ü 2.jpg': no answer"):
        pack_images(far.url(image_dir), str(tmp_path / "packs"))


def test_unpacking_goes_on_where_it_was(image_dir, tmp_path):
    pack_images(str(image_dir), str(tmp_path / "packs"))
    unpack_images(str(tmp_path / "packs"), str(tmp_path / "back"))
    (tmp_path / "back" / "daisy" / "ü 2.jpg").unlink()
    (tmp_path / "back" / "daisy" / "ü 4.jpg").write_bytes(b"torn")
    assert unpack_images(str(tmp_path / "packs"), str(tmp_path / "back")).kept == 22
    assert snapshot(tmp_path / "back") == snapshot(image_dir)


def test_row_groups_are_small(image_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BLOCK_BYTES", 250_000)
    pack_images(str(image_dir), str(tmp_path / "packs"))
    blocks = [
        image.place.block for image in find_images(str(tmp_path / "packs")).images
    ]
    assert [blocks.count(block) for block in sorted(set(blocks))] == [3] * 8


def test_the_verbs(image_dir, tmp_path, capsys):
    target, back = str(tmp_path / "packs"), str(tmp_path / "back")
    assert run_verb(["pack", str(image_dir), target, "--file_mb=1"]) == 0
    assert capsys.readouterr().out == (
        f"{target}: 3 packs, 24 pictures, 2.3 MB; 3 packs written now, 0 pictures "
        "left out\n"
    )
    assert run_verb(["unpack", target, back]) == 0
    assert capsys.readouterr().out == f"{back}: 24 pictures; 0 were there, 0 left out\n"
    assert run_verb(["pack", str(image_dir), target, "--file_mb=0"]) == 2
    assert run_verb(["pack", str(tmp_path / "nothing"), target]) == 2


def test_packs_loaded_by_datasets_have_labels(image_dir, tmp_path):
    pack_images(str(image_dir), str(tmp_path / "packs"))
    table = parquet.pq.read_table(tmp_path / "packs" / "images-00000-of-00001.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    names = features["label"]["names"]
    for row in table.to_pylist():
        assert row["image"]["path"].startswith(names[row["label"]] + "/")
        data = row["image"]["bytes"]
        assert row["sha256"] == hashlib.sha256(data).digest()
        assert row["crc32c"] == google_crc32c.value(data)


def test_files_are_made_a_few_at_once(monkeypatch):
    with pytest.raises(ValueError, match="3"):
        packing._all(lambda n: (_ for _ in ()).throw(ValueError(n)), [3], 2)
