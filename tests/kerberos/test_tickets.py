"""Tickets by keytab from a real KDC, and why there are none: causes with cures."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poets.errors import ConfigError
from poets.kerberos import session
from poets.kerberos.keytab import KeytabError, read_keytab
from poets.kerberos.krb5_conf import krb5_conf_text
from poets.kerberos.libkrb5 import Login, get_service_ticket, get_tgt
from tests.command import silent_server
from tests.kerberos.failures import failure_of

DAY_S = 86_400
pytestmark = pytest.mark.usefixtures("clients")


def test_a_keytab_gets_a_ticket(tensorflow):
    ticket = get_tgt(tensorflow, 30)
    assert ticket.principal == "tensorflow@LOCAL"
    assert ticket.service == "krbtgt/LOCAL@LOCAL"
    assert abs(ticket.endtime - time.time() - DAY_S) < 300
    # Asked a second later than it counts, the KDC makes it renewable until then.
    assert ticket.renew_till in (0, ticket.endtime + 1)


def test_a_service_ticket_has_the_version_of_the_services_key(kdc, tensorflow):
    kdc.kadmin("cpw", "-randkey", "hdfs/localhost@LOCAL")
    (kvno,) = {
        entry.kvno
        for entry in read_keytab(str(kdc.keytab("hdfs", ["hdfs/localhost@LOCAL"])))
    }
    assert kvno > 1
    ticket = get_service_ticket(tensorflow, "hdfs/localhost", 30)
    assert (ticket.service, ticket.kvno) == ("hdfs/localhost@LOCAL", kvno)


def login_of(kdc, principal: str) -> Login:
    """Adds a principal and returns its login by a keytab of its own."""
    kdc.add([principal])
    return Login(principal, str(kdc.keytab(principal, [principal])), None)


@pytest.mark.parametrize("preauth", [True, False])
def test_a_stale_key_is_reported_with_its_version(kdc, preauth):
    name = f"stale-{preauth}@LOCAL"
    old = login_of(kdc, name)
    kdc.kadmin("modprinc", f"{'+' if preauth else '-'}requires_preauth", name)
    assert get_tgt(old, 30).principal == name
    kdc.kadmin("cpw", "-randkey", name)
    says = "Preauthentication failed" if preauth else "Decrypt integrity check failed"
    assert failure_of(get_tgt, old, 30) == (
        f"no ticket for {name!r}: {says}; the key of {name} in {old.keytab} "
        "(version 1) is not the KDC's, which may have been changed since: export the "
        "keytab again"
    )


def test_a_principal_that_the_kdc_does_not_know_is_reported(kdc):
    gone = login_of(kdc, "gone@LOCAL")
    kdc.kadmin("delprinc", "-force", "gone@LOCAL")
    assert failure_of(get_tgt, gone, 30) == (
        "no ticket for 'gone@LOCAL': Client 'gone@LOCAL' not found in Kerberos "
        f"database; the KDC {kdc.address} of realm LOCAL does not know gone@LOCAL: "
        "check name and realm, or add it there"
    )


def test_a_service_that_the_kdc_does_not_know_is_reported(tensorflow):
    assert failure_of(get_service_ticket, tensorflow, "hdfs/elsewhere", 30) == (
        "no ticket for service 'hdfs/elsewhere' as 'tensorflow@LOCAL': Server "
        "hdfs/elsewhere@LOCAL not found in Kerberos database; the server's address and "
        "the name of its service differ: use the host name that the server's own "
        "principal has"
    )


def test_a_locked_principal_is_reported(kdc):
    locked = login_of(kdc, "locked@LOCAL")
    kdc.kadmin("modprinc", "-allow_tix", "locked@LOCAL")
    text = failure_of(get_tgt, locked, 30)
    assert text.endswith("; have locked@LOCAL unlocked at the KDC")


def test_an_expired_principal_is_reported(kdc):
    late = login_of(kdc, "late@LOCAL")
    kdc.kadmin("modprinc", "-expire", "2001-01-01", "late@LOCAL")
    text = failure_of(get_tgt, late, 30)
    assert text.endswith("; have the expiry of late@LOCAL extended at the KDC")


def test_old_kinds_of_keys_alone_are_reported(kdc, set_default):
    kdc.kadmin("addprinc", "-randkey", "-e", "arcfour-hmac:normal", "old@LOCAL")
    keytab = str(kdc.keytab("arcfour", ["old@LOCAL"]))
    set_default("permitted_enctypes = aes")  # current releases have it by default
    text = failure_of(get_tgt, Login("old@LOCAL", keytab, None), 30)
    assert "make aes keys there and export the keytab again" in text


def test_a_kdc_that_is_down_is_reported_with_its_address(kdc, tensorflow):
    kdc.stop()
    assert failure_of(get_tgt, tensorflow, 30) == (
        "no ticket for 'tensorflow@LOCAL': Cannot contact any KDC for realm 'LOCAL'; "
        f"the KDC {kdc.address} of realm LOCAL cannot be reached: check that it runs, "
        "its port, and the firewall"
    )


def test_a_silent_kdc_is_waited_for_no_longer_than_asked(tensorflow, write_conf):
    with silent_server() as port:
        address = f"127.0.0.1:{port}"
        write_conf(krb5_conf_text("LOCAL", [address]))
        text = failure_of(get_tgt, tensorflow, 0.5)
    assert text == (
        f"no ticket for 'tensorflow@LOCAL': no answer from KDC {address} of realm "
        "LOCAL within 0.5 s; check that it runs, its port, and the firewall"
    )


def test_a_principal_without_a_key_is_reported_before_the_kdc_is_asked(kdc, keytab):
    kdc.stop()
    with pytest.raises(KeytabError, match="has no key of 'bob@LOCAL', but of"):
        get_tgt(Login("bob@LOCAL", str(keytab), None), 30)


def test_a_name_that_is_no_principal_is_reported(keytab):
    text = failure_of(
        get_service_ticket, Login("alice@LOCAL", str(keytab), None), "a@b@c", 9
    )
    assert text.startswith("no ticket for service 'a@b@c' as 'alice@LOCAL': Malformed")


def test_a_missing_library_is_reported(tensorflow, monkeypatch):
    monkeypatch.setattr(session, "LIBRARIES", ("libno-such-krb5.so.3",))
    session.load_library.cache_clear()
    try:
        with pytest.raises(ConfigError) as caught:
            get_tgt(tensorflow, 30)
    finally:
        session.load_library.cache_clear()
    assert str(caught.value) == (
        "Kerberos needs MIT's library, and there is no libno-such-krb5.so.3 here; "
        "install it: apt-get install libgssapi-krb5-2, or yum install krb5-libs"
    )


def test_threads_ask_side_by_side(tensorflow):
    with ThreadPoolExecutor(16) as pool:
        tickets = list(
            pool.map(
                lambda _: get_service_ticket(tensorflow, "hdfs/localhost", 60),
                range(200),
            )
        )
    assert {ticket.service for ticket in tickets} == {"hdfs/localhost@LOCAL"}


def test_memory_does_not_grow_with_tickets(tensorflow):
    def resident_kb() -> int:
        text = Path("/proc/self/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1])

    for _ in range(200):
        get_service_ticket(tensorflow, "hdfs/localhost", 30)
    before = resident_kb()
    for _ in range(1000):
        get_service_ticket(tensorflow, "hdfs/localhost", 30)
    assert resident_kb() - before < 2000  # a ticket and its keys have some 2 kB
