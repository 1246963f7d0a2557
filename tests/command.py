"""`poets` as users start it: a process of its own, without our login and settings."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("HADOOP", "HDFS_", "KRB5", "POETS_", "SECURITY_KERBEROS_", "AWS_", "S3_")
TIMEOUT_S = 300


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_poets(
    words: Sequence[object], environment: Mapping[str, str], prefix: Sequence[str] = ()
) -> Ended:
    """Runs `poets words`; see `run_python`."""
    return run_python(["-m", "poets", *words], environment, prefix)


def run_python(
    arguments: Sequence[object],
    environment: Mapping[str, str],
    prefix: Sequence[str] = (),
) -> Ended:
    """Runs this Python, and checks what no program of ours may print.

    Args:
      arguments: of the interpreter.
      environment: more variables; no key of KRB5_CLIENT_KTNAME may be printed.
      prefix: what the program is started by, as `["faketime", "-f", "-1h"]`.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    done = subprocess.run(
        [*prefix, sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    told = done.stdout + done.stderr
    assert "Traceback" not in told, told
    keytab = Path(environment.get("KRB5_CLIENT_KTNAME", "none"))
    if keytab.exists():
        key = keytab.read_bytes()[-24:-4]  # the end of the last key, before its kvno
        for shown in (key.hex(), key.hex(" "), repr(key)[2:-1]):
            assert shown not in told
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def silent_server() -> Iterator[int]:
    """Yields a port of 127.0.0.1 that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
