"""What a worker tells the others: its file, and the model it got from the chief."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from poets.bottlenecks.rendezvous import Board, Heart, new_id, worker_file
from poets.bottlenecks.shares import PATIENCE, P, Patience, Share, Shared
from poets.storage import exists, is_local, open_storage, read_url
from poets.storage.publish import write_atomically


class Member:
    """One worker of a job, as the others see it.

    Args:
      board: where the files are.
      index: the worker's.
      num_workers: all of them, the chief included.
    """

    def __init__(self, board: Board, index: int, num_workers: int) -> None:
        self.board = board
        self.index = index
        self.share: Share[Any] | None = None
        """What it works on."""
        self.attempt: object = None
        """Which of the chief's it has seen at work; None once that has ended well."""
        self._num_workers = num_workers
        self._process = new_id()
        self._beats = 0
        self._posting = threading.Lock()
        self._heart = Heart(self.post, "worker's beat")

    def __enter__(self) -> "Member":
        self.post()  # a hand that this worker's last process had is empty now
        self._heart.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._heart.stop()

    @contextlib.contextmanager
    def sharing(
        self,
        plan: Shared[P],
        part_names: Callable[[], list[str]],
        stopped: Callable[[], bool],
        patience: Patience = PATIENCE,
    ) -> Iterator[Share[P]]:
        """Gives this worker's part in a plan; its file tells of it meanwhile.

        Args:
          plan: the chunks.
          part_names, stopped, patience: see `Share`.
        """
        self.share = share = Share(
            plan,
            *(self.index, self._num_workers, self.board),
            part_names=part_names,
            post=self.post,
            stopped=stopped,
            patience=patience,
        )
        yield share
        self.share = None

    def post(self) -> None:
        """Writes the worker's file anew.

        Raises:
          StorageError: if it cannot be written.
        """
        with self._posting:
            self._beats += 1
            self.board.post(worker_file(self.index), self._record())

    def _record(self) -> dict[str, object]:
        record: dict[str, object] = {
            "process": self._process,
            "beat": self._beats,
            "attempt": self.attempt,
        }
        if share := self.share:
            record |= {
                "plan": share.plan.name,
                "hand": share.hand,
                "computed": share.computed,
                "taken_over": share.taken_over,
            }
        return record


def offer_model(board: Board, path: str) -> str:
    """Puts a local model where all workers find it and returns its name there.

    Raises:
      StorageError: if it cannot be written.
    """
    with open(path, "rb") as file:
        data = file.read()
    digest = hashlib.sha256(data).hexdigest()[:12]
    name = f"model-{digest}{os.path.splitext(path)[1]}"
    if not exists(board.url_of(name)):
        write_atomically(board.url_of(name), data)
    return name


def fetch_model(board: Board, name: str, work_dir: str) -> str:
    """Returns the local path of an offered model.

    Args:
      board: where it is.
      name: as `offer_model` returned it.
      work_dir: where a model that is not on this machine is copied to.

    Raises:
      StorageError: if it cannot be read.
    """
    filesystem, path = open_storage(board.url_of(name))
    if is_local(filesystem):
        return path
    staged = os.path.join(work_dir, os.path.basename(name))
    if not os.path.exists(staged):
        data = read_url(board.url_of(name))
        with open(staged, "wb") as file:
            file.write(data)
    return staged
