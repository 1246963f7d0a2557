"""TensorFlow, imported once and quietly.

Its C++ parts print a dozen lines at import whatever the log level; they are held
back, and shown only if the import fails. All our modules take `tf` and `v1` from
here. The processes that compute bottlenecks never import it.
"""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator

from poets.system.quiet import quiet_stderr


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Has imports of a module fail, unless it is loaded already.

    TensorFlow imports Keras only to have it early, and goes on where it is missing:
    half a second for nothing, as we use none of it. `tf.keras` still loads on use.
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
    """Has no garbage collected: an import makes a million objects and drops none.

    They are then left out of later collections, too. Saves 0.4 s of a run.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr(), without("keras"), without_collections():
    import tensorflow as tf

    tf.config.list_physical_devices()  # where there is no GPU this prints too

v1 = tf.compat.v1
tf.get_logger().setLevel(logging.ERROR)  # its deprecation notes are for us, not users
logging.getLogger("absl").setLevel(logging.ERROR)

__all__ = ["tf", "v1"]
