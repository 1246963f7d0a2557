"""Progress of the workers, for the user: in the chief's log and beside the results.

    bottlenecks by worker: 0: 1200, 1: 800 with 3 chunks of others, 2: not heard from

The chief writes `.poets-progress.json` into the results folder every few seconds and
removes it at the end. `poets results` shows it.
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
"""A worker whose file has not changed for longer is shown as silent."""


class Progress:
    """Reports the progress of all workers; used by the chief, which is worker 0."""

    def __init__(self, folder: JobFolder, num_workers: int, results_url: str) -> None:
        self._folder, self._results_url = folder, results_url
        self._watches = {worker: Watch() for worker in range(1, num_workers)}
        self._logged_s = time.monotonic()

    def report(self, division: Division) -> None:
        """Logs the progress and writes the file if it can; once in LINE_EVERY_S."""
        now_s = time.monotonic()
        if now_s - self._logged_s < LINE_EVERY_S or division.over:
            return
        self._logged_s = now_s
        texts = [_in_words(division.record(), 0)]
        for worker, watch in self._watches.items():
            record = self._folder.read(WORKER.format(worker))
            silent_s = watch.see(record)
            if record and record.get("plan") != division.plan.name:
                record = {"computed": 0}
            texts.append(_in_words(record, silent_s))
        workers = ", ".join(f"{worker}: {text}" for worker, text in enumerate(texts))
        logger.info("bottlenecks by worker: %s", workers)
        counts = {"done": division.done_copies, "total": sum(division.plan.copies)}
        shown = counts | {"unit": "bottlenecks", "workers": workers}
        with contextlib.suppress(OSError):
            write_atomically(join(self._results_url, NAME), json.dumps(shown).encode())

    def remove(self) -> None:
        """Removes the file if it is there and can be removed."""
        with contextlib.suppress(OSError):
            filesystem, path = open_storage(join(self._results_url, NAME))
            filesystem.delete_file(path)


def read_progress(results_url: str) -> Mapping[str, Any] | None:
    """Returns {"done", "total", "unit", "workers"} of an unfinished run, or None.

    The run may have been killed long ago.
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
        return "not heard from"
    text = f"{record.get('computed', 0)}"
    if count := record.get("taken_over"):
        text += f" with {count} chunk{'s' * (count != 1)} of others"
    return text + (f", silent for {silent_s:.0f} s" if silent_s > SILENT_S else "")
