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
from poets.kerberos.libkrb5 import Login, check_conf, get_service_ticket, get_tgt

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


def failure_of(get, *args) -> str:
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


def test_asking_leaves_no_cache_behind(tensorflow, tmp_path):
    get_service_ticket(tensorflow, "hdfs/localhost", 30)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "No credentials cache found" in failure_of(get_tgt, Login(), 30)


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
    assert get_tgt(Login(), 30).principal == "alice@LOCAL"


def test_a_cache_of_somebody_else_is_reported(kinit, tmp_path):
    kinit(tmp_path / "cc", "alice@LOCAL")
    login = Login("tensorflow@LOCAL", None, f"FILE:{tmp_path / 'cc'}")
    assert failure_of(get_tgt, login, 30) == (
        "no ticket for 'tensorflow@LOCAL': the ticket cache belongs to alice@LOCAL; "
        "run kinit again, or give a keytab (--kerberos_keytab)"
    )


def test_no_cache_is_reported(tmp_path):
    login = Login(None, None, f"FILE:{tmp_path / 'none'}")
    assert failure_of(get_tgt, login, 30) == (
        f"no ticket for the owner of 'FILE:{tmp_path / 'none'}': No credentials cache "
        f"found (filename: {tmp_path / 'none'}); run kinit, or give a principal and "
        "its keytab (--kerberos_principal, --kerberos_keytab)"
    )


def test_a_cache_that_is_none_is_reported(tmp_path):
    (tmp_path / "cc").write_bytes(b"\0" * 100)
    text = failure_of(get_tgt, Login(None, None, f"FILE:{tmp_path / 'cc'}"), 30)
    assert text.startswith(f"no ticket for the owner of 'FILE:{tmp_path / 'cc'}': ")


def test_an_expired_cache_is_reported(kinit, tmp_path, wait_until):
    kinit(tmp_path / "cc", "alice@LOCAL", "-l", "2s")
    login = Login(None, None, f"FILE:{tmp_path / 'cc'}")
    end = get_tgt(login, 30).endtime
    wait_until(lambda: time.time() >= end + 2)  # by the KDC's clock, in whole seconds
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end))
    for text in (
        failure_of(get_tgt, login, 30),
        failure_of(get_service_ticket, login, "hdfs/localhost", 30),
    ):
        assert text.endswith(
            "; run kinit again, or give a keytab (--kerberos_keytab) from which "
            "tickets are renewed; if it is not that late, set this machine's clock"
        )
        assert f": Ticket expired at {when}, now it is 20" in text


@pytest.mark.parametrize("preauth", [True, False])
def test_a_stale_key_is_reported_with_its_version(kdc, keytab, preauth):
    name = f"stale-{preauth}@LOCAL"
    kdc.add([name])
    kdc.kadmin("modprinc", f"{'+' if preauth else '-'}requires_preauth", name)
    old = str(kdc.keytab(f"old-{preauth}", [name]))
    assert get_tgt(Login(name, old, None), 30).principal == name
    kdc.kadmin("cpw", "-randkey", name)
    says = "Preauthentication failed" if preauth else "Decrypt integrity check failed"
    assert failure_of(get_tgt, Login(name, old, None), 30) == (
        f"no ticket for {name!r}: {says}; the key of {name} in {old} (version 1) is "
        "not the KDC's, which may have been changed since: export the keytab again"
    )


