"""Object stores on loopback for tests, each in a process of its own.

    s3_server        moto's server, one a session
    s3               the same, with its address and keys in the environment
    gs               gcp-storage-emulator, with its address in the environment
    store_settings   sets the variables of their clients, for a store of the test's own

They are skipped by these names, `s3` and `gs`, where the servers are not installed.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

SERVE_S3 = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), sep=":", flush=True)
sys.stdin.read()
"""
SERVE_GS = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True)
server.start()
print(*server._api._httpd.server_address, sep=":", flush=True)
sys.stdin.read()
server.stop()
"""
CLIENT_VARIABLES = ("AWS_", "S3_", "GOOGLE_", "STORAGE_EMULATOR_", "CLOUDSDK_")


@dataclass(frozen=True)
class S3Server:
    """A running store.

    Attributes:
      address: host:port.
      access_key, secret_key: of an account that may do everything.
    """

    address: str
    access_key: str = "poets-tests"
    secret_key: str = "a/secret+that%never&shows"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a program that uses the store."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "S3_ENDPOINT": self.address,
            "S3_USE_HTTPS": "0",
            "AWS_REGION": "us-east-1",
        }

    def client(self, service: str = "s3") -> Any:
        """Returns a client that is none of ours."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=f"http://{self.address}",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def make_bucket(self) -> str:
        """Returns the name of a new empty bucket."""
        name = f"poets-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


@contextlib.contextmanager
def _serving(code: str) -> Iterator[str]:
    """Runs a server's program; gives the host:port that it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith(CLIENT_VARIABLES)},
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(300)


@pytest.fixture(scope="session")
def s3_server(require: Callable[[str, object], None]) -> Iterator[S3Server]:
    """A running store for one test alone."""
    require(
        "s3", importlib.util.find_spec("moto") and importlib.util.find_spec("flask")
    )
    with _serving(SERVE_S3) as address:
        yield S3Server(address)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The store, for the program under test too."""
    _set_only(monkeypatch, s3_server.environment)
    return s3_server


@pytest.fixture(scope="session")
def gs_server(require: Callable[[str, object], None]) -> Iterator[str]:
    """The URL of a running store."""
    require("gs", importlib.util.find_spec("gcp_storage_emulator"))
    with _serving(SERVE_GS) as address:
        yield f"http://{address}"


@pytest.fixture
def gs(gs_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the store, which is in the environment."""
    _set_only(monkeypatch, {"STORAGE_EMULATOR_HOST": gs_server})
    return gs_server


@pytest.fixture
def store_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets variables of the clients of object stores, and unsets all others."""

    def set_only(**variables: str) -> None:
        _set_only(monkeypatch, variables)

    set_only()
    return set_only


def _set_only(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith(CLIENT_VARIABLES):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
