"""Which chunk of a plan a worker does next.

    chunk       0  1  2  3  4  5  6  7  8  9      worker 0: 0 2 4 6 8, then from the
    of worker   0  1  0  1  0  1  0  1  0  1      end what nobody has in hand: 9 7 ...

Each worker takes the chunks of its own shard from the front. One that has no more takes
those of the others from their end, so that owner and helper meet. What is done is told
by the store, what others have in hand by their files. A chunk that stays in one hand
for much longer than a chunk takes is computed by the next one who is free, whether the
hand is slow or dead: computed twice it does no harm, and nobody waits for anybody.
Chunks are of images here; those of a sweep are of heads.
"""

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from poets.bottlenecks.rendezvous import Board, Watch, worker_file

LOOK_S = 0.1
"""Between two looks at what others do."""
WAIT_S = 0.02
"""The same, where there is nothing else to do."""

LOOKING_SHARE = 20
"""Between two looks passes so many times what a look takes."""

HELPED_CHUNKS = 4
"""So many, for each worker, of the last of a share others may begin at any time."""

PATIENCE_CHUNKS = 3.0
"""A chunk is left in another's hand as many times what one of our own has taken at
most, see `Patience`."""


class Patience(NamedTuple):
    """How long a chunk is left in another worker's hand.

    Attributes:
      least_s: at least so long, however little a chunk takes here.
      silent_s: not longer than this after that worker was last heard of.
    """

    least_s: float = 3.0
    silent_s: float = math.inf


PATIENCE = Patience()


class Numbered(Protocol):
    """A chunk of a plan."""

    @property
    def number(self) -> int:
        """Its place in the plan."""


P = TypeVar("P", bound=Numbered)
P_co = TypeVar("P_co", bound=Numbered, covariant=True)


class Shared(Protocol[P_co]):
    """A plan: chunks that any worker can do."""

    @property
    def name(self) -> str:
        """No other plan's."""

    @property
    def unit(self) -> str:
        """What is counted, as in "bottlenecks"."""

    @property
    def copies(self) -> list[int]:
        """How many of these each chunk gives."""

    def part(self, number: int) -> P_co:
        """Returns a chunk."""

    def done(self, names: Iterable[str]) -> list[int]:
        """Returns the chunks that are done, by the names of the files that say so."""


