"""Imports TensorFlow, once and quietly.

Its C++ parts print a dozen lines at import regardless of the log level. They are shown
only if the import fails. All modules get `tf` and `v1` from here. The processes that
compute bottlenecks never import it.
"""

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

from poets.system.quiet import quiet_stderr


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Makes imports of a module fail, unless it is already loaded.

    TensorFlow imports Keras early, but works without it. We do not use Keras, so this
    saves half a second. `tf.keras` still loads on use.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Disables garbage collection: an import makes a million objects and drops none.

    Later collections leave these objects out, too. It saves 0.4 s of a run.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def interrupts_afterwards() -> Iterator[None]:
    """Has Ctrl-C and SIGTERM wait for the end of the body.

    In the initialization of a C extension, KeyboardInterrupt becomes an ImportError.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if came:
            signal.raise_signal(came[0])


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with (
    interrupts_afterwards(),
    quiet_stderr(),
    without("keras"),
    without_collections(),
):
    import tensorflow as tf

    tf.config.list_physical_devices()  # without a GPU, this prints too

v1 = tf.compat.v1
tf.get_logger().setLevel(logging.ERROR)  # deprecation notes are not for users
logging.getLogger("absl").setLevel(logging.ERROR)

__all__ = ["tf", "v1"]
