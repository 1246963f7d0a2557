"""Tickets from a real KDC, and why there are none: each cause with its cure."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poets.errors import ConfigError, KerberosError
from poets.kerberos import session
from poets.kerberos.keytab import KeytabError, read_keytab
from poets.kerberos.krb5_conf import krb5_conf_text
from poets.kerberos.libkrb5 import get_service_ticket, get_tgt
from poets.kerberos.login import Login

ROOT = Path(__file__).parents[2]
DAY_S = 86_400


@pytest.fixture(autouse=True)
def _clients(environment, kdc, tmp_path):
    environment.setenv("KRB5_CONFIG", str(kdc.krb5_conf))
    environment.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")  # not the user's own
    yield
    kdc.start()


@pytest.fixture
def tensorflow(keytab):
    return Login("tensorflow@LOCAL", str(keytab), None)


def told(get, *args) -> str:
    """Returns the text of the error; raises if there is a ticket."""
    with pytest.raises(KerberosError) as caught:
        get(*args)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_keytab_gets_a_ticket(tensorflow):
    ticket = get_tgt(tensorflow, 30)
    assert ticket.principal == "tensorflow@LOCAL"
    assert ticket.service == "krbtgt/LOCAL@LOCAL"
    assert abs(ticket.endtime - time.time() - DAY_S) < 300
    assert ticket.renew_till == 0


def test_a_service_ticket_tells_the_version_of_the_services_key(kdc, tensorflow):
    kdc.kadmin("cpw", "-randkey", "hdfs/localhost@LOCAL")
    (kvno,) = {
        entry.kvno
        for entry in read_keytab(str(kdc.keytab("hdfs", ["hdfs/localhost@LOCAL"])))
    }
    assert kvno > 1
    ticket = get_service_ticket(tensorflow, "hdfs/localhost", 30)
    assert (ticket.service, ticket.kvno) == ("hdfs/localhost@LOCAL", kvno)


def test_asking_leaves_no_cache_behind(tensorflow, tmp_path):
    get_service_ticket(tensorflow, "hdfs/localhost", 30)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "No credentials cache found" in told(get_tgt, Login(None, None, None), 30)


def test_a_ticket_of_kinit_is_used(kinit, tmp_path):
    kinit(tmp_path / "cc", "alice@LOCAL", "-r", "2d")
    login = Login(None, None, f"FILE:{tmp_path / 'cc'}")
    ticket = get_tgt(login, 30)
    assert ticket.principal == "alice@LOCAL"
    assert abs(ticket.renew_till - time.time() - 2 * DAY_S) < 300
    assert get_service_ticket(login, "hdfs/localhost", 30).principal == "alice@LOCAL"


def test_the_default_cache_is_that_of_the_environment(kinit, tmp_path, environment):
    kinit(tmp_path / "cc", "alice@LOCAL")
    environment.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cc'}")
    assert get_tgt(Login(None, None, None), 30).principal == "alice@LOCAL"


def test_a_cache_of_somebody_else_is_told(kinit, tmp_path):
    kinit(tmp_path / "cc", "alice@LOCAL")
    login = Login("tensorflow@LOCAL", None, f"FILE:{tmp_path / 'cc'}")
    assert told(get_tgt, login, 30) == (
        "no ticket for 'tensorflow@LOCAL': the ticket cache belongs to alice@LOCAL; "
        "run kinit again, or give a keytab (--kerberos_keytab)"
    )


def test_no_cache_is_told(tmp_path):
    login = Login(None, None, f"FILE:{tmp_path / 'none'}")
    assert told(get_tgt, login, 30) == (
        f"no ticket for the owner of 'FILE:{tmp_path / 'none'}': No credentials cache "
        f"found (filename: {tmp_path / 'none'}); run kinit, or give a principal and "
        "its keytab (--kerberos_principal, --kerberos_keytab)"
    )


def test_a_cache_that_is_none_is_told(tmp_path):
    (tmp_path / "cc").write_bytes(b"\0" * 100)
    text = told(get_tgt, Login(None, None, f"FILE:{tmp_path / 'cc'}"), 30)
    assert text.startswith(f"no ticket for the owner of 'FILE:{tmp_path / 'cc'}': ")


def test_an_expired_cache_is_told(kinit, tmp_path, wait_until):
    kinit(tmp_path / "cc", "alice@LOCAL", "-l", "2s")
    login = Login(None, None, f"FILE:{tmp_path / 'cc'}")
    end = get_tgt(login, 30).endtime
    wait_until(lambda: time.time() >= end)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end))
    for text in (
        told(get_tgt, login, 30),
        told(get_service_ticket, login, "hdfs/localhost", 30),
    ):
        assert text.endswith(
            f": Ticket expired at {when}; run kinit again, or give a keytab "
            "(--kerberos_keytab) from which tickets are renewed"
        )


@pytest.mark.parametrize("preauth", [True, False])
def test_a_stale_key_is_told_with_its_version(kdc, keytab, preauth):
    name = f"stale-{preauth}@LOCAL"
    kdc.add([name])
    kdc.kadmin("modprinc", f"{'+' if preauth else '-'}requires_preauth", name)
    old = str(kdc.keytab(f"old-{preauth}", [name]))
    assert get_tgt(Login(name, old, None), 30).principal == name
    kdc.kadmin("cpw", "-randkey", name)
    says = "Preauthentication failed" if preauth else "Decrypt integrity check failed"
    assert told(get_tgt, Login(name, old, None), 30) == (
        f"no ticket for {name!r}: {says}; the key of {name} in {old} (version 1) is "
        "not the KDC's, which may have been changed since: export the keytab anew"
    )


def test_a_principal_that_the_kdc_does_not_know_is_told(kdc):
    kdc.add(["gone@LOCAL"])
    keytab = str(kdc.keytab("gone", ["gone@LOCAL"]))
    kdc.kadmin("delprinc", "-force", "gone@LOCAL")
    assert told(get_tgt, Login("gone@LOCAL", keytab, None), 30) == (
        "no ticket for 'gone@LOCAL': Client 'gone@LOCAL' not found in Kerberos "
        f"database; the KDC {kdc.address} of realm LOCAL does not know gone@LOCAL: "
        "check name and realm, or add it there"
    )


def test_a_service_that_the_kdc_does_not_know_is_told(tensorflow):
    assert told(get_service_ticket, tensorflow, "hdfs/elsewhere", 30) == (
        "no ticket for service 'hdfs/elsewhere' as 'tensorflow@LOCAL': Server "
        "hdfs/elsewhere@LOCAL not found in Kerberos database; the server's address and "
        "the name of its service differ: use the host name that the server's own "
        "principal has"
    )


def test_a_locked_principal_is_told(kdc):
    kdc.add(["locked@LOCAL"])
    keytab = str(kdc.keytab("locked", ["locked@LOCAL"]))
    kdc.kadmin("modprinc", "-allow_tix", "locked@LOCAL")
    text = told(get_tgt, Login("locked@LOCAL", keytab, None), 30)
    assert text.endswith("; have locked@LOCAL unlocked at the KDC")


def test_an_expired_principal_is_told(kdc):
    kdc.add(["late@LOCAL"])
    keytab = str(kdc.keytab("late", ["late@LOCAL"]))
    kdc.kadmin("modprinc", "-expire", "2001-01-01", "late@LOCAL")
    text = told(get_tgt, Login("late@LOCAL", keytab, None), 30)
    assert text.endswith("; have late@LOCAL prolonged at the KDC")


def test_old_kinds_of_keys_alone_are_told(kdc, tmp_path, environment):
    kdc.kadmin("addprinc", "-randkey", "-e", "arcfour-hmac:normal", "old@LOCAL")
    keytab = str(kdc.keytab("arcfour", ["old@LOCAL"]))
    path = tmp_path / "krb5.conf"  # as current releases have it by default
    path.write_text(
        kdc.krb5_conf.read_text().replace(
            "[libdefaults]", "[libdefaults]\n  permitted_enctypes = aes"
        )
    )
    environment.setenv("KRB5_CONFIG", str(path))
    text = told(get_tgt, Login("old@LOCAL", keytab, None), 30)
    assert "make aes keys there and export the keytab anew" in text


def test_a_kdc_that_is_down_is_told_with_its_address(kdc, tensorflow):
    kdc.stop()
    start = time.monotonic()
    assert told(get_tgt, tensorflow, 30) == (
        "no ticket for 'tensorflow@LOCAL': Cannot contact any KDC for realm 'LOCAL'; "
        f"the KDC {kdc.address} of realm LOCAL cannot be reached: check that it runs, "
        "its port, and the firewall"
    )
    assert time.monotonic() - start < 20


def test_a_silent_kdc_is_waited_for_no_longer_than_asked(
    tensorflow, tmp_path, environment
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        path = tmp_path / "krb5.conf"
        path.write_text(krb5_conf_text("LOCAL", [address]))
        environment.setenv("KRB5_CONFIG", str(path))
        start = time.monotonic()
        text = told(get_tgt, tensorflow, 0.5)
        assert time.monotonic() - start < 15
    assert text == (
        f"no ticket for 'tensorflow@LOCAL': no answer from KDC {address} of realm "
        "LOCAL within 0.5 s; check that it runs, its port, and the firewall"
    )


def test_a_realm_without_a_kdc_is_told(keytab, tmp_path, environment):
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults]\ndefault_realm = LOCAL\ndns_lookup_kdc = false\n")
    environment.setenv("KRB5_CONFIG", str(path))
    text = told(get_tgt, Login("tensorflow@LOCAL", str(keytab), None), 30)
    assert text.endswith(
        "; name the KDC of realm LOCAL in krb5.conf (KRB5_CONFIG), or by "
        "service.security.kerberos.kdc"
    )


def test_a_broken_configuration_is_told(tensorflow, tmp_path, environment):
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults\n")
    environment.setenv("KRB5_CONFIG", str(path))
    text = told(get_tgt, tensorflow, 30)
    assert "mproper format of Kerberos configuration file" in text
    assert text.endswith("; mend krb5.conf (KRB5_CONFIG)")


@pytest.mark.parametrize("shift", ["+1h", "-1h"])
def test_a_clock_that_is_off_is_told(shift, kdc, keytab, tmp_path, require):
    require("faketime", shutil.which("faketime"))
    path = tmp_path / "krb5.conf"  # MIT would allow for the difference by itself
    path.write_text(
        kdc.krb5_conf.read_text().replace(
            "[libdefaults]", "[libdefaults]\n  kdc_timesync = 0"
        )
    )
    code = (
        "import sys\n"
        "from poets.kerberos.libkrb5 import get_tgt\n"
        "from poets.kerberos.login import Login\n"
        "print(get_tgt(Login('tensorflow@LOCAL', sys.argv[1], None), 30))\n"
    )
    done = subprocess.run(
        ["faketime", "-f", shift, sys.executable, "-c", code, keytab],
        cwd=ROOT,
        env={**os.environ, "KRB5_CONFIG": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert re.search(
        r"KerberosError: no ticket for 'tensorflow@LOCAL': Clock skew too great in KDC "
        rf"reply; set this machine's clock: {kdc.address} of realm LOCAL has another "
        "time$",
        done.stderr.strip(),
    )


def test_a_principal_without_a_key_is_told_before_the_kdc_is_asked(kdc, keytab):
    kdc.stop()
    with pytest.raises(KeytabError, match="has no key of 'bob@LOCAL', but of"):
        get_tgt(Login("bob@LOCAL", str(keytab), None), 30)


def test_a_name_that_is_no_principal_is_told(keytab):
    text = told(get_service_ticket, Login("alice@LOCAL", str(keytab), None), "a@b@c", 9)
    assert text.startswith("no ticket for service 'a@b@c' as 'alice@LOCAL': Malformed")


def test_a_missing_library_is_told(tensorflow, monkeypatch):
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