class Share(Generic[P]):
    """A worker's part in a plan.

    Args:
      plan: the chunks. Where they are parts, this is the `Work` of a pool.
      me: this worker's index.
      num_workers: all of them, the chief included.
      board: where the others' files are.
      part_names: lists the files that tell what is done.
      post: writes this worker's own file now.
      stopped: tells whether the plan is over; asked at each look.
      patience: with the other workers.
    """

    def __init__(
        self,
        plan: Shared[P],
        me: int,
        num_workers: int,
        board: Board,
        part_names: Callable[[], list[str]],
        post: Callable[[], None],
        stopped: Callable[[], bool] = lambda: False,
        patience: Patience = PATIENCE,
    ) -> None:
        self.plan = plan
        self.computed = 0
        """Copies computed here."""
        self.taken_over = 0
        """Chunks of others that were taken here."""
        self._me, self._num_workers = me, num_workers
        self._board, self._part_names = board, part_names
        self._post, self._stopped = post, stopped
        self._lock = threading.RLock()
        self._patience = patience
        self._left = dict.fromkeys(
            range(len(plan.copies))
        )  # in order, and quick to remove
        self._hand: dict[int, float] = {}  # chunk -> since when, here
        self._held: dict[tuple[int, int], float] = {}  # worker, chunk -> since when
        self._slowest_s = 0.0
        self._looked_s = -1e9
        self._look_took_s = 0.0
        self._over = False
        self._watches = [Watch() for _ in range(num_workers)]
        self.records: list[Mapping[str, Any]] = [{} for _ in range(num_workers)]
        """What the workers' files said at the last look."""
        self.quiet_s = [0.0] * num_workers
        """For how long each of these has not changed."""

    @property
    def over(self) -> bool:
        """Whether every chunk is done, or the plan was given up."""
        return self._over or not self._left

    @property
    def hand(self) -> list[int]:
        """The chunks that are being computed here."""
        with self._lock:
            return sorted(self._hand)

    @property
    def done_copies(self) -> int:
        """How many bottlenecks are done, whoever did them."""
        with self._lock:
            left = sum(self.plan.copies[number] for number in self._left)
        return sum(self.plan.copies) - left

    @property
    def left(self) -> list[int]:
        """The chunks that are not done."""
        with self._lock:
            return list(self._left)

    @property
    def holders(self) -> list[int]:
        """The other workers that have one of these in hand."""
        with self._lock:
            return sorted({who for who, number in self._held if number in self._left})

    def rounds(self) -> Iterator[None]:
        """Gives a round of taking what is free until all is done, or given up.

        Raises:
          StorageError: if the files that tell what is done cannot be listed.
        """
        while not self.over:
            yield
            self.look()
            if not self.over:
                pause_s = max(WAIT_S, LOOKING_SHARE * self._look_took_s)
                time.sleep(random.uniform(0.5, 1.5) * pause_s)

    def take(self) -> P | None:
        """Returns the next part for this worker, None if there is none now.

        One that others may want, too, is told first, then looked at again: of two
        workers who take one chunk at once at least one sees the other, and leaves it.
        """
        self.look(LOOK_S)
        while (number := self._choose()) is not None:
            if self._is_undisputed(number):
                return self.plan.part(number)
            self._tell()
            self.look(self._pause_s())
            if self._keeps(number):
                return self.plan.part(number)
            self._tell()
        return None

    def _choose(self) -> int | None:
        """Takes a chunk in hand that nobody else has."""
        with self._lock:
            if self._over:
                return None
            number = next(self._of_my_own(), None)
            if number is None:
                number = self._of_others()
            if number is not None:
                self._hand[number] = time.monotonic()
            return number

    def _is_undisputed(self, number: int) -> bool:
        """Tells whether a chunk is of this worker's share, with helpers still far.

        Then nothing is asked or told for it: the file is written every second anyway.
        """
        with self._lock:
            others = [n for _, n in self._held if self._is_mine(n)]
            behind = sum(n > number and self._is_mine(n) for n in self._left)
            near = HELPED_CHUNKS * self._num_workers
            return self._is_mine(number) and not others and behind >= near

    def _is_mine(self, number: int) -> bool:
        return number % self._num_workers == self._me

    def _keeps(self, number: int) -> bool:
        """Tells whether a chunk in hand is nobody else's, and lets go of it if not."""
        with self._lock:
            if number not in self._left or self._over or not self._is_free(number):
                del self._hand[number]
                return False
            self.taken_over += not self._is_mine(number)
            return True

    def _tell(self) -> None:
        with contextlib.suppress(OSError):  # a chunk computed twice does no harm
            self._post()

    def _pause_s(self) -> float:
        """Returns how old a look may be: 0 unless looking takes as long as working."""
        return LOOK_S if self._look_took_s > self._slowest_s / 4 > 0 else 0.0

    def advance(self, count: int) -> None:
        """Takes note of what was computed here."""
        with self._lock:
            self.computed += count

    def done(self, part: P) -> None:
        """Takes note of a chunk that was computed here."""
        with self._lock:
            took_s = time.monotonic() - self._hand.pop(part.number)
            self._slowest_s = max(self._slowest_s, took_s)
            self._left.pop(part.number, None)

    def look(self, after_s: float = 0.0) -> None:
        """Learns what is done and what others have in hand.

        Args:
          after_s: not if the last look is more recent.

        Raises:
          StorageError: if the store cannot be listed.
        """
        with self._lock:
            began_s = time.monotonic()
            pause_s = max(after_s, LOOKING_SHARE * self._look_took_s)
            if after_s and began_s - self._looked_s < pause_s:
                return
            for worker in range(self._num_workers):
                if worker != self._me:
                    self._look_at(worker, began_s)
            # Only now: what left a hand before is in the store.
            for number in self.plan.done(self._part_names()):
                self._left.pop(number, None)
            self._over = self._over or self._stopped()
            self._looked_s = time.monotonic()
            self._look_took_s = self._looked_s - began_s

    def _look_at(self, worker: int, now_s: float) -> None:
        record = self._board.read(worker_file(worker)) or self.records[worker]
        self.records[worker] = record
        self.quiet_s[worker] = self._watches[worker].see(record)
        hand = record.get("hand") if record.get("plan") == self.plan.name else None
        numbers = set()
        if isinstance(hand, list):
            numbers = {number for number in hand if isinstance(number, int)}
        for key in [k for k in self._held if k[0] == worker and k[1] not in numbers]:
            del self._held[key]
        for number in numbers:
            self._held.setdefault((worker, number), now_s)

    def _of_my_own(self) -> Iterator[int]:
        held = {number for _, number in self._held}
        for number in self._left:
            mine = self._is_mine(number) and number not in self._hand
            if mine and (number not in held or self._is_free(number)):
                yield number

    def _of_others(self) -> int | None:
        free = [n for n in self._left if n not in self._hand and self._is_free(n)]
        if not free:
            return None
        return free[-1 - self._me % len(free)]  # helpers are not all at the last one

    def _is_free(self, number: int) -> bool:
        """Tells whether no other worker has it in hand, or has had it for too long."""
        least_s, silent_s = self._patience
        patience_s = max(least_s, PATIENCE_CHUNKS * self._slowest_s)
        now_s = time.monotonic()
        return all(
            now_s - since_s > patience_s or self.quiet_s[worker] > silent_s
            for (worker, held), since_s in self._held.items()
            if held == number
        )
