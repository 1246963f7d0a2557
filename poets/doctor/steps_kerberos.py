"""The Kerberos steps: our keys, the KDC that knows them, tickets and their end.

    token    Hadoop's; without one:

    keytab ─> krb5.conf ─> KDC ─> ticket ─> …                    ticket lifetime
    whose     realm,       TCP    it accepts the server's own    longer than
    keys      KDCs                our key    ticket, its port    the job

Without Kerberos, all of them are left out; with a token, those of tickets.
"""

import functools
import os
import time
from datetime import datetime

from poets.doctor import Check, Checkup, Finding, StepError, step
from poets.doctor.network import reach
from poets.doctor.security import is_secure, token_of, why_no_token
from poets.errors import KerberosError
from poets.kerberos.causes import realm_of
from poets.kerberos.keytab import keys_of, mode_open_to_others
from poets.kerberos.krb5_conf import DEFAULT_PATH, Krb5Conf, realms
from poets.kerberos.libkrb5 import check_conf, get_tgt
from poets.kerberos.login import current_login
from poets.kerberos.session import Ticket
from poets.kerberos.tokens import TOKEN_FILE, read_tokens
from poets.storage.calls import allowed_s


def with_kerberos(check: Check) -> Check:
    """Returns the check, left out if no ticket is needed."""

    @functools.wraps(check)
    def checked(checkup: Checkup) -> Finding:
        if not is_secure(checkup):
            return Finding("no Kerberos is used", applies=False)
        if token_of(checkup):
            return Finding("a delegation token is used", applies=False)
        return check(checkup)

    return checked


@step("token", "a delegation token is for this cluster, or none is")
def find_token(checkup: Checkup) -> Finding:
    """Finds the delegation token that YARN, Spark or Oozie gave to the job."""
    path, token = os.environ.get(TOKEN_FILE, ""), token_of(checkup)
    if token is None:
        login = current_login()
        if login is not None and login.principal:
            given = f"{TOKEN_FILE} is set, but the principal {login.principal} is given"
            return Finding(given, applies=False)
        return Finding(why_no_token(checkup), applies=False)
    details = [f"from {path}", f"issued at {_clock(token.issued_s)}, {token.kind}"]
    if token.real_user and token.real_user != token.owner:
        details.append(f"got by {token.real_user} for {token.owner}")
    details.append(
        f"{token.renewer} may renew it"
        if token.renewer
        else "nobody may renew it: it usually ends a day after its issue"
    )
    others = [held.service for held in read_tokens(path) if held != token]
    if others:
        details.append(f"other tokens there: for {', '.join(others)}")
    details += _open_to_others(path)
    return Finding(
        f"of {token.owner} for {token.service}, until {_clock(token.ends_s)} at most",
        tuple(details),
    )


@step("krb5.conf", "realm and KDC are known")
@with_kerberos
def find_krb5_conf(checkup: Checkup) -> Finding:
    """Finds the realm and its KDCs."""
    current_login()  # it sets KRB5_CONFIG
    conf = realms()
    check_conf()
    if not conf.files:
        path = os.environ.get("KRB5_CONFIG") or DEFAULT_PATH
        raise StepError(
            f"no krb5.conf at {path!r}",
            "set KRB5_CONFIG to the site's file, or give realm and KDC "
            "(SECURITY_KERBEROS_REALM, _KDC_HOSTNAME and _KDC_PORT)",
        )
    realm = _realm(conf)
    if not realm:
        raise StepError(
            f"no default_realm in {' and '.join(conf.files)!r}",
            "set it there, or give the principal with its realm, as name@REALM",
        )
    kdcs = ", ".join(f"{host}:{port}" for host, port in conf.kdcs.get(realm, []))
    return Finding(
        f"realm {realm}, " + (f"KDC {kdcs}" if kdcs else "KDC by DNS"),
        tuple(f"from {path}" for path in conf.files),
    )


