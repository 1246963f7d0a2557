"""Logging in: caches of one's own, tickets that renew themselves, no secret shown."""

import importlib.util
import logging
import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from poets.errors import KerberosError
from poets.kerberos.libkrb5 import get_tgt
from poets.kerberos.login import Login, close, current_login

ROOT = Path(__file__).parents[2]


@pytest.fixture
def logged_in(environment, kdc, keytab):
    """Sets the variables by which tensorflow logs in."""
    environment.setenv("KRB5_CONFIG", str(kdc.krb5_conf))
    environment.setenv("POETS_KERBEROS_PRINCIPAL", "tensorflow@LOCAL")
    environment.setenv("KRB5_CLIENT_KTNAME", str(keytab))
    yield environment
    kdc.start()


def the_login() -> Login:
    login = current_login()
    assert login is not None
    return login


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def run(code: str) -> str:
    """Runs Python in another process and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import os\nfrom poets.kerberos.login "
         f"import close, current_login\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nobody_logs_in_unasked(environment):
    assert current_login() is None
    assert "POETS_KERBEROS_DIR" not in os.environ


def test_a_keytab_has_a_private_cache(logged_in, keytab):
    login = the_login()
    folder = Path(os.environ["POETS_KERBEROS_DIR"])
    assert login == Login("tensorflow@LOCAL", str(keytab), os.environ["KRB5CCNAME"])
    assert login.cache is not None
    assert re.fullmatch(
        rf"FILE:{re.escape(str(folder))}/ccache\.{os.getpid()}\.\d+", login.cache
    )
    login.refresh_cache()
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert current_login() is login


def test_a_task_logs_in_by_its_options(environment, kdc, tmp_path):
    (tmp_path / "hdfs.keytab").write_bytes(
        kdc.keytab("task", ["tensorflow@LOCAL"]).read_bytes()
    )
    host, port = kdc.address.split(":")
    environment.setenv("MESOS_SANDBOX", str(tmp_path))
    for name, value in {
        "ENABLED": "true",
        "PRIMARY": "tensorflow",
        "REALM": "LOCAL",
        "KDC_HOSTNAME": host,
        "KDC_PORT": port,
    }.items():
        environment.setenv(f"SECURITY_KERBEROS_{name}", value)
    login = the_login()
    assert login.keytab == str(tmp_path / "hdfs.keytab")
    assert os.environ["KRB5_CLIENT_KTNAME"] == login.keytab
    conf = Path(os.environ["KRB5_CONFIG"])
    assert conf.parent == Path(os.environ["POETS_KERBEROS_DIR"])
    assert get_tgt(login, 30).principal == "tensorflow@LOCAL"
    child = run("print(current_login().cache, os.environ['KRB5_CONFIG'])")
    cache, used = child.split()
    assert used == str(conf)
    assert Path(cache.removeprefix("FILE:")).parent == conf.parent
    assert cache != login.cache
    assert conf.exists()


def test_an_existing_cache_is_left_alone(environment, kdc, kinit, tmp_path):
    cache = tmp_path / "cc"
    kinit(cache, "alice@LOCAL")
    before = cache.read_bytes()
    environment.setenv("KRB5CCNAME", f"FILE:{cache}")
    login = the_login()
    assert login == Login(None, None, f"FILE:{cache}")
    assert login.owner() == "alice@LOCAL"
    assert login.refresh_cache().principal == "alice@LOCAL"
    login.keep_fresh()
    close()
    assert cache.read_bytes() == before
    assert os.environ["KRB5CCNAME"] == f"FILE:{cache}"
    assert "POETS_KERBEROS_DIR" not in os.environ


def test_a_cache_that_is_not_there_has_no_owner(environment, tmp_path):
    environment.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
    assert the_login().owner() is None


def test_another_principal_gets_another_cache(logged_in):
    first = the_login()
    logged_in.setenv("POETS_KERBEROS_PRINCIPAL", "alice@LOCAL")
    second = the_login()
    assert second.principal == "alice@LOCAL"
    assert second.cache != first.cache
    assert first.refresh_cache().principal == "tensorflow@LOCAL"
    assert second.refresh_cache().principal == "alice@LOCAL"


def test_after_close_nothing_is_left(logged_in, keytab, tmp_path):
    first = the_login()
    first.refresh_cache()
    close()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "KRB5CCNAME" not in os.environ
    assert "POETS_KERBEROS_DIR" not in os.environ
    assert os.environ["KRB5_CLIENT_KTNAME"] == str(keytab)
    close()
    again = the_login()
    assert again.cache != first.cache
    assert again.refresh_cache().principal == "tensorflow@LOCAL"


def test_a_folder_that_was_cleaned_away_is_told(logged_in):
    login = the_login()
    Path(os.environ["POETS_KERBEROS_DIR"]).rmdir()
    with pytest.raises(
        KerberosError,
        match="no place for tickets of 'tensorflow@LOCAL': the folder of .* is gone; "
        "start again, and keep others from cleaning it away",
    ):
        login.refresh_cache()


@pytest.mark.parametrize(("bits", "warns"), [(0o600, 0), (0o400, 0), (0o640, 1)])
def test_a_keytab_open_to_others_is_warned_about_once(
    bits, warns, logged_in, keytab, caplog
):
    keytab.chmod(bits)
    for _ in range(3):
        the_login()
    said = [
        record.message for record in caplog.records if record.levelname == "WARNING"
    ]
    assert said == warns * [
        f"keytab {keytab} is open to others (mode {bits:04o}), who could act as its "
        "principals; chmod 600 it"
    ]
    child = "import logging\nlogging.basicConfig()\ncurrent_login()"
    done = subprocess.run(
        [sys.executable, "-c", f"from poets.kerberos.login import *\n{child}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "open to others" not in done.stderr


def test_a_reader_never_finds_the_cache_empty(logged_in):
    login = the_login()
    login.refresh_cache()
    reader = Login(None, None, login.cache)
    stop = threading.Event()
    failures = []

    def read():
        while not stop.is_set():
            try:
                get_tgt(reader, 30)
            except KerberosError as error:
                failures.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for _ in range(100):
        login.refresh_cache()
    stop.set()
    for thread in readers:
        thread.join(300)
    assert failures == []


@pytest.fixture
def short(kdc, logged_in):
    """Logs in as one whose tickets last 3 seconds."""
    kdc.add(["short@LOCAL"], max_life="3s")
    keytab = kdc.keytab("short", ["short@LOCAL"])
    logged_in.setenv("POETS_KERBEROS_PRINCIPAL", "short@LOCAL")
    logged_in.setenv("KRB5_CLIENT_KTNAME", str(keytab))
    return the_login()


def test_a_cache_is_kept_fresh_beyond_its_tickets(short, wait_until):
    short.keep_fresh()
    short.keep_fresh()
    threads = [t for t in threading.enumerate() if t.name == "tickets of short@LOCAL"]
    assert len(threads) == 1
    assert threads[0].daemon
    reader = Login(None, None, short.cache)
    start = time.time()
    ends = set()

    def beyond_two_lives():
        ends.add(get_tgt(reader, 30).endtime)  # raises once it has expired
        return time.time() > start + 7

    wait_until(beyond_two_lives)
    assert len(ends) >= 3
    close()
    threads[0].join(300)
    assert not threads[0].is_alive()


def is_fresh(login: Login) -> bool:
    """Whether the cache has a ticket that has not expired."""
    try:
        get_tgt(Login(None, None, login.cache), 30)
    except KerberosError as error:
        if "Ticket expired" not in str(error):
            raise
        return False
    return True


def test_a_kdc_that_is_away_for_a_while_is_warned_about_once(
    kdc, short, wait_until, caplog
):
    short.keep_fresh()
    kdc.stop()
    wait_until(lambda: not is_fresh(short))
    kdc.start()
    wait_until(lambda: is_fresh(short))
    (said,) = caplog.messages
    assert said.startswith(
        "the ticket is not renewed: no ticket for 'short@LOCAL': Cannot contact any KDC"
    )


def test_a_keytab_that_is_away_for_a_while_is_warned_about_once(
    short, wait_until, caplog, tmp_path
):
    short.keep_fresh()
    keytab = Path(short.keytab).rename(tmp_path / "away")
    wait_until(lambda: not is_fresh(short))
    keytab.rename(short.keytab)
    wait_until(lambda: is_fresh(short))
    assert caplog.messages == [
        f"the ticket is not renewed: cannot read keytab {short.keytab!r}: no such file "
        "or directory; check the path, and that this user may read it"
    ]


def test_keep_fresh_tells_at_once_that_there_is_no_ticket(kdc, short):
    kdc.stop()
    with pytest.raises(KerberosError, match="Cannot contact any KDC"):
        short.keep_fresh()


def test_gssapi_renews_by_the_variables_alone(short, require, wait_until):
    require("gssapi", importlib.util.find_spec("gssapi"))
    import gssapi

    def lifetime_s():
        return gssapi.Credentials(usage="initiate").lifetime

    # As hdfs-native and requests do: a new credential for each connection.
    assert 0 <= lifetime_s() <= 3
    end = time.time() + 5
    wait_until(lambda: time.time() > end)
    assert 0 <= lifetime_s() <= 3
    owner = gssapi.Credentials(usage="initiate").name
    assert str(owner) == "short@LOCAL"


def test_no_key_is_shown_or_left(logged_in, kdc, keytab, caplog, tmp_path):
    listed = subprocess.run(
        ["klist", "-k", "-K", keytab], capture_output=True, text=True, check=True
    )
    keys = [bytes.fromhex(k) for k in re.findall(r"0x([0-9a-f]{32,})", listed.stdout)]
    assert len(keys) == 6
    caplog.set_level(logging.DEBUG)
    keytab.chmod(0o644)
    login = the_login()
    login.refresh_cache()
    kdc.stop()
    with pytest.raises(KerberosError) as caught:
        login.refresh_cache()
    shown = "\n".join(
        [caplog.text, repr(login), repr(caught.value), *map(str, os.environ.items())]
    )
    folder = Path(os.environ["POETS_KERBEROS_DIR"])
    files = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(keytab) in shown
    for key in keys:
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
        assert key not in files
