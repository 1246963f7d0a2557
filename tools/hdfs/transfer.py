"""Does the work of `up` inside HDFS, in a separate process because it logs in.

    transfer.py VERB URL CONF_DIR PRINCIPAL KEYTAB ...
                probe TIMEOUT_S        until a small file can be created, read, deleted
                folder PATH OWNER:GROUP
                put LOCAL PATH         a local folder, in parallel and atomically

Files are written to a temporary folder, which is then renamed, so an interrupted put
leaves no incomplete folder under the final name. The last line of stdout is the result,
or with exit code 1 the error. Progress goes to stderr if it is a terminal.
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

# A client's `close` waits half a second if it comes before the DataNode's report. With
# one DataNode that is the rule, so only many files at once are fast.
THREADS = 400
CHUNK_BYTES = 1 << 20
QUICK = {  # report failures at once; the caller retries
    "dfs.client.failover.max.attempts": "2",
    "dfs.client.failover.sleep.base.millis": "50",
}


def probe(client: Client, timeout_s: str) -> str:
    """Writes, reads and deletes a small file; retries until it works."""
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
    """Creates a folder for an owner; leaves an existing one unchanged."""
    try:
        client.get_file_info(path)
    except FileNotFoundError:
        client.mkdirs(path, 0o755, True)
        client.set_owner(path, *owner.split(":"))
    return path


def put(client: Client, local: str, path: str) -> str:
    """Uploads all files of a local folder; returns a text with count and speed."""
    root = Path(local)
    files = sorted(file for file in root.rglob("*") if file.is_file())
    if not files:
        raise OSError(
            f"cannot put {local!r}: it contains no files; give a folder of images"
        )
    size = sum(file.stat().st_size for file in files)
    if already := _summary(client, path):
        if already == (len(files), size):
            return f"{path} already holds the {len(files):,} files of {local}"
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
    """Calls `function` on every file; stops at the first error."""
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
    """Returns the message of a client's error, without the Java stack trace."""
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
    os._exit(code)  # do not wait for threads that wait for a silent server
