"""Tickets of caches: which are used, and why one is not, each cause with its cure."""

import socket
import time

import pytest

from poets.kerberos.libkrb5 import Login, get_service_ticket, get_tgt
from tests.kerberos.failures import failure_of

DAY_S = 86_400
NO_DAEMON = "a KCM cache is kept by a daemon (sssd-kcm), and none answers here"
pytestmark = pytest.mark.usefixtures("clients")


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


def test_asking_leaves_no_cache_behind(tensorflow, tmp_path):
    get_service_ticket(tensorflow, "hdfs/localhost", 30)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "No credentials cache found" in failure_of(get_tgt, Login(), 30)


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
    cache, found, todo, tmp_path, set_default
):
    set_default(f"kcm_socket = {tmp_path}/none")
    name = cache.format(tmp_path)
    text = failure_of(get_tgt, Login(None, None, name), 30)
    assert text.startswith(f"no ticket for the owner of {name!r}: ")
    assert found in text
    assert f"; {todo}" in text
    assert text.endswith(
        "name a cache that is a file (KRB5CCNAME=FILE:/path), or give a principal and "
        "its keytab (--kerberos_principal, --kerberos_keytab)"
    )


def test_a_default_cache_whose_daemon_is_gone_is_named(
    tmp_path, environment, set_default
):
    gone = tmp_path / "kcm"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(gone))
    set_default("default_ccache_name = KCM:", f"kcm_socket = {gone}")
    environment.delenv("KRB5CCNAME")
    text = failure_of(get_tgt, Login(), 30)
    assert text.startswith("no ticket for the owner of 'KCM:': Connection refused; ")
    assert NO_DAEMON in text
