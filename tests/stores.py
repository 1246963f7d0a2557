"""S3 stores of several makers: `store`, a pytest plugin.

    moto         as in tests/objects.py
    minio        MinIO, where it is on PATH
    versitygw    Versity's gateway to a folder, where it is on PATH

The last two check signatures. They are skipped by their names.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.objects import S3Server

PROGRAMS = {  # name -> its arguments, and the variables of its keys
    "minio": (
        ("server", "{folder}", "--address", "{address}"),
        ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
    ),
    "versitygw": (
        ("--port", "{address}", "posix", "{folder}"),
        ("ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY"),
    ),
}


@pytest.fixture(scope="module", params=["moto", *PROGRAMS])
def store(
    request: pytest.FixtureRequest,
    require: Callable[[str, object], None],
    wait_until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[S3Server]:
    """A running store."""
    name = request.param
    if name == "moto":
        yield request.getfixturevalue("s3_server")
        return
    require(name, shutil.which(name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = S3Server(address)
    words, (access_key, secret_key) = PROGRAMS[name]
    places = {"folder": tmp_path_factory.mktemp(name), "address": address}
    keys = {access_key: server.access_key, secret_key: server.secret_key}
    process = subprocess.Popen(
        [name, *(word.format(**places) for word in words)],
        env={**os.environ, **keys},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, f"{name} ended"
        with socket.socket() as caller:
            host, port = address.split(":")
            return caller.connect_ex((host, int(port))) == 0

    try:
        wait_until(answers, 60)
        yield server
    finally:
        process.terminate()
        process.wait(60)