def test_a_principal_that_the_kdc_does_not_know_is_reported(kdc):
    kdc.add(["gone@LOCAL"])
    keytab = str(kdc.keytab("gone", ["gone@LOCAL"]))
    kdc.kadmin("delprinc", "-force", "gone@LOCAL")
    assert failure_of(get_tgt, Login("gone@LOCAL", keytab, None), 30) == (
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
    kdc.add(["locked@LOCAL"])
    keytab = str(kdc.keytab("locked", ["locked@LOCAL"]))
    kdc.kadmin("modprinc", "-allow_tix", "locked@LOCAL")
    text = failure_of(get_tgt, Login("locked@LOCAL", keytab, None), 30)
    assert text.endswith("; have locked@LOCAL unlocked at the KDC")


def test_an_expired_principal_is_reported(kdc):
    kdc.add(["late@LOCAL"])
    keytab = str(kdc.keytab("late", ["late@LOCAL"]))
    kdc.kadmin("modprinc", "-expire", "2001-01-01", "late@LOCAL")
    text = failure_of(get_tgt, Login("late@LOCAL", keytab, None), 30)
    assert text.endswith("; have the expiry of late@LOCAL extended at the KDC")


def test_old_kinds_of_keys_alone_are_reported(kdc, tmp_path, environment):
    kdc.kadmin("addprinc", "-randkey", "-e", "arcfour-hmac:normal", "old@LOCAL")
    keytab = str(kdc.keytab("arcfour", ["old@LOCAL"]))
    path = tmp_path / "krb5.conf"  # as current releases have it by default
    path.write_text(
        kdc.krb5_conf.read_text().replace(
            "[libdefaults]", "[libdefaults]\n  permitted_enctypes = aes"
        )
    )
    environment.setenv("KRB5_CONFIG", str(path))
    text = failure_of(get_tgt, Login("old@LOCAL", keytab, None), 30)
    assert "make aes keys there and export the keytab again" in text


def test_a_kdc_that_is_down_is_reported_with_its_address(kdc, tensorflow):
    kdc.stop()
    assert failure_of(get_tgt, tensorflow, 30) == (
        "no ticket for 'tensorflow@LOCAL': Cannot contact any KDC for realm 'LOCAL'; "
        f"the KDC {kdc.address} of realm LOCAL cannot be reached: check that it runs, "
        "its port, and the firewall"
    )


def test_a_silent_kdc_is_waited_for_no_longer_than_asked(
    tensorflow, tmp_path, environment
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        path = tmp_path / "krb5.conf"
        path.write_text(krb5_conf_text("LOCAL", [address]))
        environment.setenv("KRB5_CONFIG", str(path))
        text = failure_of(get_tgt, tensorflow, 0.5)
    assert text == (
        f"no ticket for 'tensorflow@LOCAL': no answer from KDC {address} of realm "
        "LOCAL within 0.5 s; check that it runs, its port, and the firewall"
    )


def test_a_realm_without_a_kdc_is_reported(keytab, tmp_path, environment):
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults]\ndefault_realm = LOCAL\ndns_lookup_kdc = false\n")
    environment.setenv("KRB5_CONFIG", str(path))
    text = failure_of(get_tgt, Login("tensorflow@LOCAL", str(keytab), None), 30)
    assert text.endswith(
        "; name the KDC of realm LOCAL in krb5.conf (KRB5_CONFIG), or by "
        "service.security.kerberos.kdc"
    )


def test_a_broken_configuration_is_reported(tensorflow, tmp_path, environment):
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults\n")
    environment.setenv("KRB5_CONFIG", str(path))
    text = failure_of(get_tgt, tensorflow, 30)
    assert text.endswith(
        f"mproper format of Kerberos configuration file: {str(path)!r}, line 1: "
        "'[libdefaults' has no ']'; write it as [name]"
    )


@pytest.fixture
def asked_at(require):
    """Asks for a ticket by a clock that is off; returns the last line it printed."""
    require("faketime", shutil.which("faketime"))
    code = (
        "import sys\n"
        "from poets.kerberos.libkrb5 import Login, get_tgt\n"
        "from poets.errors import KerberosError\n"
        "try:\n"
        "    print(get_tgt(Login(*[word or None for word in sys.argv[1:]]), 30))\n"
        "except KerberosError as error:\n"
        "    print(error)\n"
    )

    def ask(shift: str, *words: object) -> str:
        done = subprocess.run(
            ["faketime", "-f", shift, sys.executable, "-c", code, *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return ask


@pytest.mark.parametrize("shift", ["+1h", "-1h"])
def test_a_clock_that_is_off_is_reported(
    shift, kdc, keytab, tmp_path, environment, asked_at
):
    path = tmp_path / "krb5.conf"  # MIT would allow for the difference by itself
    path.write_text(
        kdc.krb5_conf.read_text().replace(
            "[libdefaults]", "[libdefaults]\n  kdc_timesync = 0"
        )
    )
    environment.setenv("KRB5_CONFIG", str(path))
    assert asked_at(shift, "tensorflow@LOCAL", keytab, "") == (
        "no ticket for 'tensorflow@LOCAL': Clock skew too great in KDC reply; set this "
        f"machine's clock: {kdc.address} of realm LOCAL has another time"
    )


@pytest.mark.parametrize("shift", ["-25h", "-400d"])
def test_a_clock_that_is_a_day_behind_is_reported_with_both_times(
    shift, kdc, keytab, asked_at
):
    assert re.fullmatch(
        r"no ticket for 'tensorflow@LOCAL': it is [-0-9]+ [:0-9]+ here, and "
        r"[-0-9]+ [:0-9]+ at the KDC; set this machine's clock: "
        rf"{kdc.address} of realm LOCAL has another time",
        asked_at(shift, "tensorflow@LOCAL", keytab, ""),
    )


@pytest.mark.parametrize("shift", ["-23h", "+25h"])
def test_a_clock_that_the_library_allows_for_is_no_fault(shift, keytab, asked_at):
    assert asked_at(shift, "tensorflow@LOCAL", keytab, "").startswith("Ticket(")


@pytest.mark.parametrize(
    ("shift", "found"),
    [
        (
            "-25h",
            r"Ticket not valid before .*, now it is .*; set this machine's clock: ",
        ),
        (
            "+25h",
            r"Ticket expired at .*, now it is .*; run kinit again, .* set this mac",
        ),
    ],
)
def test_a_clock_that_does_not_fit_the_cache_is_reported(
    shift, found, kinit, tmp_path, asked_at
):
    kinit(tmp_path / "cc", "alice@LOCAL")
    assert re.search(f": {found}", asked_at(shift, "", "", f"FILE:{tmp_path}/cc"))


def test_a_ticket_that_ended_before_it_began_is_a_matter_of_the_clock(
    keytab, tmp_path, asked_at
):
    cache = f"FILE:{tmp_path}/cc"
    words = ["faketime", "-f", "-25h", "kinit", "-k", "-t", keytab, "-c", cache]
    subprocess.run([*words, "alice@LOCAL"], check=True, timeout=60)
    text = asked_at("-25h", "", "", cache)
    assert re.search("Ticket expired at .*, before it began at .*; set this mach", text)


NO_DAEMON = "a KCM cache is kept by a daemon (sssd-kcm), and none answers here"


@pytest.mark.parametrize(
    ("cache", "found", "todo"),
    [
        ("KCM:", "No KCM server found", NO_DAEMON),
        ("KEYRING:session:none", "not found", "a KEYRING cache is in the kernel's"),
        ("DIR:{}/none", "No credentials cache found", "a DIR cache is a folder, in"),
        ("MEMORY:none", "No credentials cache found", "a MEMORY cache ends with"),
        ("API:", "Unknown credential cache type", "this library has no caches of that"),
        ("FILE:{}", "Bad format in credentials cache", "it is not a ticket cache: "),
    ],
)
def test_a_cache_of_another_kind_is_reported_with_its_own_cure(
    cache, found, todo, kdc, tmp_path, environment
):
    path = tmp_path / "krb5.conf"
    text = kdc.krb5_conf.read_text()
    socket_of = f"[libdefaults]\n  kcm_socket = {tmp_path}/none"
    path.write_text(text.replace("[libdefaults]", socket_of))
    environment.setenv("KRB5_CONFIG", str(path))
    name = cache.format(tmp_path)
    text = failure_of(get_tgt, Login(None, None, name), 30)
    assert text.startswith(f"no ticket for the owner of {name!r}: ")
    assert found in text
    assert f"; {todo}" in text
    assert text.endswith(
        "name a cache that is a file (KRB5CCNAME=FILE:/path), or give a principal and "
        "its keytab (--kerberos_principal, --kerberos_keytab)"
    )


def test_a_default_cache_whose_daemon_is_gone_is_named(kdc, tmp_path, environment):
    gone = tmp_path / "kcm"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(gone))
    added = f"[libdefaults]\n  default_ccache_name = KCM:\n  kcm_socket = {gone}"
    path = tmp_path / "krb5.conf"
    path.write_text(kdc.krb5_conf.read_text().replace("[libdefaults]", added))
    environment.setenv("KRB5_CONFIG", str(path))
    environment.delenv("KRB5CCNAME")
    text = failure_of(get_tgt, Login(), 30)
    assert text.startswith("no ticket for the owner of 'KCM:': Connection refused; ")
    assert NO_DAEMON in text


@pytest.mark.parametrize(
    ("line", "found", "todo"),
    [
        (
            "includedir TMP/none.d/",
            "includedir 'TMP/none.d/' cannot be read: no such file or directory",
            "make that folder, mount it here too, or remove the line",
        ),
        (
            "includedir TMP/krb5.conf",
            "includedir 'TMP/krb5.conf' cannot be read: not a directory",
            "make that folder, mount it here too, or remove the line",
        ),
        (
            "include TMP/none",
            "include 'TMP/none' cannot be read: no such file or directory",
            "make that file, mount it here too, or remove the line",
        ),
        (
            "include",
            "include '' cannot be read: no such file or directory",
            "make that file, mount it here too, or remove the line",
        ),
        (
            "default_realm LOCAL",
            "'default_realm LOCAL' is not 'name = value'",
            "correct",
        ),
        ("two words = x", "'two words = x' is not 'name = value'", "correct"),
        ("}", "'}' closes nothing", "remove it"),
        ("[realms", "'[realms' has no ']'", "write it as [name]"),
        ("x = {\n[y]", "'[y]' is inside 'x'", "close that with }"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_line_that_the_library_refuses_is_named(
    line, found, todo, nested, kdc, tmp_path, environment, tensorflow
):
    path = faulty = tmp_path / "krb5.conf"
    if nested:
        faulty = tmp_path / "more.d" / "more"
        faulty.parent.mkdir()
        path.write_text(f"includedir {faulty.parent}\n{kdc.krb5_conf.read_text()}")
    text = f"# of the site\n[libdefaults]\n{line}\n".replace("TMP", str(tmp_path))
    faulty.write_text(text)
    environment.setenv("KRB5_CONFIG", str(path))
    expected = f"{str(faulty)!r}, line {text.count(chr(10))}: {found}; {todo}"
    expected = expected.replace("TMP", str(tmp_path))
    for ask in (
        lambda: failure_of(get_tgt, tensorflow, 30),
        lambda: failure_of(check_conf),
    ):
        assert expected in ask()


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