@step("KDC", "a KDC of the realm accepts connections")
@with_kerberos
def reach_kdc(checkup: Checkup) -> Finding:
    """Connects to the realm's KDCs until one accepts."""
    conf = realms()
    realm = _realm(conf)
    kdcs = conf.kdcs.get(realm or "", [])
    if not kdcs:
        return Finding(f"no KDC of {realm} is named: DNS is asked", applies=False)
    return reach(
        kdcs,
        f"the KDC of {realm}",
        "check whether it is up, whether host and port in krb5.conf are right, and "
        "whether a firewall blocks it",
    )


@step("keytab", "the keytab has the principal's keys")
@with_kerberos
def check_keytab(checkup: Checkup) -> Finding:
    """Checks that the keytab holds our keys."""
    login = current_login()
    if login is None or not login.keytab:
        return Finding("none is given: the ticket cache is used", applies=False)
    kvnos = {key.kvno for key in keys_of(login.keytab, login.principal)}
    return Finding(
        f"{login.keytab} has the key of {login.principal}, "
        f"version {', '.join(map(str, sorted(kvnos)))}",
        _open_to_others(login.keytab),
    )


@step("ticket", "the KDC gives the principal a ticket")
@with_kerberos
def get_ticket(checkup: Checkup) -> Finding:
    """Gets the ticket-granting ticket."""
    ticket = _ticket(checkup)
    return Finding(
        f"ticket of {ticket.principal} until {_clock(ticket.endtime)}",
        (f"can be renewed until {_clock(ticket.renew_till)}",)
        if ticket.renew_till > ticket.endtime
        else (),
    )


@step("ticket lifetime", "the job ends before its ticket")
def check_lifetime(checkup: Checkup) -> Finding:
    """Compares the end of the ticket or token with that of the job."""
    if (token := token_of(checkup)) is None:
        return _check_ticket_lifetime(checkup)
    left_s = token.ends_s - time.time()
    if left_s < checkup.job_s:
        raise StepError(
            f"the delegation token of {token.owner} ends at {_clock(token.ends_s)}, in "
            f"{_duration(left_s)}, and the job may take {_duration(checkup.job_s)}",
            "get a new one (hdfs fetchdt), or give a keytab (--kerberos_keytab)",
        )
    return Finding(f"{_duration(left_s)} at most, until {_clock(token.ends_s)}")


@with_kerberos
def _check_ticket_lifetime(checkup: Checkup) -> Finding:
    login = current_login()
    if login is not None and login.keytab:
        return Finding("any: the keytab gets new tickets")
    ticket = _ticket(checkup)
    if ticket.left_s < checkup.job_s:
        raise StepError(
            f"the ticket of {ticket.principal} ends at {_clock(ticket.endtime)}, in "
            f"{_duration(ticket.left_s)}, and the job may take "
            f"{_duration(checkup.job_s)}",
            "give a keytab (--kerberos_keytab), which gets new tickets",
        )
    return Finding(f"{_duration(ticket.left_s)}, until {_clock(ticket.endtime)}")


def _ticket(checkup: Checkup) -> Ticket:
    try:
        return get_tgt(current_login(), allowed_s())
    except KerberosError as error:
        if why := why_no_token(checkup):
            cure = f"get a token for it (hdfs fetchdt), or {StepError.of(error).cure}"
            raise StepError(f"{why}; {StepError.of(error).found}", cure) from error
        raise


def _realm(conf: Krb5Conf) -> str | None:
    login = current_login()
    return realm_of(login.principal if login else None) or conf.default_realm


def _open_to_others(path: str) -> tuple[str, ...]:
    """Returns a line on a file with secrets that others may read; () for a safe one."""
    mode = mode_open_to_others(path)
    return (f"others may read it (mode {mode:04o}): chmod 600 {path}",) if mode else ()


def _clock(time_s: float) -> str:
    """Returns a local time, with its date unless it is today."""
    then = datetime.fromtimestamp(time_s)
    today = then.date() == datetime.now().date()
    return then.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 0):.0f} s"
