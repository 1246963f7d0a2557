"""Which chunk of a plan a worker computes next.

    chunk       0  1  2  3  4  5  6  7  8  9     worker 0: 0 2 4 6 8, then from the
    of worker   0  1  0  1  0  1  0  1  0  1     end what worker 1 is late with: 9 7 ..

Each worker takes the chunks of its own shard from the front. One that has no more takes
those of the others from their end, so that owner and helper meet. What is done is in
the listing of the feature store, and so is how fast each shard gets on: a chunk is late
when its owner, at the pace of its shard so far, would not begin it in the time that
such a chunk takes here a few times over. The owner of a shard that does not get on at
all is slow or dead, and all of its chunks become late. A chunk that is computed twice
does no harm, and nobody waits for anybody.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator

from poets.features.plan import WorkPlan
from poets.features.pool import Part

LOOK_S = 0.1
"""Seconds between two listings while there is work."""

WAIT_S = 0.02
"""The same without work."""

LOOKING_SHARE = 20
"""Between two listings pass so many times what a listing takes."""

LATE_CHUNKS = 3.0
"""A chunk is late if its owner begins it after so many times what it takes here."""

LATE_S = 1.0
"""A chunk that its owner begins in less is not late, however little it takes."""


class Division:
    """A worker's part in a plan; the `Work` of a pool.

    Args:
      plan: the chunks.
      me: this worker's index.
      num_workers: of all workers, the chief included.
      list_parts: lists the parts of the store.
      stopped: returns whether the plan was given up; called at each listing.
      advance_all: is called with how many bottlenecks were done, by whomever.
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
        self.computed = 0
        """Bottlenecks computed here."""
        self.taken_over = 0
        """Chunks of others that were taken here."""
        self.done_copies = 0
        """How many bottlenecks are done, whoever computed them."""
        self._me, self._num_workers = me, num_workers
        self._list_parts, self._stopped = list_parts, stopped
        self._advance_all = advance_all
        self._lock = threading.RLock()
        self._left = dict.fromkeys(range(len(plan)))  # in order, and quick to remove
        self._taken: dict[int, float] = {}  # chunk -> when it was taken here
        self._slowest_s = 0.0  # of a bottleneck, computed here
        self._over = False
        self._looked_s, self._look_took_s = -1e9, 0.0
        self._shards = [_Shard(copies) for copies in plan.copies[:num_workers]]

    @property
    def over(self) -> bool:
        """Whether every chunk is done, or the plan was given up."""
        return self._over or not self._left

    def record(self) -> dict[str, object]:
        """Returns what people see of it, as JSON data."""
        counts = {"computed": self.computed, "taken_over": self.taken_over}
        return {"plan": self.plan.name, **counts}

    def rounds(self) -> Iterator[None]:
        """Gives a round of taking chunks until all are done, or the plan is given up.

        Raises:
          StorageError: if the store cannot be listed.
        """
        while not self.over:
            yield
            self.look()
            if not self.over:
                pause_s = max(WAIT_S, LOOKING_SHARE * self._look_took_s)
                time.sleep(random.uniform(0.5, 1.5) * pause_s)

    def take(self) -> Part | None:
        """Returns the next chunk for this worker, None if there is none now."""
        self.look(LOOK_S)
        with self._lock:
            if self._over:
                return None
            number = self._next()
            if number is None:
                return None
            self._taken[number] = time.monotonic()
            self.taken_over += not self._is_mine(number)
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

    def look(self, after_s: float = 0.0) -> None:
        """Lists what is done.

        Args:
          after_s: not if the last listing is more recent.

        Raises:
          StorageError: if the store cannot be listed.
        """
        with self._lock:
            began_s = time.monotonic()
            pause_s = max(after_s, LOOKING_SHARE * self._look_took_s)
            if after_s and began_s - self._looked_s < pause_s:
                return
            found = self.plan.done(self._list_parts())
            is_first = self._looked_s < 0
            self._looked_s = time.monotonic()
            self._look_took_s = self._looked_s - began_s
            for number in found:
                if self._remove(number) and not is_first:
                    shard = self._shards[number % self._num_workers]
                    shard.gained(self.plan.copies[number], self._looked_s)
            self._over = self._over or self._stopped()

    def _remove(self, number: int) -> bool:
        """Notes that a chunk is done; returns whether that is new."""
        if number not in self._left:
            return False
        del self._left[number]
        self.done_copies += self.plan.copies[number]
        self._advance_all(self.plan.copies[number])
        return True

    def _is_mine(self, number: int) -> bool:
        return number % self._num_workers == self._me

    def _next(self) -> int | None:
        """Returns a chunk of this worker's shard, else one that another is late with.

        Helpers of one worker take different chunks, as far as there are enough.
        """
        free = (number for number in self._left if number not in self._taken)
        others = []
        for number in free:
            if self._is_mine(number):
                return number
            others.append(number)
        return max(
            self._late(others),
            key=lambda n: (self._is_first_helper(n), n),
            default=None,
        )

    def _late(self, others: list[int]) -> Iterator[int]:
        """Gives those of other workers' chunks with which they are late."""
        now_s = time.monotonic()
        before = [0] * self._num_workers  # copies that the owner computes first
        for number in others:
            owner, copies = number % self._num_workers, self.plan.copies[number]
            begins_s = self._shards[owner].begins_s(before[owner], now_s)
            before[owner] += copies
            if begins_s > max(LATE_S, LATE_CHUNKS * copies * self._slowest_s):
                yield number

    def _is_first_helper(self, number: int) -> bool:
        """Returns whether this worker helps with a chunk before all others do."""
        helpers = self._num_workers - 1
        turn = (self._me - number - 1) % self._num_workers  # 0 ... helpers - 1
        return turn == number // self._num_workers % helpers


class _Shard:
    """How fast one worker's chunks get done, as the listings show it.

    Args:
      copies: of its first chunk, which counts as done from the start: of a worker that
        is still loading too much is expected rather than too little.
    """

    def __init__(self, copies: int) -> None:
        self._copies = copies
        self._first_s = self._last_s = time.monotonic()

    def gained(self, copies: int, now_s: float) -> None:
        """Counts bottlenecks that others computed."""
        self._copies += copies
        self._last_s = now_s

    def begins_s(self, copies: int, now_s: float) -> float:
        """Returns in how many seconds the owner begins what comes after some copies.

        The seconds for which nothing was done are added.
        """
        pace_s = (now_s - self._first_s) / self._copies
        return copies * pace_s + now_s - self._last_s
