"""TensorBoard event files: accuracy and cross entropy of train and validation.

    summaries_dir/train/events.out.tfevents.*
    summaries_dir/validation/events.out.tfevents.*

Only files of this name in these two folders are ours to clear; whatever else lies
there stays, as does the folder itself.
"""

import os

from poets.errors import StorageError
from poets.runtime import tf, v1
from poets.storage import open_storage, reason

RUNS = ("train", "validation")
EVENTS = "events.out.tfevents."


class Summaries:
    """The open event files of one training."""

    def __init__(self, summaries_dir: str) -> None:
        """Clears the events of an earlier training and opens new files.

        Raises:
          StorageError: if that cannot be done.
        """
        _, folder = open_storage(summaries_dir)
        self._writers = {}
        try:
            for run in RUNS:
                path = os.path.join(folder, run)
                os.makedirs(path, exist_ok=True)
                for name in os.listdir(path):
                    if name.startswith(EVENTS):
                        os.unlink(os.path.join(path, name))
                with tf.Graph().as_default():  # a v1 writer; it needs no tensorboard
                    self._writers[run] = v1.summary.FileWriter(path)
        except OSError as error:
            raise StorageError(
                f"cannot write --summaries_dir={summaries_dir!r}: {reason(error)}"
            ) from error

    def __enter__(self) -> "Summaries":
        return self

    def __exit__(self, *exception: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def add(self, run: str, step: int, accuracy: float, cross_entropy: float) -> None:
        """Records one evaluation; `accuracy` is 0 to 1."""
        values = {"accuracy": accuracy, "cross_entropy": cross_entropy}
        summary = v1.Summary(
            value=[
                v1.Summary.Value(tag=tag, simple_value=value)
                for tag, value in values.items()
            ]
        )
        self._writers[run].add_summary(summary, step)
