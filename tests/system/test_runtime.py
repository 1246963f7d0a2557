"""Ctrl-C while TensorFlow is imported."""

import os
import signal
import threading

import pytest

from poets.system.runtime import interrupts_afterwards


@pytest.fixture
def handlers():
    """SIGINT and SIGTERM raise KeyboardInterrupt, as in the command."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {
        number: signal.signal(number, signal.default_int_handler) for number in numbers
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_comes_when_the_import_is_done(handlers, number):
    def interrupted():
        os.kill(os.getpid(), number)
        reached.append("the end")

    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_afterwards():
        interrupted()
    assert reached == ["the end"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_an_error_of_the_import_is_raised_if_nothing_interrupts(handlers):
    with pytest.raises(ImportError, match="broken"), interrupts_afterwards():
        raise ImportError("broken")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_afterwards():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_may_import_too(handlers):
    done = []

    def imported():
        with interrupts_afterwards():
            done.append(True)

    thread = threading.Thread(target=imported)
    thread.start()
    thread.join(30)
    assert done
