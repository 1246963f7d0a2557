"""Calls functions with a deadline, even if they never return.

A client library's call to a silent server blocks for ever and cannot be interrupted.
It is made in another thread, which is abandoned when the deadline passes:

    caller ──> idle thread, or a new one ──> function()
       └── waits at most timeout_s <── result or exception

The threads are daemons, so an abandoned call never keeps the program from ending. They
are reused: a deadline costs some 20 microseconds per call. A thread whose call returns
late serves later calls.
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def run_with_deadline(function: Callable[[], T], timeout_s: float) -> T:
    """Returns `function()`, called in another thread, unless it takes too long.

    Args:
      function: takes no argument. It should hold no lock that others wait for: after
        the deadline it goes on, and its result or exception is dropped.
      timeout_s: how long to wait at most; 0 or less does not wait.

    Raises:
      TimeoutError: after the deadline, without a text: the caller adds its own.
      BaseException: whatever `function` raises, unchanged.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    call = _Call(function)
    worker.calls.put(call)
    # A negative timeout would wait for ever, a larger one raises OverflowError.
    if not call.over.acquire(timeout=min(max(timeout_s, 0), threading.TIMEOUT_MAX)):
        raise TimeoutError
    if call.error is not None:
        try:
            raise call.error
        finally:
            del call  # the traceback would hold the call, and the call the error
    return call.result


class _Call(Generic[T]):
    """A function to call and, once `over` is released, its result or error."""

    __slots__ = ("error", "function", "over", "result")

    result: T

    def __init__(self, function: Callable[[], T]):
        self.function = function
        self.error: BaseException | None = None
        self.over = threading.Lock()
        self.over.acquire()


class _Worker:
    """A daemon thread that makes one call after another."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Call[Any]] = SimpleQueue()
        threading.Thread(target=self._run, name="deadline", daemon=True).start()

    def _run(self) -> None:
        while True:
            call = self.calls.get()
            try:
                call.result = call.function()
            except BaseException as error:  # a Rust panic is not an Exception
                call.error = error
            _idle.append(self)  # first, so that the caller's next call finds it idle
            call.over.release()
            del call


_idle: list[_Worker] = []
os.register_at_fork(after_in_child=_idle.clear)  # threads stay with the parent
