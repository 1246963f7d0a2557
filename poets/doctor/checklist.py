"""Chooses the storages of a job, and the steps to check for each.

A list contains no step that cannot apply to its scheme. A step that does not apply to
this job (no keytab, no Kerberos) reports that.
"""

import os
from collections.abc import Iterable

from poets.doctor import Checkup, Step
from poets.doctor import steps_hdfs as hdfs
from poets.doctor import steps_kerberos as kerberos
from poets.doctor.steps_objects import find_credentials, reach_endpoint
from poets.doctor.steps_storage import list_inputs, read_inputs, write_outputs
from poets.kerberos.tokens import TOKEN_FILE
from poets.storage import scheme_of

_USE = (list_inputs, read_inputs, write_outputs)
_HDFS = (
    hdfs.find_library,
    hdfs.find_configuration,
    kerberos.find_token,
    hdfs.check_authentication,
    kerberos.check_keytab,
    kerberos.find_krb5_conf,
    kerberos.reach_kdc,
    kerberos.get_ticket,
    hdfs.check_service_ticket,
    hdfs.reach_name_node,
    hdfs.ask_name_node,
    list_inputs,
    hdfs.read_by_datanode,
    hdfs.write_by_datanode,
    kerberos.check_lifetime,
)
_OBJECTS = (find_credentials, reach_endpoint, *_USE)

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
    unused = {list_inputs.name, read_inputs.name} if not checkup.reads else set()
    unused |= {write_outputs.name} if not checkup.writes else set()
    unused |= {kerberos.find_token.name} if not os.environ.get(TOKEN_FILE) else set()
    return tuple(step for step in steps if step.name not in unused)


def first_steps(checkup: Checkup) -> tuple[Step, ...]:
    """Returns the steps of a checklist that all others depend on."""
    first = (kerberos.get_ticket, hdfs.ask_name_node)
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
