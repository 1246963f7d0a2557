"""What `up` does inside HDFS, in a process of its own: a login belongs to a process.

    transfer.py VERB URL CONF_DIR PRINCIPAL KEYTAB ...
                probe TIMEOUT_S        until a small file can be created, read, deleted
                folder PATH OWNER:GROUP
                put LOCAL PATH         a local folder, in parallel, whole or not at all

Files are written beside their place and the folder is renamed: a put that was stopped
leaves nothing that looks complete. The last line of stdout tells what was done, or with
exit code 1 what failed; progress goes to stderr, if people watch it.
"""

import contextlib
import os
import posixpath
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from hdfs_native import Client, WriteOptions

# A client's `close` waits half a second wherever a DataNode's report comes later than
# its question, which is the rule with one DataNode: only many at once are fast.
THREADS = 400
CHUNK_BYTES = 1 << 20
QUICK = {  # an attempt that fails says so at once; the caller tries again
    "dfs.client.failover.max.attempts": "2",
    "dfs.client.failover.sleep.base.millis": "50",
}


def probe(client: Client, timeout_s: str) -> str:
    """Writes, reads and deletes a small file, again and again until it works."""
    deadline = time.monotonic() + float(timeout_s)
    path = f"/.probe-{uuid4().hex}"
    while True:
        try:
            _write(client, path, [b"probe"])
            found = client.read(path).read()
            client.delete(path)
        except Exception as error:
            if time.monotonic() > deadline:
                raise OSError(first_line(error)) from error
            time.sleep(0.25)
        else:
            return found.decode()


def folder(client: Client, path: str, owner: str) -> str:
    """Makes a folder for its owner; one that is there stays as it is."""
    try:
        client.get_file_info(path)
    except FileNotFoundError:
        client.mkdirs(path, 0o755, True)
        client.set_owner(path, *owner.split(":"))
    return path


def put(client: Client, local: str, path: str) -> str:
    """Puts all files of a local folder below a path, and tells how fast."""
    root = Path(local)
    files = sorted(file for file in root.rglob("*") if file.is_file())
    if not files:
        raise OSError(
            f"cannot put {local!r}: it holds no file; give a folder of images"
        )
    size = sum(file.stat().st_size for file in files)
    if already := _summary(client, path):
        if already == (len(files), size):
            return f"{path} holds the {len(files):,} files of {local} already"
        raise FileExistsError(
            f"cannot put {local!r} to {path!r}: it holds {already[0]:,} files of "
            f"{already[1]:,} bytes in all, not {len(files):,} of {size:,}; remove it "
            f"with `shell DIR -- -rm -r {path}`"
        )
    start = time.monotonic()
    parent, name = posixpath.split(path.rstrip("/"))
    part = posixpath.join(parent, f".{name}.{uuid4().hex}.part")

    def put_one(file: Path) -> None:
        target = posixpath.join(part, file.relative_to(root).as_posix())
        with file.open("rb") as source:
            _write(client, target, iter(lambda: source.read(CHUNK_BYTES), b""))

    try:
        folders = {file.parent.relative_to(root).as_posix() for file in files}
        for folder in sorted(folders):
            client.mkdirs(posixpath.normpath(f"{part}/{folder}"), 0o755, True)
        _in_parallel(put_one, files)
        client.rename(part, path, False)
    except BaseException:
        with contextlib.suppress(Exception):
            client.delete(part, True)
        raise
    took = time.monotonic() - start
    return (
        f"put {len(files):,} files, {size / 1e6:,.1f} MB, to {path} in {took:.1f} s "
        f"({len(files) / took:,.0f} files/s)"
    )


def _in_parallel(function: Callable[[Path], None], files: Sequence[Path]) -> None:
    """Calls `function` on every file; the first error ends it all."""
    with ThreadPoolExecutor(min(THREADS, len(files))) as pool:
        try:
            for done, _ in enumerate(pool.map(function, files), start=1):
                if done % 100 == 0 and sys.stderr.isatty():
                    print(f"\r{done:,} of {len(files):,}", end="\r", file=sys.stderr)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write(client: Client, path: str, chunks: Iterable[bytes]) -> None:
    writer = client.create(path, WriteOptions(overwrite=True))
    for chunk in chunks:
        writer.write(chunk)
    writer.close()


def _summary(client: Client, path: str) -> tuple[int, int] | None:
    """Returns the number of files below a path and their bytes, None if absent."""
    try:
        summary = client.get_content_summary(path)
    except FileNotFoundError:
        return None
    return summary.file_count, summary.length


def first_line(error: BaseException) -> str:
    """Returns what an error of the client says, without a Java stack."""
    return str(error).partition("\n")[0].partition("\\n")[0][:500]


VERBS: dict[str, Callable[..., str]] = {"probe": probe, "folder": folder, "put": put}


def main(argv: Sequence[str]) -> int:
    """Runs one verb; returns the exit code."""
    verb, url, conf_dir, principal, keytab, *arguments = argv
    try:
        client = Client(
            url,
            QUICK,
            conf_dir,
            kerberos_principal=principal,
            kerberos_keytab=keytab,
        )
        print(VERBS[verb](client, *arguments))
    except Exception as error:
        print(first_line(error))
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # not held by a thread that waits for a silent server
