"""Writes labelled folders as packs of every form, as their own programs do."""

import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from poets.data.packs import parquet, tar

MTIME_NS = 1_700_000_000_123_456_789

Files = dict[str, bytes]  # "daisy/1.jpg" -> content

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
FILES = {
    f"{label}/{number}.jpg": JPEG + f"{label}{number}".encode() * (number + 1)
    for label in ("daisy", "tulips", "Red Roses")
    for number in range(11)
}


def ours_parquet(folder: Path, files: Files) -> Path:
    """As `poets pack` writes them."""
    path = folder / "images-00000.parquet"
    with path.open("wb") as file:
        parquet.write(file, _pictures(files), sorted({_label(n) for n in files}))
    return path


def ours_tar(folder: Path, files: Files) -> Path:
    """As `poets pack --format=tar` writes them."""
    path = folder / "images-00000.tar"
    with path.open("wb") as file:
        tar.write(file, _pictures(files), [])
    return path


def datasets_parquet(folder: Path, files: Files, split: str = "train") -> Path:
    """As Hugging Face's `datasets` writes them: names alone, labels as numbers."""
    labels = sorted({_label(name) for name in files})
    rows = [
        {
            "image": {"bytes": data, "path": name.partition("/")[2]},
            "label": labels.index(_label(name)),
        }
        for name, data in files.items()
    ]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": labels, "_type": "ClassLabel"},
    }
    table = pa.Table.from_pylist(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path = folder / f"{split}-00000-of-00001.parquet"
    pq.write_table(table, path, row_group_size=7, compression="snappy")
    return path


def folder_tar(folder: Path, files: Files, name: str = "photos.tar") -> Path:
    """The archive of a labelled folder, with other files in it."""
    path = folder / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
        for member in ("photos", *sorted({f"photos/{_label(n)}" for n in files})):
            info = tarfile.TarInfo(member)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        members = {"LICENSE.txt": b"free", **files}
        add_files(archive, {f"photos/{name}": data for name, data in members.items()})
    return path


def folder_tgz(folder: Path, files: Files) -> Path:
    """The same, compressed."""
    return folder_tar(folder, files, "photos.tgz")


def web_dataset(folder: Path, files: Files) -> Path:
    """As `webdataset.TarWriter` writes them."""
    path = folder / "shard-000000.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            key, _, suffix = name.partition("/")[2].partition(".")
            label = _label(name)
            forms = {"cls": label, "json": json.dumps({"label": label})}
            form = ("cls", "json")[len(data) % 2]
            text = forms[form].encode()
            add_files(archive, {f"{key}.{suffix}": data, f"{key}.{form}": text})
    return path


def folder_zip(folder: Path, files: Files) -> Path:
    """As `zip` writes them: some members stored, some deflated, some streamed."""
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/", b"")
        archive.writestr("photos/README.md", b"free")
        for number, (name, data) in enumerate(files.items()):
            kind = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2]
            archive.writestr(f"photos/{name}", data, kind)
    streamed = folder / "streamed.zip"
    with (
        zipfile.ZipFile(path) as archive,
        streamed.open("wb") as file,
        zipfile.ZipFile(_Unseekable(file), "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for info in archive.infolist():
            other.writestr(info.filename, archive.read(info))
    streamed.rename(path)
    return path


def stored_zip(folder: Path, files: Files) -> Path:
    """Members as they are, and deflated ones, with sizes in their headers."""
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, data) in enumerate(files.items()):
            kind = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2]
            archive.writestr(name, data, kind)
    return path


def tfrecord(folder: Path, files: Files) -> Path:
    """As TF-slim writes them."""
    path = folder / "flowers_train_00000-of-00001.tfrecord"
    with path.open("wb") as file:
        for name, data in files.items():
            file.write(
                record(
                    {
                        "image/class/label": 3,
                        "image/class/text": _label(name).encode(),
                        "image/encoded": data,
                        "image/filename": name.partition("/")[2].encode(),
                        "image/height": 40,
                    }
                )
            )
    return path


FORMS = {
    function.__name__: function
    for function in (
        *(ours_parquet, ours_tar, datasets_parquet, folder_tar, folder_tgz),
        *(web_dataset, folder_zip, stored_zip, tfrecord),
    )
}


def add_files(archive: tarfile.TarFile, files: Files) -> None:
    """Adds files to a tar."""
    for name, data in files.items():
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), 1_600_000_000
        archive.addfile(info, io.BytesIO(data))


def record(features: dict[str, bytes | int]) -> bytes:
    """Returns a TFRecord of a tf.train.Example."""
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _feature(value)))
        for name, value in features.items()
    )
    return framed(_field(1, entries))


def framed(data: bytes) -> bytes:
    """Returns data as a record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _feature(value: bytes | int) -> bytes:
    if isinstance(value, bytes):
        return _field(1, _field(1, value))
    return _field(3, _field(1, _varint(value % 2**64)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _label(name: str) -> str:
    return name.partition("/")[0]


def _pictures(files: Files):
    for name, data in files.items():
        yield name, _label(name), MTIME_NS, data


class _Unseekable(io.RawIOBase):
    """A pipe: what is written there has no sizes in its headers."""

    def __init__(self, file) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        return self._file.write(data)
