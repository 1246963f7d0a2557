"""Reads the Kerberos settings of flags, of a DC/OS task and of MIT's variables.

    POETS_KERBEROS_PRINCIPAL, KRB5_CLIENT_KTNAME     flags set these; they win
    SECURITY_KERBEROS_{ENABLED,PRIMARY,REALM,KDC_*}  service.security.kerberos of a task
    KRB5CCNAME, KRB5_CONFIG                          MIT's own, as after kinit
    HADOOP_TOKEN_FILE_LOCATION                       Hadoop's: no principal is needed

A task's keytab is the file in its sandbox that holds its principal.
"""

import contextlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poets.errors import ConfigError, KerberosError, format_problems
from poets.kerberos.causes import realm_of
from poets.kerberos.keytab import KeytabError, keys_of, principals_of, read_keytab
from poets.kerberos.krb5_conf import krb5_conf_text, realms
from poets.kerberos.libkrb5 import Login, get_tgt
from poets.kerberos.tokens import TOKEN_FILE

PRINCIPAL, KEYTAB = "POETS_KERBEROS_PRINCIPAL", "KRB5_CLIENT_KTNAME"
CONFIG, CACHE = "KRB5_CONFIG", "KRB5CCNAME"
ENABLED, PRIMARY, REALM, KDC_HOST, KDC_PORT = OF_TASK = tuple(
    f"SECURITY_KERBEROS_{name}"
    for name in ("ENABLED", "PRIMARY", "REALM", "KDC_HOSTNAME", "KDC_PORT")
)
SANDBOX = "MESOS_SANDBOX"
VARIABLES = (PRINCIPAL, KEYTAB, CONFIG, CACHE, SANDBOX, TOKEN_FILE, *OF_TASK)
DEFAULT_PRIMARY = "tensorflow"
CACHE_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(Login):
    """A login, and the text of the krb5.conf to use; None for the existing one."""

    krb5_conf: str | None = None


def read_settings(environment: Mapping[str, str]) -> Settings | None:
    """Returns the settings of the environment; None if it does not mention Kerberos.

    Raises:
      ConfigError: if settings contradict each other.
      KeytabError: if the keytab cannot be read or lacks the principal.
    """
    # An empty variable counts as unset, as for MIT.
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    in_task = given.get(ENABLED, "").lower() == "true"
    if not in_task and not {PRINCIPAL, KEYTAB, CACHE} & given.keys():
        return None
    krb5_conf = _krb5_conf(given) if in_task else None
    principal = _principal(given, in_task)
    if keytab := given.get(KEYTAB):
        path = keytab.removeprefix("FILE:")
        if re.match(r"[A-Z]+:", path):
            raise ConfigError(
                f"the keytab {keytab!r} is not a file; give the path of one "
                f"(--kerberos_keytab, {KEYTAB})"
            )
        path = os.path.abspath(path)
        principal = keys_of(path, principal)[0].principal
        return Settings(principal, path, None, krb5_conf)
    cache = given.get(CACHE)
    if cache or not in_task:
        return Settings(principal, None, cache, krb5_conf)
    try:
        return Settings(principal, _keytab_of_task(given, principal), None, krb5_conf)
    except ConfigError:
        if PRINCIPAL in given or TOKEN_FILE not in given:
            raise
    return Settings(krb5_conf=krb5_conf)  # the user is the tokens' owner


def _krb5_conf(given: Mapping[str, str]) -> str | None:
    """Returns the task's krb5.conf; None if its options name no KDC."""
    host, port, realm = given.get(KDC_HOST), given.get(KDC_PORT), given.get(REALM)
    problems = []
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        problems.append(f"kdc.port is {port!r}, which is not a port; give 1 to 65535")
    if port and not host:
        problems.append("kdc.port is set and kdc.hostname is not; give both")
    if host and not realm:
        problems.append("kdc.hostname is set and realm is not; give both")
    if problems:
        raise ConfigError(format_problems("service.security.kerberos", problems))
    if not host or not realm:
        return None
    return krb5_conf_text(realm, [f"{host}:{port}" if port else host])


def _principal(given: Mapping[str, str], in_task: bool) -> str | None:
    """Returns the principal with its realm; None if none is given."""
    name = given.get(PRINCIPAL)
    if not name and in_task:
        name = given.get(PRIMARY, DEFAULT_PRIMARY)
    if not name or realm_of(name):
        return name
    realm = given.get(REALM) if in_task else None
    realm = realm or realms(given.get(CONFIG)).default_realm
    if not realm or "@" in name:
        raise ConfigError(
            f"no realm in principal {name!r}, and none in krb5.conf; give it like "
            f"'{name.partition('@')[0]}@EXAMPLE.COM' (--kerberos_principal), or name "
            f"default_realm in krb5.conf ({CONFIG})"
        )
    return f"{name}@{realm}"


def _keytab_of_task(given: Mapping[str, str], principal: str | None) -> str | None:
    """Returns the path of the keytab in the sandbox that holds the principal.

    None if the task's wrapper ran kinit for the principal instead.
    """
    sandbox = given.get(SANDBOX)
    held = {}
    for path in sorted(Path(sandbox).glob("*.keytab")) if sandbox else ():
        name = str(path.absolute())
        try:
            held[name] = principals_of(read_keytab(name))
        except KeytabError as error:
            _log.warning("%s", error)
            continue
        if principal in held[name]:
            return name
    with contextlib.suppress(KerberosError):
        get_tgt(Login(principal), CACHE_TIMEOUT_S)
        return None
    found = ", ".join(
        f"{os.path.basename(name)} of {', '.join(whose)}"
        for name, whose in held.items()
    )
    raise ConfigError(
        f"no keytab of {principal!r}: {KEYTAB} is not set, and the *.keytab files in "
        f"{sandbox or f'${SANDBOX}'!r} are {found or 'none'}; name its secret in "
        "service.security.kerberos.keytab_secret"
    )
