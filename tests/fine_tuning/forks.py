"""Children of fine-tuning that start in milliseconds, in tasks of a nursery.

A child imports TensorFlow for 4 s and makes steps for one. `tests.children` forks it
from a process that has imported it.
"""

import contextlib
import time
from pathlib import Path

from poets.fine_tuning import process
from poets.fine_tuning.steps import STEP
from tests import children
from tests.retraining import children_of


def tuners_of(pid: int) -> list[int]:
    """Returns the children of a task that fine-tune."""
    name = children.NAMES[children.TUNER].decode()
    found = []
    for each in children_of(pid):
        with contextlib.suppress(FileNotFoundError):  # it has ended since
            if Path(f"/proc/{each}/comm").read_text().strip() == name:
                found.append(each)
    return found


def fork_children(hold: Path | None = None) -> None:
    """Has this task, which has not used TensorFlow, fork all its children.

    Args:
      hold: while this file is there, the first worker's child waits after as many
        steps as it says, with its checkpoint just written; before the last one.
    """
    if hold is not None:
        process._Checkpoints = _holding(hold)
    programs = (children.EXTRACTOR, children.TUNER)
    children.fork_children(children.fork_brood(), *programs)


def _holding(hold):
    class Checkpoints(process._Checkpoints):
        def after(self, steps, last):
            if not last:
                super().after(steps, last)
            if hold.exists() and steps.state()[STEP] == int(hold.read_text()):
                while hold.exists():
                    time.sleep(0.01)
            if last:
                super().after(steps, last)

    return Checkpoints
