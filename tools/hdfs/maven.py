"""Downloads Hadoop, as pinned in `pom.xml` and `yarn.xml`; returns its class path.

.cache/hadoop/repository/          Maven's repository, with all jars
.cache/hadoop/<digest>.classpath   the class path for one pom.xml; Maven is not started
                                   as long as its jars exist
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
YARN = POM.with_name("yarn.xml")
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "hadoop"
ATTEMPTS = 4
TIMEOUT_S = 600


def class_path(cache: Path = CACHE, pom: Path = POM) -> str:
    """Returns the class path of Hadoop; downloads missing jars.

    Several processes may call it at once: one downloads, the others wait.

    Args:
      cache: a folder for jars, about 100 MB; created if absent.
      pom: POM, or YARN: that and YARN's daemons.

    Raises:
      HdfsError: if Maven cannot resolve it, after retries.
      ConfigError: if Maven is needed but not installed.
    """
    cache = cache.absolute()
    known = cache / f"{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}.classpath"
    if not (found := _complete(known)):
        require_programs("mvn")
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (found := _complete(known)):
                _resolve(cache, known, pom)
                found = _complete(known)
    if not found:
        raise HdfsError(
            f"cannot use the class path in {str(known)!r}: some of its jars are "
            f"missing; remove {str(cache)!r} and run again"
        )
    return found


def _complete(known: Path) -> str:
    """Returns the class path in a file, "" unless all of its jars exist."""
    try:
        text = known.read_text().strip()
    except OSError:
        return ""
    return text if all(os.path.exists(jar) for jar in text.split(":")) else ""


def _resolve(cache: Path, known: Path, pom: Path) -> None:
    """Runs Maven to download the jars and write their class path."""
    part = known.with_suffix(".part")
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(pom)]
    command += [f"-Dmaven.repo.local={cache / 'repository'}", "--no-transfer-progress"]
    # By default Maven does not retry a failed download for a day.
    command += ["--update-snapshots", "-Dmaven.wagon.http.retryHandler.count=5"]
    command += ["dependency:build-classpath", f"-Dmdep.outputFile={part}"]
    failure = ""
    print(f"fetching Hadoop into {cache}, once", file=sys.stderr, flush=True)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            failure = f"no answer within {TIMEOUT_S} s"
            continue
        if done.returncode == 0:
            os.replace(part, known)
            return
        lines = done.stdout.splitlines()
        failure = next((line for line in lines if "ERROR" in line), "Maven failed")
    raise HdfsError(
        f"cannot download Hadoop after {ATTEMPTS} attempts: {failure}; check the "
        "connection to https://repo.maven.apache.org (set a proxy in "
        "~/.m2/settings.xml) and run again: finished downloads are kept"
    )
