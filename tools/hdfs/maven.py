"""The Hadoop that `pom.xml` pins, from Maven Central, as one Java class path.

.cache/hadoop/repository/          Maven's own: every jar, shared by all
.cache/hadoop/<digest>.classpath   the answer for one pom.xml; while its jars are
                                   there, Maven is not started again
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.hdfs.configuration import HdfsError
from tools.packages import require_programs

POM = Path(__file__).with_name("pom.xml")
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "hadoop"
ATTEMPTS = 4
TIMEOUT_S = 600


def class_path(cache: Path = CACHE) -> str:
    """Returns the class path of Hadoop, downloading what is missing.

    Several processes may ask at once: one downloads, the others wait for it.

    Args:
      cache: a folder for jars, some 100 MB; made if absent.

    Raises:
      HdfsError: if Maven cannot resolve it, after retries.
      ConfigError: if Maven is needed and not installed.
    """
    cache = cache.absolute()
    known = cache / f"{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}.classpath"
    if not (found := _complete(known)):
        require_programs("mvn")
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (found := _complete(known)):
                _resolve(cache, known)
                found = _complete(known)
    if not found:
        raise HdfsError(
            f"cannot use the class path in {str(known)!r}: Maven named jars that are "
            f"not there; remove {str(cache)!r} and run again"
        )
    return found


def _complete(known: Path) -> str:
    """Returns the class path that a file holds, "" unless all of its jars exist."""
    try:
        text = known.read_text().strip()
    except OSError:
        return ""
    return text if all(os.path.exists(jar) for jar in text.split(":")) else ""


def _resolve(cache: Path, known: Path) -> None:
    """Has Maven download the jars and write their class path."""
    part = known.with_suffix(".part")
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(POM)]
    command += [f"-Dmaven.repo.local={cache / 'repository'}", "--no-transfer-progress"]
    # Maven remembers a failed download for a day, unless told to look again.
    command += ["--update-snapshots", "-Dmaven.wagon.http.retryHandler.count=5"]
    command += ["dependency:build-classpath", f"-Dmdep.outputFile={part}"]
    said = ""
    print(f"fetching Hadoop into {cache}, once", file=sys.stderr, flush=True)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            said = f"no answer within {TIMEOUT_S} s"
            continue
        if done.returncode == 0:
            os.replace(part, known)
            return
        said = next((line for line in done.stdout.splitlines() if "ERROR" in line), "")
    raise HdfsError(
        f"cannot download Hadoop after {ATTEMPTS} attempts: {said or 'Maven failed'}; "
        "check the way to https://repo.maven.apache.org (a proxy belongs into "
        "~/.m2/settings.xml) and run again: what has arrived is kept"
    )
