"""Runs the fine-tuning steps of one worker: `python -m poets.fine_tuning.process`.

    stdin   {"folder": ..., "key": ..., "step": 40, "worker": 0, "workers": 2, ...}
    stdout  {"step": 41}                          the cluster is up, in progress
            {"step": 60, "cross_entropy": 0.61, "validation_accuracy": 0.7, "n": 120}
            {"done": true}                        all steps are done and written
            or {"failed": "cannot write ..."}     trying again would not help

It begins at the checkpoint after `step` steps. With several workers, TF_CONFIG lists
them all, and MultiWorkerMirroredStrategy runs each step on all of them. The strategy
does not survive a lost worker, so this process then ends (exit code 75) and is
restarted. It also ends when its stdin does, and so with its parent.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from poets.errors import ModelError, PoetsError
from poets.fine_tuning.files import Folder, Inputs
from poets.fine_tuning.steps import STEP, TuningSteps, rows_of_step
from poets.system.runtime import tf

LOST_CLUSTER = 75
"""Exit code EX_TEMPFAIL of sysexits.h: try again."""

REPORT_EVERY_S = 2.0
"""Seconds between two progress reports; a much longer silence means a hang."""

EVALUATIONS = 10
"""Evaluations on the validation images in a whole run."""

SCORED_AT_ONCE = 256

Report = Callable[[dict[str, Any]], None]


def train(order: dict[str, Any], report: Report) -> None:
    """Runs the steps that an order asks for.

    Raises:
      PoetsError: if trying again would not help.
      tf.errors.OpError: if another worker is lost.
    """
    worker, workers = order["worker"], order["workers"]
    # The strategy comes first: TensorFlow must set up its cluster before any operation.
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if workers > 1 else None
    folder, key = Folder(order["folder"]), order["key"]
    inputs = folder.read_inputs(key)
    steps = TuningSteps(
        inputs.tail,
        inputs.standard,
        inputs.label_weights,
        inputs.learning_rate,
        average_from=inputs.steps // 2,
        strategy=strategy,
    )
    if order["step"]:
        steps.restore(folder.read_checkpoint(key, order["step"]))
    else:
        steps.start(inputs.values)
    checkpoints = _Checkpoints(folder, key, order) if worker == 0 else None
    interval = -(-inputs.steps // EVALUATIONS)
    reported_s = 0.0
    for step in range(order["step"], inputs.steps):
        rows = rows_of_step(step, inputs.batch_size, inputs.trained, inputs.seed)
        share = np.array_split(rows, workers)[worker]
        entropy = steps.run(inputs.features[share], inputs.labels[share])
        if not np.isfinite(entropy):
            raise ModelError(
                f"fine-tuning has no finite cross entropy at step {step}: "
                f"{entropy}; lower --fine_tune_learning_rate"
            )
        done = step + 1
        if worker == 0 and (done % interval == 0 or done == inputs.steps):
            accuracy, n = _validate(steps, inputs)
            report(
                {
                    "step": done,
                    "cross_entropy": entropy,
                    "validation_accuracy": accuracy,
                    "n": n,
                }
            )
        elif time.monotonic() - reported_s > REPORT_EVERY_S:
            reported_s = time.monotonic()
            report({"step": done})
        if checkpoints:
            checkpoints.after(steps, last=done == inputs.steps)
    report({"done": True})


class _Checkpoints:
    """Writes the state from time to time, and removes outdated checkpoints."""

    def __init__(self, folder: Folder, key: str, order: dict[str, Any]) -> None:
        self._folder = folder
        self._key = key
        self._every_s = order["checkpoint_every_s"]
        self._kept = {order["step"]}  # another worker may not have read it yet
        self._written_s = time.monotonic()

    def after(self, steps: TuningSteps, last: bool) -> None:
        """Writes a checkpoint if one is due, or after the last step."""
        if not last and time.monotonic() - self._written_s < self._every_s:
            return
        state = steps.state()
        self._folder.write_checkpoint(self._key, state)
        self._folder.remove_checkpoints(self._key, self._kept | {int(state[STEP])})
        self._written_s = time.monotonic()


def _validate(steps: TuningSteps, inputs: Inputs) -> tuple[float, int]:
    """Returns the accuracy on the validation images, and their number."""
    right = 0
    for start in range(inputs.trained, len(inputs.labels), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        found = steps.logits(inputs.features[part]).argmax(axis=1)
        right += int((found == inputs.labels[part]).sum())
    n = len(inputs.labels) - inputs.trained
    return right / n, n


def _end_with_parent(lines: TextIO) -> None:
    lines.read()
    os._exit(1)


def main() -> None:
    """Reads an order from stdin and trains; output of libraries goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        order = json.loads(sys.stdin.readline())
        threading.Thread(
            target=_end_with_parent, args=(sys.stdin,), daemon=True
        ).start()

        def report(reply: dict[str, Any]) -> None:
            print(json.dumps(reply), file=replies, flush=True)

        code = 0
        try:
            train(order, report)
        except PoetsError as error:
            report({"failed": str(error)})
            code = 1
        except tf.errors.OpError as error:
            first = error.message.partition("\n")[0]
            print(f"{type(error).__name__}: {first}", file=sys.stderr)
            code = LOST_CLUSTER
    # A normal exit of TensorFlow waits for workers that may have ended.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
