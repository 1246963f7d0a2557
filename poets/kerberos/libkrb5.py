"""Gets tickets through MIT's libkrb5, which reports exactly why it fails.

    login ──> get_tgt(login)                          the KDC knows our principal
          └─> get_service_ticket(login, "hdfs/host")  and that of the server

GSSAPI, which the storages use, has one text for most causes. This library is installed
wherever GSSAPI is, so no package is needed. Keys and tickets stay inside it. Each call
has a deadline; a late one is abandoned in its thread.
"""

import contextlib
from dataclasses import dataclass

from poets.errors import KerberosError, PoetsError
from poets.kerberos import causes
from poets.kerberos.causes import kdcs_text, realm_of
from poets.kerberos.keytab import keys_of
from poets.kerberos.krb5_conf import realms
from poets.kerberos.session import Krb5Error, Session, Ticket, load_library
from poets.system.deadline import run_with_deadline

OWNER_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Login:
    """A principal and where its credentials are. It contains no secret.

    Attributes:
      principal: with its realm, or None: the owner of the ticket cache.
      keytab: absolute path of a file with its keys, or None: the cache is used.
      cache: the ticket cache, as "FILE:/path", or None: the default one.
    """

    principal: str | None = None
    keytab: str | None = None
    cache: str | None = None

    def owner(self) -> str | None:
        """Returns the principal, by default that of the ticket cache.

        None without a ticket, or without a library to look for it. The connection then
        fails with the reason, unless it needs neither (a delegation token).
        """
        if self.principal:
            return self.principal
        with contextlib.suppress(PoetsError):
            return get_tgt(self, OWNER_TIMEOUT_S).principal
        return None


def get_tgt(login: Login | None, timeout_s: float) -> Ticket:
    """Gets the ticket-granting ticket.

    With a keytab, it is from the KDC. Otherwise it is from the ticket cache, and must
    not have expired.

    Args:
      login: the client's credentials; None for the default ticket cache.
      timeout_s: how long to wait at most.

    Raises:
      KerberosError: if there is none, with the reason and what to do.
      KeytabError: if the keytab cannot be read or lacks the principal.
      ConfigError: if the library is not installed.
    """
    return get_service_ticket(login, "", timeout_s)


def get_service_ticket(login: Login | None, service: str, timeout_s: float) -> Ticket:
    """Gets a ticket for a service, such as "hdfs/host" or "HTTP/host@REALM".

    For "", it is the ticket-granting ticket. The rest is as for `get_tgt`.
    """
    login = login or Login()
    load_library()  # outside the deadline: it may be missing
    keys = keys_of(login.keytab, login.principal) if login.keytab else []
    what = f"no ticket for service {service!r} as" if service else "no ticket for"
    try:
        return run_with_deadline(lambda: _ask(login, service), timeout_s)
    except Krb5Error as error:
        cache = "" if login.keytab else login.cache or _default_cache()
        kvnos = ", ".join(map(str, sorted({key.kvno for key in keys})))
        why = _explained(error, login, kvnos, cache)
        raise KerberosError(f"{what} {_who(login, cache)}: {why}") from None
    except TimeoutError:
        who, kdcs = _who(login, ""), kdcs_text(realms(), login.principal)
        raise KerberosError(
            f"{what} {who}: no answer from KDC {kdcs} within {timeout_s:g} s; "
            "check that it runs, its port, and the firewall"
        ) from None


def check_conf() -> None:
    """Checks that the library can read krb5.conf and all that it includes.

    Raises:
      KerberosError: if it cannot, with the reason and what to do.
      ConfigError: if the library is not installed.
    """
    try:
        with Session():
            pass
    except Krb5Error as error:
        why = _explained(error, Login())
        raise KerberosError(f"cannot read the Kerberos configuration: {why}") from None


def _explained(error: Krb5Error, login: Login, kvnos: str = "", cache: str = "") -> str:
    """Returns what the library found, and what to do.

    Args:
      kvnos: the versions of the principal's keys in the keytab.
      cache: the ticket cache, as "KCM:"; "" if a keytab is used.
    """
    conf, code, principal = realms(), error.code, login.principal
    if conf.faults and (code in causes.PROFILE_ERRORS or code == causes.BAD_FORMAT):
        return f"{error.text}: {conf.faults[0]}"
    cure = causes.CURES.get(code, causes.OTHERWISE)
    kind = cache.partition(":")[0]
    # A KCM daemon that answers has no ticket; the other kinds of cache are absent.
    is_absent = code == causes.NO_CACHE and kind != "KCM"
    if is_absent or code > 0 or code in causes.KCM_ERRORS:
        cure = causes.CACHE_CURES.get(kind, cure)
    if login.keytab and code in (causes.TICKET_EXPIRED, causes.NOT_YET_VALID):
        cure = causes.EITHER_CLOCK  # the ticket is new
    return f"{error.text}; " + cure.format(
        principal=principal or "the principal",
        realm=realm_of(principal) or "the principal",
        keytab=login.keytab or "the ticket cache",
        kvno=kvnos or "unknown",
        kdcs=kdcs_text(conf, principal),
        files=" or ".join(map(repr, conf.files)) or "krb5.conf",
    )


def _ask(login: Login, service: str) -> Ticket:
    with Session() as session:
        if login.principal and login.keytab:
            cache = session.new_cache()
            ticket = session.log_in(login.principal, login.keytab, cache)
        else:
            cache = session.cache(login.cache)
            ticket = session.cached_tgt(cache, login.principal)
        return session.service_ticket(cache, service) if service else ticket


def _who(login: Login, cache: str) -> str:
    if login.principal:
        return repr(login.principal)
    return f"the owner of {repr(cache) if cache else 'the ticket cache'}"


def _default_cache() -> str:
    """Returns the name of the default cache; "" if krb5.conf cannot be read."""
    with contextlib.suppress(Krb5Error), Session() as session:
        return session.default_cache()
    return ""
