"""A process that publishes: `python -m tests.storage.publisher ACT URL VERSION`.

    once     makes its lock, says "ready", waits for a line, publishes
    forever  publishes version after version until it is killed
    file     replaces the file `URL`/graph forever
    rename   says "ready", waits for a line, renames a part of its own to `URL`/one

A version is a number; each file of a version is full of it, so that half a file, or
one that is not of its version, is seen.
"""

import itertools
import json
import sys
import tempfile
import uuid
from pathlib import Path

from poets.errors import StorageError
from poets.storage import join, open_storage, publish_lock, rename
from poets.storage.publish import Publication, write_atomically
from poets.storage.publish_lock import PublishLock

STALE_S = 2.0
FILES = ("graph", "saved/1/saved_model.pb", "saved/1/variables/index", "metrics.json")
SIZE = 100_000


def content(name: str, version: int) -> bytes:
    """Returns what a file of a version holds."""
    if name == "metrics.json":
        return json.dumps({"finished": f"day {version}"}).encode()
    return bytes([version % 256]) * SIZE


def publish(url: str, version: int, made: PublishLock | None = None) -> None:
    """Publishes all files of a version, the manifest last."""
    made = made or PublishLock(url)
    with Publication(made) as publication, tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "1"
        (local / "variables").mkdir(parents=True)
        for name in FILES[1:3]:
            path = local / name.removeprefix("saved/1/")
            path.write_bytes(content(name, version))
        publication.add_file(join(url, "graph"), content("graph", version))
        publication.add_folder(join(url, "saved", "1"), str(local))
        manifest = content("metrics.json", version)
        publication.add_file(join(url, "metrics.json"), manifest)
        publication.commit()


def publish_again(url: str, version: int, made: PublishLock | None = None) -> None:
    """Publishes, and again if a busy machine stopped this process for STALE_S."""
    while True:
        try:
            return publish(url, version, made)
        except StorageError as error:
            if "this job was stopped for" not in str(error):
                raise


def main(act: str, url: str, version: int) -> None:
    """Does one of the acts."""
    publish_lock.STALE_S = STALE_S
    if act == "once":
        made = PublishLock(url)
        _ready()
        publish_again(url, version, made)
    elif act == "forever":
        for each in itertools.count(version):
            publish_again(url, each)
            print(each, flush=True)
    elif act == "file":
        for each in itertools.count(version):
            write_atomically(join(url, "graph"), content("graph", each))
            print(each, flush=True)
    else:
        name = f"part-{uuid.uuid4().hex}"
        write_atomically(join(url, name), content("graph", version))
        filesystem, folder = open_storage(url)
        _ready()
        rename(filesystem, f"{folder}/{name}", f"{folder}/one", overwrite=False)


def _ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except (FileExistsError, StorageError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
