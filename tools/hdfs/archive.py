"""Makes an archive of Hadoop's classes, which halves the start time of its JVMs.

    first `up`    each daemon lists its classes ──> tmp/*.classes ──> java -Xshare:dump
    later ones    java -XX:SharedArchiveFile=<digest>.jsa

The archive is made in the background, beside Hadoop's jars, for one class path and one
Java. A JVM that cannot use the archive starts without it.
"""

import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path


def archive_of(class_path: str, java: str) -> Path | None:
    """Returns the path of the archive for a class path, None if there are no jars."""
    jars = [jar for jar in class_path.split(":") if jar]
    if not jars:
        return None
    program = os.path.realpath(java)
    try:
        version = os.stat(program).st_mtime_ns
    except OSError:
        return None
    text = f"{class_path}:{program}:{version}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Path(os.path.commonpath([os.path.dirname(jar) for jar in jars]), digest)


def flags(archive: Path | None, listed: Path | None = None) -> list[str]:
    """Returns the JVM flags that use an archive.

    Args:
      archive: as returned by `archive_of`.
      listed: the file for a list of classes until there is an archive.
    """
    if archive and archive.with_suffix(".jsa").exists():
        # Keeps the JVM's log off stdout, which belongs to the program.
        quiet = ["-Xlog:disable", "-Xlog:all=warning:stderr"]
        return [*quiet, f"-XX:SharedArchiveFile={archive.with_suffix('.jsa')}"]
    return [f"-XX:DumpLoadedClassList={listed}"] if archive and listed else []


def make(
    archive: Path | None, command: Sequence[str], lists: Iterable[Path], class_path: str
) -> None:
    """Makes an archive in the background, unless it exists; ignores failures.

    Args:
      archive: as returned by `archive_of`.
      command: Java and its flags.
      lists: the files in which JVMs have listed their classes.
      class_path: the class path of the archive.
    """
    if archive is None or archive.with_suffix(".jsa").exists():
        return
    names: set[str] = set()
    for path in lists:
        if path.exists():  # the last line may be incomplete, as that JVM still runs
            names.update(path.read_text().splitlines(keepends=True)[:-1])
            path.unlink()
    if not names:
        return
    unfinished = archive.with_name(f"{archive.name}.{os.getpid()}")
    part, listed = (unfinished.with_suffix(end) for end in (".part", ".classes"))
    listed.write_text("".join(sorted(names)))
    options = [f"-XX:SharedClassListFile={listed}", f"-XX:SharedArchiveFile={part}"]
    dump = shlex.join([*command, "-Xshare:dump", *options, "-cp", class_path])
    moved = shlex.join(["mv", str(part), str(archive.with_suffix(".jsa"))])
    removed = shlex.join(["rm", "-f", str(part), str(listed)])
    subprocess.run(
        ["/bin/sh", "-c", f"(nice {dump} && {moved}; {removed}) &"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )
