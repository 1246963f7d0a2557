"""Reads secrets from a local folder in place of the secret store of DC/OS.

    secrets/__dcos_base64__tensorflow_keytab      the keytab, as a task would see it
        -> worker-0/kerberos.keytab               mode 0600, while the tasks run

DC/OS decodes secrets whose names begin with `__dcos_base64__` before a task gets them.
So the local file is the keytab itself, as `tools/kdc/kdc.py --local` writes it.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from poets.dcos.options import Options
from poets.errors import ConfigError
from poets.kerberos.tokens import TOKEN_FILE

KERBEROS = "service.security.kerberos"
PLACE = "kerberos.keytab"
"""The keytab's name in a task's sandbox."""

MAGIC = b"\5\2"
"""The first bytes of a keytab (MIT Kerberos, keytab file format, version 2)."""


def keytab_of(options: Options, secrets_dir: str | None) -> bytes | None:
    """Returns the keytab that the options name, or None if none is needed.

    None is needed without Kerberos, or if the environment has credentials:
    KRB5_CLIENT_KTNAME, KRB5CCNAME or HADOOP_TOKEN_FILE_LOCATION.

    Raises:
      ConfigError: if it is not in `secrets_dir`, or not a keytab.
    """
    if not options[f"{KERBEROS}.enabled"]:
        return None
    name = options[f"{KERBEROS}.keytab_secret"]
    what = f"{KERBEROS}.keytab_secret: cannot take the secret {name!r}"
    if secrets_dir is None:
        if {"KRB5_CLIENT_KTNAME", "KRB5CCNAME", TOKEN_FILE} & os.environ.keys():
            return None
        raise ConfigError(
            f"{what}: a local run has no secret store; give the folder that holds it "
            "with --secrets DIR, or set KRB5_CLIENT_KTNAME to a keytab"
        )
    folder = Path(secrets_dir).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise ConfigError(f"{what}: its name leads out of --secrets {secrets_dir!r}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{what}: {error.strerror} in --secrets {secrets_dir!r}, which holds "
            f"{_names(folder)}"
        ) from error
    if not data.startswith(MAGIC):
        raise ConfigError(
            f"{what}: the file in --secrets {secrets_dir!r} is not a keytab; store "
            "the file that kadmin's ktadd wrote, not encoded"
        )
    return data


@contextmanager
def placed(keytab: bytes | None, sandboxes: Iterable[Path]) -> Iterator[None]:
    """Puts the keytab, with mode 0600, into the sandboxes during its body."""
    paths = [sandbox / PLACE for sandbox in sandboxes] if keytab else []
    try:
        for path in paths:
            path.unlink(missing_ok=True)  # do not write to a file of the job's zip
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(keytab or b"")
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _names(folder: Path) -> str:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError:
        return "nothing that can be listed"
    return ", ".join(map(repr, names)) or "no file"
