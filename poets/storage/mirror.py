"""Copies the growing files of a local folder to any storage.

    with Mirror(local_dir, "hdfs://default/run/summaries") as mirror:
        ...                        # files below local_dir grow; every few seconds those
                                   # that grew are copied as a whole, under their names

Only local files can be appended to. Readers of the copies see files that get longer
every few seconds.
"""

import logging
import os
import threading

from poets.errors import PoetsError
from poets.storage import join
from poets.storage.publish import write_atomically

logger = logging.getLogger(__name__)

COPY_EVERY_S = 5.0


class Mirror:
    """Copies in a thread of its own while its body runs, and once more at the end.

    A failed copy is logged and tried again; only the last one raises.
    """

    def __init__(self, local_dir: str, url: str, every_s: float = COPY_EVERY_S) -> None:
        """Sets up the copying, which starts when the mirror is entered.

        Args:
          local_dir: the folder to copy.
          url: the folder for the copies.
          every_s: seconds between two copies.
        """
        self._local_dir = local_dir
        self._url = url
        self._every_s = every_s
        self._copied: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._copy()
        except PoetsError as error:
            if kind is None:
                raise
            logger.warning("%s", error)  # the body's own error is raised

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._copy()
            except PoetsError as error:
                logger.warning("%s; trying again", error)

    def _copy(self) -> None:
        """Copies the files that grew since they were copied last."""
        for folder, _, names in os.walk(self._local_dir):
            for name in names:
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, self._local_dir)
                with open(path, "rb") as file:
                    data = file.read()
                if self._copied.get(relative) != len(data):
                    write_atomically(join(self._url, relative), data)
                    self._copied[relative] = len(data)
