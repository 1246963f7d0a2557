"""How far the workers are, for people: in the chief's log and beside the results.

    bottlenecks by worker: 0: 1200, 1: 800 with 3 chunks of others, 2: not heard of

The chief writes `.poets-progress.json` into the results folder every few seconds, and
removes it at the end; `poets results` shows it.
"""

import contextlib
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from poets.storage import exists, join, open_storage, read_url
from poets.storage.publish import write_atomically
from poets.system.progress import LINE_EVERY_S
from poets.workers.division import Division
from poets.workers.folder import WORKER, JobFolder, Watch

logger = logging.getLogger(__name__)

NAME = ".poets-progress.json"
SILENT_S = 5.0
"""A worker that was not heard of for longer is shown as silent."""


class Progress:
    """What the chief, which is worker 0, makes of the others' files."""

    def __init__(self, folder: JobFolder, num_workers: int, results_url: str) -> None:
        self._folder, self._results_url = folder, results_url
        self._watches = {worker: Watch() for worker in range(1, num_workers)}
        self._said_s = time.monotonic()

    def report(self, division: Division) -> None:
        """Logs how far all workers are, and writes the file if that can be done.

        Not if it did so less than LINE_EVERY_S ago.
        """
        now_s = time.monotonic()
        if now_s - self._said_s < LINE_EVERY_S or division.over:
            return
        self._said_s = now_s
        texts = [_in_words(division.record(), 0)]
        for worker, watch in self._watches.items():
            record = self._folder.read(WORKER.format(worker))
            silent_s = watch.see(record)
            if record and record.get("plan") != division.plan.name:
                record = {"computed": 0}
            texts.append(_in_words(record, silent_s))
        workers = ", ".join(f"{worker}: {text}" for worker, text in enumerate(texts))
        logger.info("bottlenecks by worker: %s", workers)
        shown = {
            "done": division.done_copies,
            "total": sum(division.plan.copies),
            "unit": "bottlenecks",
            "workers": workers,
        }
        with contextlib.suppress(OSError):
            url = join(self._results_url, NAME)
            write_atomically(url, json.dumps(shown).encode())

    def remove(self) -> None:
        """Removes the file if it is there and can be removed."""
        with contextlib.suppress(OSError):
            filesystem, path = open_storage(join(self._results_url, NAME))
            filesystem.delete_file(path)


def read_progress(results_url: str) -> Mapping[str, Any] | None:
    """Returns {"done", "total", "unit", "workers"} of an unfinished run, or None.

    It may have been killed, and long ago.
    """
    try:
        url = join(results_url, NAME)
        if not exists(url):
            return None
        shown = json.loads(read_url(url))
        numbers = {key: int(shown[key]) for key in ("done", "total")}
        return numbers | {key: str(shown[key]) for key in ("unit", "workers")}
    except (OSError, ValueError, TypeError, KeyError):  # being written, or not ours
        return None


def _in_words(record: Mapping[str, Any], silent_s: float) -> str:
    if not record:
        return "not heard of"
    text = f"{record.get('computed', 0)}"
    if count := record.get("taken_over"):
        text += f" with {count} chunk{'s' * (count != 1)} of others"
    return text + (f", silent for {silent_s:.0f} s" if silent_s > SILENT_S else "")
