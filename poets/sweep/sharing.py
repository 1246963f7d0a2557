"""Heads trained by all workers: the chief divides them, each takes chunk by chunk.

    chief    heads-9c1fx3.json ──> activity "heads 9c1fx3" ──> takes, trains, keeps
                                          │                          │
    others   features from the store <────┘──> take, train, keep ────┤
                                                                     ▼
             runs/NAME.json of every combination, heads-9c1fx3-12.done of every chunk

Chunks are taken as those of bottlenecks are, see `poets.bottlenecks.shares`: each
worker has its own, and who has no more helps the others. So nobody waits for a worker
that is still loading, and a chunk that was in the hand of one that is gone is trained
by another. A head is bit for bit the same whoever trains it.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from poets.bottlenecks.crew import Crew
from poets.bottlenecks.follower import Call
from poets.bottlenecks.rendezvous import Board
from poets.bottlenecks.shares import Patience, Share
from poets.errors import StorageError
from poets.storage import read_url
from poets.sweep.plan import Run
from poets.sweep.results import Result

logger = logging.getLogger(__name__)

HEADS = "heads"
"""The activity's name."""

PATIENCE = Patience(least_s=60.0, silent_s=10.0)
"""Training twice takes long, and its event files would be written twice at once: a
worker that says it is alive is waited for, unless it takes much longer than others."""

Train = Callable[[Sequence[Run]], list[Result]]
"""Trains heads together and keeps their files."""


class Heads(NamedTuple):
    """Combinations that are trained together."""

    number: int
    runs: Sequence[Run]


class HeadPlan:
    """Combinations of the same training images in chunks; a `Shared` plan.

    Args:
      name: no other plan's; letters and digits.
      data: digest of the images and their split.
      chunks: the combinations.
    """

    unit = "combinations"

    def __init__(self, name: str, data: str, chunks: Sequence[Sequence[Run]]) -> None:
        self.name = name
        self.data = data
        self.chunks = chunks
        self.copies = [len(chunk) for chunk in chunks]
        self._done = re.compile(rf"{HEADS}-{name}-(\d+)\.done")

    @property
    def runs(self) -> list[Run]:
        """All combinations."""
        return [run for chunk in self.chunks for run in chunk]

    def part(self, number: int) -> Heads:
        """Returns a chunk."""
        return Heads(number, self.chunks[number])

    def done(self, names: Iterable[str]) -> list[int]:
        """Returns the chunks that are done, by the names of the job's files."""
        found = map(self._done.fullmatch, names)
        return [int(match[1]) for match in found if match]

    def mark(self, board: Board, number: int) -> None:
        """Tells that every combination of a chunk has its file.

        Raises:
          StorageError: if it cannot be written.
        """
        board.post(f"{HEADS}-{self.name}-{number}.done", {})

    def write(self, board: Board) -> None:
        """Writes the file that `read` reads.

        Raises:
          StorageError: if it cannot be written.
        """
        chunks = [[run.name for run in chunk] for chunk in self.chunks]
        board.post(_file(self.name), {"data": self.data, "chunks": chunks})

    @classmethod
    def read(cls, board: Board, name: str, runs: Iterable[Run]) -> "HeadPlan | None":
        """Returns a plan; None if it is there no more.

        Args:
          board: the job's files.
          name: of the plan.
          runs: of the sweep.

        Raises:
          StorageError: if it cannot be read, or is no plan of these runs.
        """
        url = board.url_of(_file(name))
        by_name = {run.name: run for run in runs}
        try:
            found = json.loads(read_url(url))
            chunks = [[by_name[each] for each in chunk] for chunk in found["chunks"]]
            return cls(name, str(found["data"]), chunks)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{url!r} is no plan of this sweep: {error!r}; give all workers the "
                "same version of poets and the same flags"
            ) from error


def lead(
    crew: Crew, data: str, chunks: Sequence[Sequence[Run]], train: Train
) -> Iterator[list[Result]]:
    """Has chunks trained by all workers; yields the results of the chief's own.

    Args:
      crew: the workers.
      data: digest of the images and their split.
      chunks: the combinations.
      train: trains those of a chunk.

    Raises:
      PoetsError: if a storage fails, or another chief has taken over.
    """
    plan = HeadPlan(crew.new_plan(), data, chunks)
    plan.write(crew.board)
    with crew.sharing(
        plan,
        crew.board.names,
        {"activity": f"{HEADS} {plan.name}"},
        patience=PATIENCE,
    ) as share:
        yield from work_off(share, plan, crew.board, train)


def follow(call: Call, plan: HeadPlan, train: Train) -> None:
    """Trains this worker's chunks, and what others leave of theirs.

    Args:
      call: the chief's.
      plan: that it names.
      train: trains those of a chunk.

    Raises:
      PoetsError: if this worker cannot train or store, or the chief has failed.
    """
    board = call.member.board
    with call.sharing(plan, board.names, PATIENCE) as share:
        count = sum(map(len, work_off(share, plan, board, train)))
    logger.info("%d combinations trained here", count)


def work_off(
    share: Share[Heads], plan: HeadPlan, board: Board, train: Train
) -> Iterator[list[Result]]:
    """Trains what is free until all is done, and says whom it waits for."""
    waiting: list[int] = []
    for _ in share.rounds():
        while heads := share.take():
            results = train(heads.runs)
            plan.mark(board, heads.number)
            share.advance(len(results))
            share.done(heads)
            yield results
        if share.holders != waiting and (waiting := share.holders):
            logger.info(
                "waiting for worker %s to train %d combinations",
                " and ".join(map(str, waiting)),
                sum(plan.copies[number] for number in share.left),
            )


def _file(name: str) -> str:
    return f"{HEADS}-{name}.json"
