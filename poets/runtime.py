"""TensorFlow, imported once and quietly.

Its C++ parts print a dozen lines at import whatever the log level; they are held
back, and shown only if the import fails. All our modules take `tf` and `v1` from
here. Only the chief's process ever imports this one.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what is printed on file descriptor 2; shows it after an exception."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import tensorflow as tf

    tf.config.list_physical_devices()  # where there is no GPU this prints too

v1 = tf.compat.v1
tf.get_logger().setLevel(logging.ERROR)  # its deprecation notes are for us, not users
logging.getLogger("absl").setLevel(logging.ERROR)

__all__ = ["quiet_stderr", "tf", "v1"]
