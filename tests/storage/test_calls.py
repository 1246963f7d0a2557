"""Deadlines and further tries."""

import errno
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from poets.errors import ConfigError, NotAuthenticatedError
from poets.storage import calls
from poets.storage.calls import allowed_s, call, deadline, shorten

URL = "hdfs://there/graph"


@pytest.fixture(autouse=True)
def _pauses(monkeypatch):
    """Pauses of a thousandth, and no deadline of this machine."""
    monkeypatch.delenv("POETS_STORAGE_TIMEOUT_S", raising=False)
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", calls.FIRST_PAUSE_S / 1000)
    monkeypatch.setattr(calls, "LONGEST_PAUSE_S", calls.LONGEST_PAUSE_S / 1000)


class Server:
    """Fails with each of `errors`, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.requests = 0

    def ask(self, *args: object) -> object:
        self.requests += 1
        if self.errors:
            raise self.errors.pop(0)
        return args


def ask(server: Server, repeat: bool = True) -> object:
    return call(server.ask, 1, 2, what="asking", url=URL, repeat=repeat)


def refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens", URL)


def broken() -> OSError:
    return ConnectionError(errno.ECONNRESET, "it broke", URL)


def test_an_answer_is_returned():
    server = Server()
    assert ask(server) == (1, 2)
    assert server.requests == 1


def test_a_lost_connection_is_made_up_for():
    server = Server(refused(), broken(), refused())
    assert ask(server) == (1, 2)
    assert server.requests == 4


@pytest.mark.parametrize("repeat", [True, False])
def test_what_was_surely_not_carried_out_is_tried_again(repeat):
    server = Server(refused(), refused())
    assert ask(server, repeat) == (1, 2)
    assert server.requests == 3


def test_what_may_have_been_carried_out_is_not_repeated_where_that_matters():
    server = Server(refused(), broken())
    with pytest.raises(ConnectionError, match=r"it broke \(tried 2 times in 0 s\)"):
        ask(server, repeat=False)
    assert server.requests == 2


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "none", URL),
        PermissionError(errno.EACCES, "not you", URL),
        NotAuthenticatedError(errno.EACCES, "who are you", URL),
        OSError(errno.EDQUOT, "too much", URL),
        TimeoutError(errno.ETIMEDOUT, "of its own", URL),
        ValueError("wrong"),
    ],
)
def test_other_errors_are_raised_at_once_and_unchanged(error):
    server = Server(error)
    with pytest.raises(type(error)) as caught:
        ask(server)
    assert caught.value is error
    assert server.requests == 1


def test_silence_ends_at_the_deadline():
    never = threading.Event()
    begin = time.monotonic()
    with (
        deadline(0.2),
        pytest.raises(TimeoutError) as caught,
    ):
        call(never.wait, what="listing the folder", url=URL)
    assert time.monotonic() - begin >= 0.2
    never.set()
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.filename == URL
    assert caught.value.strerror == (
        "listing the folder took more than 0.2 s: the server does not answer; check "
        "whether it is up and not overloaded, and whether a firewall drops the packets "
        "(POETS_STORAGE_TIMEOUT_S gives more time)"
    )


class Clock:
    """Stands still but for the pauses."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s


def test_the_deadline_holds_for_all_tries_together(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(calls, "time", clock)
    server = Server(*(refused() for _ in range(100_000)))
    with (
        deadline(60),
        pytest.raises(ConnectionRefusedError) as caught,
    ):
        ask(server)
    assert 60 - calls.LONGEST_PAUSE_S <= clock.now_s < 60
    assert 2 < server.requests < 100_000
    assert caught.value.strerror == (
        f"nobody listens (tried {server.requests} times in 60 s)"
    )
    assert caught.value.errno == errno.ECONNREFUSED


def test_long_pauses_are_reported(monkeypatch, caplog):
    monkeypatch.setattr(calls, "LOGGED_PAUSE_S", 0.0)
    with caplog.at_level(logging.WARNING):
        ask(Server(refused()))
    assert caplog.messages == [f"{URL}: asking: nobody listens; trying again"]


def test_deadlines_only_become_shorter(monkeypatch):
    assert allowed_s() == 120
    with deadline(10):
        assert allowed_s() == 10
        with deadline(60):
            assert allowed_s() == 10
        with deadline(1):
            assert allowed_s() == 1
        assert allowed_s() == 10
        monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", "2.5")
        assert allowed_s() == 2.5
    assert allowed_s() == 2.5


def test_a_thread_gets_the_deadline_that_it_is_given():
    with deadline(10), ThreadPoolExecutor(1) as pool:
        assert pool.submit(allowed_s).result() == 120
    with ThreadPoolExecutor(1, initializer=shorten, initargs=(10,)) as pool:
        assert pool.submit(allowed_s).result() == 10


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_a_deadline_that_is_none_is_reported(monkeypatch, given):
    monkeypatch.setenv("POETS_STORAGE_TIMEOUT_S", given)
    with pytest.raises(ConfigError) as caught:
        ask(Server())
    assert str(caught.value) == (
        "cannot set the storage's deadline: POETS_STORAGE_TIMEOUT_S is "
        f"{given!r}; give a number of seconds above 0"
    )
