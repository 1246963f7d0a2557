"""How far the workers are, for people: in the chief's log and beside the results.

    bottlenecks by worker: 0: 1200, 1: 800 with 3 chunks of others, 2: not heard of
    combinations by worker: 0: 64, 1: 32, silent for 12 s

The chief writes `.poets-progress.json` into the results folder every few seconds, and
removes it at the end; `poets results` shows it.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from poets.bottlenecks.shares import Share
from poets.storage import exists, join, open_storage, read_url
from poets.storage.publish import write_atomically

NAME = ".poets-progress.json"
SILENT_S = 5.0
"""A worker that was not heard of for longer is shown as silent."""


@dataclass(frozen=True)
class WorkerStatus:
    """What is known of one worker.

    Attributes:
      worker: its index.
      computed: bottlenecks that it has computed, or heads that it has trained.
      taken_over: chunks of others among them.
      silent_s: for how long it was not heard of; None: not since the work began.
    """

    worker: int
    computed: int = 0
    taken_over: int = 0
    silent_s: float | None = 0.0


def workers_of(share: Share[Any], me: int) -> list[WorkerStatus]:
    """Returns what is known of all workers, by the last look of one of them."""
    found = []
    for worker, record in enumerate(share.records):
        if worker == me:
            found.append(WorkerStatus(me, share.computed, share.taken_over))
            continue
        if not record:
            found.append(WorkerStatus(worker, silent_s=None))
            continue
        mine = record.get("plan") == share.plan.name
        numbers = [record.get(key) if mine else 0 for key in ("computed", "taken_over")]
        computed, taken_over = (n if isinstance(n, int) else 0 for n in numbers)
        silent_s = round(share.quiet_s[worker], 1)
        found.append(WorkerStatus(worker, computed, taken_over, silent_s))
    return found


def in_words(workers: Sequence[WorkerStatus]) -> str:
    """Returns one line for all workers."""
    return ", ".join(f"{each.worker}: {_state(each)}" for each in workers)


def _state(worker: WorkerStatus) -> str:
    if worker.silent_s is None:
        return "not heard of"
    text = f"{worker.computed}"
    if worker.taken_over:
        plural = "s" * (worker.taken_over != 1)
        text += f" with {worker.taken_over} chunk{plural} of others"
    if worker.silent_s > SILENT_S:
        text += f", silent for {worker.silent_s:.0f} s"
    return text


def write(results_url: str, share: Share[Any], workers: Sequence[WorkerStatus]) -> None:
    """Writes the file; where that fails the work goes on without it."""
    record = {
        "done": share.done_copies,
        "total": sum(share.plan.copies),
        "unit": share.plan.unit,
        "workers": [asdict(worker) for worker in workers],
    }
    with contextlib.suppress(OSError):
        write_atomically(join(results_url, NAME), json.dumps(record).encode())


def remove(results_url: str) -> None:
    """Removes the file if it is there and can be removed."""
    with contextlib.suppress(OSError):
        filesystem, path = open_storage(join(results_url, NAME))
        filesystem.delete_file(path)


def read(results_url: str) -> Mapping[str, Any] | None:
    """Returns {"done", "total", "unit", "workers"} of an unfinished run, or None.

    It may have been killed: nothing here says when the file was written.
    """
    try:
        url = join(results_url, NAME)
        if not exists(url):
            return None
        record = json.loads(read_url(url))
        workers = [WorkerStatus(**worker) for worker in record["workers"]]
        done, total = int(record["done"]), int(record["total"])
        return {
            "done": done,
            "total": total,
            "unit": str(record["unit"]),
            "workers": in_words(workers),
        }
    except (OSError, ValueError, TypeError, KeyError):  # being written, or not ours
        return None
