"""Secrets on this machine: a folder stands for the secret store of DC/OS.

    secrets/__dcos_base64__tensorflow_keytab      the keytab, as a task would see it
        -> worker-0/kerberos.keytab               mode 0600, while the tasks run

DC/OS decodes a secret whose name begins with `__dcos_base64__` before it hands it to
a task, so the file here is the keytab itself: `tools/kdc/kdc.py --local` writes it so.
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
"""In a task's sandbox."""

MAGIC = b"\5\2"
"""A keytab's first bytes (MIT Kerberos, Keytab file format, version 2)."""


def keytab_of(options: Options, secrets_dir: str | None) -> bytes | None:
    """Returns the keytab that the options name, or None if none is needed here.

    None is needed without Kerberos, or when the environment says who we are: by
    KRB5_CLIENT_KTNAME, KRB5CCNAME or HADOOP_TOKEN_FILE_LOCATION.

    Raises:
      ConfigError: if it is not in `secrets_dir`, or no keytab.
    """
    if not options[f"{KERBEROS}.enabled"]:
        return None
    name = options[f"{KERBEROS}.keytab_secret"]
    what = f"{KERBEROS}.keytab_secret: cannot take the secret {name!r}"
    if secrets_dir is None:
        if {"KRB5_CLIENT_KTNAME", "KRB5CCNAME", TOKEN_FILE} & os.environ.keys():
            return None
        raise ConfigError(
            f"{what}: there is no DC/OS here to ask; name the folder that holds it by "
            "--secrets DIR, or a keytab by KRB5_CLIENT_KTNAME"
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
            f"{what}: the file in --secrets {secrets_dir!r} is no keytab; store there "
            "what kadmin's ktadd wrote, not encoded"
        )
    return data


@contextmanager
def placed(keytab: bytes | None, sandboxes: Iterable[Path]) -> Iterator[None]:
    """Keeps the keytab in the sandboxes, for their owner alone, during its body."""
    paths = [sandbox / PLACE for sandbox in sandboxes] if keytab else []
    try:
        for path in paths:
            path.unlink(missing_ok=True)  # a file of the job's zip is not trusted
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
