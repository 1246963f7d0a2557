"""Chooses the storages of a job, and the steps to check for each.

A list contains no step that cannot apply to its scheme. A step that does not apply to
this job (no keytab, no Kerberos) reports that.
"""

import os
from collections.abc import Iterable

from poets.doctor import Checkup, Step
from poets.doctor import steps_hdfs as hdfs
from poets.doctor import steps_kerberos as kerberos
from poets.doctor.steps_objects import CREDENTIALS, ENDPOINT
from poets.doctor.steps_storage import LIST, READ, WRITE
from poets.kerberos.tokens import TOKEN_FILE
from poets.storage import scheme_of

_USE = (LIST, READ, WRITE)
_HDFS = (
    hdfs.LIBRARY,
    hdfs.CONFIGURATION,
    kerberos.TOKEN,
    hdfs.AUTHENTICATION,
    kerberos.KEYTAB,
    kerberos.KRB5_CONF,
    kerberos.KDC,
    kerberos.TICKET,
    hdfs.SERVICE_TICKET,
    hdfs.PORT,
    hdfs.SERVER,
    LIST,
    hdfs.READ_BY_DATANODE,
    hdfs.WRITE_BY_DATANODE,
    kerberos.LIFETIME,
)
_OBJECTS = (CREDENTIALS, ENDPOINT, *_USE)

CHECKLISTS: dict[str, tuple[Step, ...]] = {
    "hdfs": _HDFS,
    "viewfs": _HDFS,
    "webhdfs": _HDFS,
    "swebhdfs": _HDFS,
    "s3": _OBJECTS,
    "gs": _OBJECTS,
}
"""Scheme -> steps; local paths and other schemes have only the common ones."""


def checklist(checkup: Checkup) -> tuple[Step, ...]:
    """Returns the steps for a storage and its use, in order."""
    steps = CHECKLISTS.get(checkup.scheme, _USE)
    unused = {LIST.name, READ.name} if not checkup.reads else set()
    unused |= {WRITE.name} if not checkup.writes else set()
    unused |= {kerberos.TOKEN.name} if not os.environ.get(TOKEN_FILE) else set()
    return tuple(step for step in steps if step.name not in unused)


def first_steps(checkup: Checkup) -> tuple[Step, ...]:
    """Returns the steps of a checklist that all others depend on."""
    first = (kerberos.TICKET, hdfs.SERVER)
    return tuple(step for step in checklist(checkup) if step in first)


def checkups(
    reads: Iterable[str], writes: Iterable[str], job_s: float = Checkup.job_s
) -> list[Checkup]:
    """Returns a checkup for each storage of the URLs, in order."""
    by_storage: dict[str, tuple[list[str], list[str]]] = {}
    for use, urls in enumerate((reads, writes)):
        for url in urls:
            by_storage.setdefault(_storage_of(url), ([], []))[use].append(url)
    return [
        Checkup(storage, tuple(reads), tuple(writes), job_s)
        for storage, (reads, writes) in by_storage.items()
    ]


def _storage_of(url: str) -> str:
    """Returns the scheme and the authority of a URL, or "" for a local path."""
    if scheme_of(url) in ("", "file"):
        return ""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
