"""TensorFlow, imported once and quietly.

Its C++ parts print a dozen lines at import whatever the log level; they are held
back, and shown only if the import fails. All our modules take `tf` and `v1` from
here. Only the chief's process ever imports this one.
"""

import logging
import os

from poets.quiet import quiet_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import tensorflow as tf

    tf.config.list_physical_devices()  # where there is no GPU this prints too

v1 = tf.compat.v1
tf.get_logger().setLevel(logging.ERROR)  # its deprecation notes are for us, not users
logging.getLogger("absl").setLevel(logging.ERROR)

__all__ = ["tf", "v1"]
