"""A KDC of each module's own, which its tests may break, and a clean environment."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poets.kerberos import login
from poets.kerberos.libkrb5 import Login
from poets.kerberos.settings import VARIABLES
from tools.kdc.local import LocalKdc
from tools.packages import missing_packages

PRINCIPALS = ["tensorflow@LOCAL", "alice@LOCAL", "hdfs/localhost@LOCAL"]


@pytest.fixture(scope="module")
def kdc(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[str, object], None]
) -> Iterator[LocalKdc]:
    """A running KDC with three principals; shared by the tests of a module."""
    require("kdc", not missing_packages(["krb5"]))
    kdc = LocalKdc(tmp_path_factory.mktemp("kdc"), port=0)
    kdc.start()
    kdc.add(PRINCIPALS)
    yield kdc
    kdc.remove()


@pytest.fixture
def keytab(kdc: LocalKdc) -> Path:
    """A keytab with the keys that `kdc` has now."""
    return kdc.keytab("keytab", PRINCIPALS)


@pytest.fixture
def environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """No Kerberos in the environment, and a temporary folder of the test's own."""
    for name in (*VARIABLES, "POETS_KERBEROS_DIR"):
        # Set first, so that what the code sets later is undone as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    # The tests do not use a ticket cache of the user who runs them.
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "no-krb5.conf"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield monkeypatch
    login.close()


@pytest.fixture
def kinit(kdc: LocalKdc, keytab: Path) -> Callable[..., None]:
    """Puts a ticket of a principal into a cache, as `kinit(cache, principal, ...)`."""

    def run(cache: Path | str, principal: str, *options: str) -> None:
        subprocess.run(
            ["kinit", "-k", "-t", keytab, "-c", cache, *options, principal],
            env={"KRB5_CONFIG": str(kdc.krb5_conf), "PATH": "/usr/bin:/bin"},
            check=True,
            timeout=300,
        )

    return run


@pytest.fixture
def clients(
    environment: pytest.MonkeyPatch, kdc: LocalKdc, tmp_path: Path
) -> Iterator[None]:
    """Clients ask `kdc`, and have no ticket; a KDC that a test stops runs after it."""
    environment.setenv("KRB5_CONFIG", str(kdc.krb5_conf))
    environment.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")  # not the user's own
    yield
    kdc.start()


@pytest.fixture
def tensorflow(keytab: Path) -> Login:
    """The login of `tensorflow` by its keytab."""
    return Login("tensorflow@LOCAL", str(keytab), None)


@pytest.fixture
def write_conf(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], Path]:
    """Makes a text the krb5.conf of the clients and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "krb5.conf"
        path.write_text(text)
        environment.setenv("KRB5_CONFIG", str(path))
        return path

    return write


@pytest.fixture
def set_default(
    kdc: LocalKdc, write_conf: Callable[[str], Path]
) -> Callable[..., None]:
    """Adds lines to [libdefaults] of the krb5.conf that `kdc` has made."""

    def add(*lines: str) -> None:
        text = kdc.krb5_conf.read_text()
        more = "\n  ".join(["[libdefaults]", *lines])
        write_conf(text.replace("[libdefaults]", more))

    return add
