"""Gets tickets through MIT's libkrb5, which reports exactly why it fails.

    login ──> get_tgt(login)                          the KDC knows our principal
          └─> get_service_ticket(login, "hdfs/host")  and that of the server

GSSAPI, which the storages use, has one text for most causes. This library is installed
wherever GSSAPI is, so no package is needed. Keys and tickets stay inside it. Each call
has a deadline; a late one is abandoned in its thread.
"""

import contextlib
from collections.abc import Callable
from typing import Protocol

from poets.errors import KerberosError
from poets.kerberos.causes import explained, kdcs_text
from poets.kerberos.keytab import keys_of
from poets.kerberos.krb5_conf import realms
from poets.kerberos.session import Krb5Error, Session, Ticket, load_library
from poets.system.deadline import run_with_deadline

__all__ = ["Credentials", "Ticket", "check_conf", "get_service_ticket", "get_tgt"]


class Credentials(Protocol):
    """A principal, with its keytab or its ticket cache.

    Attributes:
      principal: with its realm; required with a keytab.
      keytab: a file, or None.
      cache: a cache, as "FILE:/path", or None for the default one.
    """

    @property
    def principal(self) -> str | None: ...
    @property
    def keytab(self) -> str | None: ...
    @property
    def cache(self) -> str | None: ...


def get_tgt(login: Credentials, timeout_s: float) -> Ticket:
    """Gets the ticket-granting ticket.

    With a keytab, it is from the KDC. Otherwise it is from the ticket cache, and must
    not have expired.

    Args:
      login: the client's credentials.
      timeout_s: how long to wait at most.

    Raises:
      KerberosError: if there is none, with the reason and what to do.
      KeytabError: if the keytab cannot be read or lacks the principal.
      ConfigError: if the library is not installed.
    """

    def ask(session: Session) -> Ticket:
        if login.principal and login.keytab:
            return session.log_in(login.principal, login.keytab, session.new_cache())
        return session.cached_tgt(login.cache, login.principal)

    return _ask(login, ask, "no ticket for", timeout_s)


def get_service_ticket(login: Credentials, service: str, timeout_s: float) -> Ticket:
    """Gets a ticket for a service, as all its clients do.

    Args:
      login: the client's credentials.
      service: as "hdfs/host" or "HTTP/host@REALM".
      timeout_s: how long to wait at most.

    Raises:
      KerberosError: if there is none, with the reason and what to do.
      KeytabError: if the keytab cannot be read or lacks the principal.
      ConfigError: if the library is not installed.
    """

    def ask(session: Session) -> Ticket:
        if login.principal and login.keytab:
            cache = session.new_cache()
            session.log_in(login.principal, login.keytab, cache)
        else:
            session.cached_tgt(login.cache, login.principal)
            cache = session.cache(login.cache)
        return session.service_ticket(cache, service)

    return _ask(login, ask, f"no ticket for service {service!r} as", timeout_s)


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
        why = explained(error.code, error.text, None, None, "", "", realms())
        raise KerberosError(f"cannot read the Kerberos configuration: {why}") from None


def _who(login: Credentials, cache: str) -> str:
    if login.principal:
        return repr(login.principal)
    return f"the owner of {repr(cache) if cache else 'the ticket cache'}"


def _ask(
    login: Credentials,
    ask: Callable[[Session], Ticket],
    what: str,
    timeout_s: float,
) -> Ticket:
    """Calls `ask` with a session, within the deadline; explains errors.

    Args:
      what: the start of an error message; the principal follows.
    """
    load_library()  # outside the deadline: it may be missing
    keys = keys_of(login.keytab, login.principal) if login.keytab else []

    def in_session() -> Ticket:
        with Session() as session:
            return ask(session)

    try:
        return run_with_deadline(in_session, timeout_s)
    except Krb5Error as error:
        cache = "" if login.keytab else login.cache or _default_cache()
        kvnos = ", ".join(map(str, sorted({key.kvno for key in keys})))
        why = explained(
            error.code,
            error.text,
            login.principal,
            login.keytab,
            kvnos,
            cache,
            realms(),
        )
        raise KerberosError(f"{what} {_who(login, cache)}: {why}") from None
    except TimeoutError:
        who, kdcs = _who(login, ""), kdcs_text(realms(), login.principal)
        raise KerberosError(
            f"{what} {who}: no answer from KDC {kdcs} within {timeout_s:g} s; "
            "check that it runs, its port, and the firewall"
        ) from None


def _default_cache() -> str:
    """Returns the name of the default cache; "" if krb5.conf cannot be read."""
    with contextlib.suppress(Krb5Error), Session() as session:
        return session.default_cache()
    return ""
