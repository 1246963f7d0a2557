"""Decides which files below `image_dir` are images, by name and first bytes.

    rose/1.JPG                       an image, by its name
    rose/1.jfif, 2.jpg?w=500, 3      an image, if its first bytes are an image's
    rose/1.jpg.icloud, 2.jpg.url     a pointer to a picture
    rose/1.jpg._COPYING_             an unfinished copy
    rose/notes.txt                   another file
    _temporary/, rose/_1.jpg, .git/  hidden, as from Hadoop's jobs
    lost+found/, @eaDir/             the file system's own

`image_listing` lists them, for the job and for `poets label`.
"""

import functools
import posixpath
import re

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")

BEGINNING = 64
"""Bytes that hold the signature of an image or the text of a pointer."""

_HIDDEN = ("_", ".")
"""Hadoop's `FileInputFormat.hiddenFileFilter`."""

_OF_FILE_SYSTEMS = frozenset(
    ("lost+found", "system volume information", "$recycle.bin")
    + ("@eadir", "#recycle", "#snapshot")
)
"""In lower case; the last three are made by network storages."""

_PICTURE = re.compile(
    r"\.(?:jpe?g|jpe|jfif|jif|jfi|pjpe?g|pjp|a?png|webp|bmp|dib|gif|tiff?|hei[cf]|avif"
    r"|jp2|jxl|dng|cr[23]|nef|arw|svg)(?![a-z])",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"\.[a-z][a-z0-9_]{0,9}")

_OTHER_KINDS = """
    7z avi bz2 cfg conf crc csv db doc docx gz h5 hdf5 htm html ini ipynb json jsonl
    lock log m4v mat md md5 mkv mov mp3 mp4 npy npz ods parquet pb pdf pickle pkl ps1 pt
    pth py rar rst sh sha1 sha256 tar tfrecord tgz toml tsv txt wav xls xlsx xml xz yaml
    yml zip zst
"""
_OTHER_SUFFIXES = frozenset(f".{kind}" for kind in _OTHER_KINDS.split())

LFS = "a pointer of Git LFS, not the picture: run git lfs pull"
ANNEX = "a pointer of git-annex, not the picture: run git annex get"
NO_TARGET = "a link that leads nowhere: copy the picture there"
_CLOUD = "a placeholder of a cloud drive, not the picture: have it downloaded"
_SHORTCUT = "a shortcut, not the picture: copy the picture there"
_UNFINISHED = "an unfinished copy, by its name: copy it again"

_POINTERS = {
    suffix: what
    for suffixes, what in (
        (".icloud .nextcloud .owncloud .cloud .cloudf .dropbox .onedrive", _CLOUD),
        (".url .website .lnk .webloc .desktop .rclonelink", _SHORTCUT),
        (".dvc", "a pointer of DVC, not the picture: run dvc pull"),
        ("._copying_ .crdownload .download .filepart .part .partial .tmp", _UNFINISHED),
    )
    for suffix in suffixes.split()
}
_POINTER_TEXTS = (
    (re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/"), LFS),
    (re.compile(rb"[./]*(git/)?annex/objects/"), ANNEX),
    (re.compile(rb"\[(InternetShortcut|Desktop Entry)\]|L\0\0\0\x01\x14"), _SHORTCUT),
    (re.compile(rb"bplist00"), _CLOUD),
)


class ImageError(ValueError):
    """The bytes are not a usable image; the message is the reason."""


def passed_over(path: str) -> str:
    """Returns the start of a path, up to a name that is passed over with all below it.

    Args:
      path: below `image_dir`, whose own name does not matter.

    Returns:
      "rose/_old" for "rose/_old/1.jpg"; "" if no name is hidden or the system's.
    """
    folder, _, name = path.rpartition("/")
    if above := _passed_over_above(folder):
        return above
    own = name.startswith(_HIDDEN) or name.lower() in _OF_FILE_SYSTEMS
    return path if own else ""


@functools.lru_cache(1024)
def _passed_over_above(folder: str) -> str:
    return passed_over(folder) if folder else ""


def is_listed(path: str) -> bool:
    """Returns whether the folder at a path below `image_dir` is listed."""
    return not passed_over(path)


def is_image_name(path: str) -> bool:
    """Returns whether a file is taken for an image by its name alone."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def claims_picture(path: str) -> bool:
    """Returns whether a name holds a picture's suffix, perhaps followed by more."""
    return bool(_PICTURE.search(posixpath.basename(path)))


def may_be_image(path: str) -> bool:
    """Returns whether a file may be an image by its content, despite its name."""
    return suffix_of(path) not in _OTHER_SUFFIXES


def utf8(name: str) -> str:
    """Returns a name for logs and Arrow: bytes that are not UTF-8 become visible."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def suffix_of(path: str) -> str:
    """Returns the suffix that a file is counted under, in lower case.

    ".jpg…" if more follows a picture's suffix; "" for none.
    """
    name = posixpath.basename(path).lower()
    if found := _PICTURE.search(name):
        return found[0] if found.end() == len(name) else f"{found[0]}…"
    suffix = posixpath.splitext(name)[1]
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def pointer_by_name(path: str) -> str:
    """Returns the kind of a pointer file and what to do, or ""; by its name."""
    return _POINTERS.get(posixpath.splitext(path.lower())[1], "")


def pointer_in(data: bytes) -> str:
    """Returns the kind of a pointer file and what to do, or ""; by its first bytes."""
    beginning = data[:BEGINNING]
    return next((what for text, what in _POINTER_TEXTS if text.match(beginning)), "")


def is_image(data: bytes) -> bool:
    """Returns whether the first bytes are those of an image that can be decoded."""
    return (
        data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or (data[:2] == b"BM" and data[6:10] == bytes(4))
    )
