"""Which chunk of a plan a worker computes next.

    chunk       0  1  2  3  4  5  6  7  8  9     worker 0: 0 2 4 6 8, then from the
    of worker   0  1  0  1  0  1  0  1  0  1     end what worker 1 is late with: 9 7 ..

Each worker takes the chunks of its own shard from the front. When it has none left, it
takes late chunks of other shards from their end, so that owner and helper meet.

The listing of the feature store shows which chunks are done, and how fast each shard
advances. A chunk is late if its owner, at the shard's pace so far, will not begin it
within LATE_CHUNKS times what such a chunk takes here. If a worker is slow or dead, all
its chunks become late. Computing a chunk twice is harmless, and no worker waits.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator

from poets.features.plan import WorkPlan
from poets.features.pool import Part

LIST_EVERY_S = 0.1
"""Shortest pause between two listings, in seconds, while there are chunks to take."""

WAIT_S = 0.02
"""The same while there are none."""

LIST_SHARE = 20
"""The pause between two listings is at least this many times what a listing takes."""

LATE_CHUNKS = 3.0
"""A chunk is late if its owner begins it after this many times what it takes here."""

LATE_S = 1.0
"""A chunk that its owner begins within so many seconds is never late."""


class Division:
    """A worker's part in a plan; the `Work` of a pool.

    Args:
      plan: the chunks.
      me: this worker's index.
      num_workers: all workers, the chief included.
      list_parts: lists the parts of the store.
      stopped: returns whether the plan was abandoned; called after each listing.
      advance_all: called with the number of bottlenecks done, by any worker.

    Attributes:
      computed: bottlenecks computed here.
      taken_over: chunks of other workers that were taken here.
      done_copies: bottlenecks done by all workers.
    """

    def __init__(
        self,
        plan: WorkPlan,
        me: int,
        num_workers: int,
        list_parts: Callable[[], list[str]],
        stopped: Callable[[], bool] = lambda: False,
        advance_all: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.plan = plan
        self.computed = self.taken_over = self.done_copies = 0
        self._me, self._num_workers = me, num_workers
        self._list_parts, self._stopped = list_parts, stopped
        self._advance_all = advance_all
        self._lock, self._over = threading.RLock(), False
        self._left = dict.fromkeys(range(len(plan)))  # in order, and quick to remove
        self._taken: dict[int, float] = {}  # chunk -> when it was taken here
        self._slowest_s = 0.0  # of a bottleneck, computed here
        self._listed_s, self._listing_took_s = -1e9, 0.0
        self._shards = [_Shard(copies) for copies in plan.copies[:num_workers]]

    @property
    def over(self) -> bool:
        """Whether every chunk is done, or the plan was abandoned."""
        return self._over or not self._left

    def record(self) -> dict[str, object]:
        """Returns the progress of this worker, as JSON data."""
        counts = {"computed": self.computed, "taken_over": self.taken_over}
        return {"plan": self.plan.name, **counts}

    def rounds(self) -> Iterator[None]:
        """Yields once for each round of taking chunks, until the plan is over.

        Raises StorageError if the store cannot be listed.
        """
        while not self.over:
            yield
            self.refresh()
            if not self.over:
                pause_s = max(WAIT_S, LIST_SHARE * self._listing_took_s)
                time.sleep(random.uniform(0.5, 1.5) * pause_s)

    def take(self) -> Part | None:
        """Returns the next chunk for this worker, None if there is none now."""
        self.refresh(LIST_EVERY_S)
        with self._lock:
            number = None if self._over else self._next()
            if number is None:
                return None
            self._taken[number] = time.monotonic()
            self.taken_over += number % self._num_workers != self._me
            return self.plan.part(number)

    def advance(self, count: int) -> None:
        """Counts bottlenecks that were computed here."""
        with self._lock:
            self.computed += count

    def done(self, part: Part) -> None:
        """Marks a chunk that was computed here."""
        with self._lock:
            took_s = time.monotonic() - self._taken.pop(part.number)
            each_s = took_s / self.plan.copies[part.number]
            self._slowest_s = max(self._slowest_s, each_s)
            self._remove(part.number)

    def refresh(self, after_s: float = 0.0) -> None:
        """Lists the store, unless it was listed less than `after_s` seconds ago.

        Raises StorageError if the store cannot be listed.
        """
        with self._lock:
            began_s = time.monotonic()
            pause_s = max(after_s, LIST_SHARE * self._listing_took_s)
            if after_s and began_s - self._listed_s < pause_s:
                return
            found = self.plan.done(self._list_parts())
            is_first = self._listed_s < 0
            self._listed_s = time.monotonic()
            self._listing_took_s = self._listed_s - began_s
            for number in found:
                if self._remove(number) and not is_first:
                    shard = self._shards[number % self._num_workers]
                    shard.gained(self.plan.copies[number], self._listed_s)
            self._over = self._over or self._stopped()

    def _remove(self, number: int) -> bool:
        """Marks a chunk as done; returns whether it was open before."""
        if number not in self._left:
            return False
        del self._left[number]
        self.done_copies += self.plan.copies[number]
        self._advance_all(self.plan.copies[number])
        return True

    def _next(self) -> int | None:
        """Returns a chunk of this worker's shard, else a late one of another shard.

        Helpers of one worker take different chunks, as long as there are enough.
        """
        free = (number for number in self._left if number not in self._taken)
        others = []
        for number in free:
            if number % self._num_workers == self._me:
                return number
            others.append(number)
        late = self._late(others)
        return max(late, key=lambda n: (self._is_first_helper(n), n), default=None)

    def _late(self, others: list[int]) -> Iterator[int]:
        """Yields the late ones of other workers' chunks."""
        now_s = time.monotonic()
        before = [0] * self._num_workers  # copies that the owner computes first
        for number in others:
            owner, copies = number % self._num_workers, self.plan.copies[number]
            begins_s = self._shards[owner].begins_s(before[owner], now_s)
            before[owner] += copies
            if begins_s > max(LATE_S, LATE_CHUNKS * copies * self._slowest_s):
                yield number

    def _is_first_helper(self, number: int) -> bool:
        """Returns whether this worker is the first to help with a chunk."""
        helpers = self._num_workers - 1
        turn = (self._me - number - 1) % self._num_workers  # 0 ... helpers - 1
        return turn == number // self._num_workers % helpers


class _Shard:
    """How fast one worker's chunks get done, according to the listings.

    Args:
      copies: of its first chunk. It counts as done from the start, so that a worker
        that is still loading is not taken for a slow one.
    """

    def __init__(self, copies: int) -> None:
        self._copies = copies
        self._first_s = self._last_s = time.monotonic()

    def gained(self, copies: int, now_s: float) -> None:
        """Counts bottlenecks that others computed."""
        self._copies += copies
        self._last_s = now_s

    def begins_s(self, copies: int, now_s: float) -> float:
        """Returns in how many seconds the owner will have done some more copies.

        Seconds without any progress are added.
        """
        pace_s = (now_s - self._first_s) / self._copies
        return copies * pace_s + now_s - self._last_s
