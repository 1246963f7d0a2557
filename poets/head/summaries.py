"""TensorBoard event files: accuracy and cross entropy of train and validation.

    summaries_dir/train/events.out.tfevents.*
    summaries_dir/validation/events.out.tfevents.*

An earlier training's event files in these two folders are removed; all other files
stay. TensorFlow writes to local folders only: for another storage, the files are
written to a temporary folder and copied as they grow.
"""

import contextlib
import os
import posixpath
import socket
import tempfile
import time

import pyarrow.fs

from poets.errors import StorageError
from poets.storage import is_local, open_storage, reason
from poets.storage.mirror import Mirror
from poets.system.runtime import tf, v1

RUNS = ("train", "validation")
EVENTS = "events.out.tfevents."
FORMAT = "brain.Event:2"
"""The first record of an event file, which TensorBoard requires."""


class Summaries:
    """The open event files of one training."""

    def __init__(self, summaries_dir: str) -> None:
        """Replaces the events of an earlier training; may raise StorageError."""
        filesystem, folder = open_storage(summaries_dir)
        self._summaries_dir = summaries_dir
        self._open = contextlib.ExitStack()
        self._writers = {}
        try:
            for run in RUNS:
                _clear(filesystem, posixpath.join(folder, run))
            if not is_local(filesystem):
                folder = self._open.enter_context(
                    tempfile.TemporaryDirectory(prefix="poets-summaries-")
                )
                self._open.enter_context(Mirror(folder, summaries_dir))
            now = time.time()
            for run in RUNS:
                os.makedirs(posixpath.join(folder, run), exist_ok=True)
                name = f"{EVENTS}{now:.0f}.{socket.gethostname()}"
                writer = tf.io.TFRecordWriter(posixpath.join(folder, run, name))
                self._open.callback(writer.close)
                self._writers[run] = writer
                self._write(run, v1.Event(wall_time=now, file_version=FORMAT))
        except (OSError, tf.errors.OpError) as error:
            self._open.__exit__(type(error), error, None)
            raise self._failed(error) from error

    def __enter__(self) -> "Summaries":
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes the files; raises StorageError if they cannot be copied."""
        self._open.__exit__(*exception)  # type: ignore[arg-type]

    def add(self, run: str, step: int, accuracy: float, cross_entropy: float) -> None:
        """Records an evaluation, accuracy 0 to 1; raises StorageError if it cannot."""
        values = {"accuracy": accuracy, "cross_entropy": cross_entropy}
        summary = v1.Summary(
            value=[
                v1.Summary.Value(tag=tag, simple_value=value)
                for tag, value in values.items()
            ]
        )
        try:
            self._write(
                run, v1.Event(wall_time=time.time(), step=step, summary=summary)
            )
        except tf.errors.OpError as error:
            raise self._failed(error) from error

    def _write(self, run: str, event: v1.Event) -> None:
        """Writes and flushes one record: TensorBoard may be reading."""
        self._writers[run].write(event.SerializeToString())
        self._writers[run].flush()

    def _failed(self, error: OSError | tf.errors.OpError) -> StorageError:
        if isinstance(error, OSError):
            why = reason(error)
        else:  # "/path; No space left on device"
            why = error.message.partition("\n")[0].rpartition("; ")[2]
            why = why[:1].lower() + why[1:]
        return StorageError(
            f"cannot write --summaries_dir={self._summaries_dir!r}: {why}"
        )


def _clear(filesystem: pyarrow.fs.FileSystem, folder: str) -> None:
    filesystem.create_dir(folder, recursive=True)
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(folder)):
        if info.base_name.startswith(EVENTS):
            filesystem.delete_file(info.path)
