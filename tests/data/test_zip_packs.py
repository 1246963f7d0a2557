"""Zips of pictures: damaged, encrypted, and bombs."""

import io
import struct
import zipfile

import pytest

from poets.data.dataset import find_images
from poets.errors import DatasetError
from tests import packs
from tests.packs import FILES


def test_a_wrong_checksum_in_a_zip_is_the_pictures_fault(folder):
    pack = packs.stored_zip(folder, FILES)
    whole = pack.read_bytes()
    at = whole.index(FILES["daisy/2.jpg"]) + 40
    dataset = find_images(str(folder))
    pack.write_bytes(whole[:at] + b"XX" + whole[at + 2 :])
    found = dict(
        zip(
            dataset.images.paths.to_pylist(),
            dataset.source.read(dataset.images),
            strict=True,
        )
    )
    assert str(found.pop("daisy/2.jpg")).endswith("it cannot be unpacked: wrong CRC-32")
    assert found == {name: FILES[name] for name in found}


def test_an_encrypted_zip_is_refused(folder):
    pack = packs.stored_zip(folder, FILES)
    data = bytearray(pack.read_bytes())
    directory = data.index(b"PK\1\2")
    struct.pack_into("<H", data, directory + 8, 1)
    pack.write_bytes(data)
    with pytest.raises(DatasetError, match=r"'daisy/0.jpg' is encrypted: unpack it"):
        find_images(str(folder))


def test_members_of_a_zip_that_share_bytes_are_a_bomb(folder):
    pack = packs.stored_zip(folder, FILES)
    with zipfile.ZipFile(pack) as archive:
        first, *_ = infos = archive.infolist()
        for info in infos[1:]:
            info.header_offset = first.header_offset
        sink = io.BytesIO(pack.read_bytes()[: archive.start_dir])
        with zipfile.ZipFile(sink, "a") as other:
            other.filelist[:] = infos
            other._didModify = True
    pack.write_bytes(sink.getvalue())
    with pytest.raises(DatasetError):
        find_images(str(folder))
