"""`poets doctor PACKS`: what is in packs, and what is wrong with them."""

import json

import pytest

from poets.cli import run
from poets.data.packing import MANIFEST, pack_images
from tests import packs
from tests.packs import JPEG

FILES = {
    f"{label}/{number}.jpg": JPEG + f"{label}{number}".encode()
    for label in ("daisy", "tulips")
    for number in range(30)
}


@pytest.fixture
def packed(tmp_path):
    """Packs that poets pack wrote."""
    for name, data in FILES.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    pack_images(str(tmp_path / "images"), str(tmp_path / "packs"), "tar")
    return tmp_path / "packs"


def doctor(capsys, *words):
    """Returns the exit code and what the last step found."""
    code = run(["doctor", "--json", *map(str, words)])
    return code, json.loads(capsys.readouterr().out)["steps"][-1]


@pytest.mark.parametrize("form", packs.FORMS)
@pytest.mark.parametrize("flags", [[], ["--all"]])
def test_whole_packs_are_well(tmp_path, capsys, form, flags):
    packs.FORMS[form](tmp_path, FILES)
    code, step = doctor(capsys, tmp_path, *flags)
    assert (code, step["found"]) == (0, "1 pack, 60 pictures, 2 labels")
    assert step["details"][:2] == ["30 daisy", "30 tulips"]


def test_a_folder_of_pictures_has_no_step_for_packs(packed, capsys):
    code, step = doctor(capsys, packed.parent / "images")
    assert (code, step["name"]) == (0, "read")


def change(pack, old, new):
    data = pack.read_bytes()
    pack.write_bytes(data.replace(old, new, 1))


def test_all_compares_digests_and_reads_every_picture(packed, capsys):
    (pack,) = packed.glob("*.tar")
    change(pack, JPEG + b"daisy7", b"X" * len(JPEG + b"daisy7"))
    assert doctor(capsys, packed)[0] == 0
    code, step = doctor(capsys, packed, "--all")
    assert (code, step["status"]) == (1, "failed")
    assert step["found"] == (
        f"{pack.name} has another SHA-256 than by {MANIFEST}; "
        "daisy/7.jpg: not an image by its first bytes"
    )
    assert "write these packs again" in step["cure"]


def test_the_first_and_last_pictures_are_always_read(packed, capsys):
    (pack,) = packed.glob("*.tar")
    change(pack, JPEG + b"daisy0", b"X" * len(JPEG + b"daisy0"))
    code, step = doctor(capsys, packed)
    assert code == 1
    assert step["found"] == "daisy/0.jpg: not an image by its first bytes"


def test_packs_of_the_manifest_that_are_gone_or_longer(packed, capsys):
    (pack,) = packed.glob("*.tar")
    length = pack.stat().st_size
    pack.write_bytes(pack.read_bytes() + bytes(512))
    assert doctor(capsys, packed)[1]["found"] == (
        f"{pack.name} has {length + 512:,} bytes, {length:,} by {MANIFEST}"
    )
    pack.rename(packed / "other.tar")
    found = doctor(capsys, packed)[1]["found"]
    assert found == f"{pack.name} is missing, {MANIFEST} has it"


def test_a_broken_pack_is_named(packed, capsys):
    (packed / "broken.zip").write_bytes(b"text")
    code, step = doctor(capsys, packed)
    assert code == 1
    assert (
        f"cannot read all packs: '{packed}/broken.zip': it is not a whole zip"
        in (step["found"])
    )
