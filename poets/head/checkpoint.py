"""Writes the head's training state as TensorFlow checkpoint files.

<checkpoint_path>.index
<checkpoint_path>.data-00000-of-00001
"""

import os
import tempfile
from pathlib import Path

from poets.head import Head
from poets.storage.publish import Publication
from poets.system.runtime import tf


def add_checkpoint(
    publication: Publication, checkpoint_path: str, head: Head, step: int
) -> None:
    """Adds a checkpoint with `final_weights`, `final_biases` and `step`.

    Raises:
      StorageError: if it cannot be written.
    """
    checkpoint = tf.train.Checkpoint(
        final_weights=tf.Variable(head.weights),
        final_biases=tf.Variable(head.biases),
        step=tf.Variable(step, dtype=tf.int64),
    )
    with tempfile.TemporaryDirectory(prefix="poets-checkpoint-") as folder:
        checkpoint.write(os.path.join(folder, "head"))
        for path in sorted(Path(folder).iterdir()):
            suffix = path.name.removeprefix("head")
            publication.add_file(checkpoint_path + suffix, path.read_bytes())
