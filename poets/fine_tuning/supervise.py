"""Runs one child in each worker, and restarts them together until all steps are done.

    worker 0   reg-0.json ──┐                       ┌─> generation.json ─> child 0
    worker 1   reg-1.json ──┴─> all are there, new ─┘                  └─> child 1

A registration holds a nonce, new for each child, and the address where the child will
listen. When every worker has a nonce that no earlier generation used, worker 0
publishes the generation. A worker that finds its nonce there starts its child, which
continues from the generation's checkpoint. If a child fails, hangs or belongs to an old
generation, it is killed, and its worker registers again.

A single worker does the same, without waiting for others.
"""

import contextlib
import json
import logging
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from poets.cluster import VARIABLE, Cluster
from poets.errors import PoetsError
from poets.fine_tuning.files import GENERATION, Folder
from poets.system.child import Child, ChildDiedError

logger = logging.getLogger(__name__)

POLL_S = 0.2
LOOK_EVERY_S = 1.0
"""Seconds between reads of the others' files while a child runs."""

LOG_EVERY_S = 30.0
WAIT_S = 600.0
"""How long worker 0 waits for the others, which may be restarting elsewhere."""

START_S = 300.0
"""Time limit for a child to import TensorFlow, find the others and run a step."""

SILENT_S = 300.0
"""A child that has begun and reports nothing for so long hangs."""

CHECKPOINT_EVERY_S = 20.0
ATTEMPTS = 8
"""Generations without a new checkpoint before worker 0 gives up."""


class Supervisor:
    """Keeps this worker's child running; the workers share a folder."""

    def __init__(self, folder: Folder, cluster: Cluster) -> None:
        self._folder = folder
        self._cluster = cluster
        self._death = ""

    def lead(self, key: str, steps: int) -> None:
        """Runs all steps; the chief's part.

        Raises:
          PoetsError: if workers do not register, or no progress is made.
        """
        attempts, newest = 0, -1
        while (step := self._folder.newest_step(key)) < steps:
            attempts = attempts + 1 if step == newest else 1
            newest = step
            if self._death:
                logger.warning(
                    "fine-tuning goes on from step %d: %s", step, self._death
                )
            if attempts > ATTEMPTS:
                raise PoetsError(
                    f"fine-tuning was started {ATTEMPTS} times from step {step} and "
                    f"made no progress, last: {self._death}; find out why its "
                    f"processes end, then run again: it continues from step {step}"
                )
            generation = self._gather(key, step)
            self._run(generation, partial(self._is_current, generation))

    def follow(self, ended: Callable[[], bool]) -> None:
        """Takes part in every generation until the job has ended; a worker's part.

        `ended` returns whether it has; it may raise if the job failed.
        """
        me = self._cluster.worker_index
        try:
            while not ended():
                nonce = self._register()
                while not ended():
                    generation = self._folder.read_json(GENERATION)
                    if generation and nonce in generation["nonces"]:
                        current = partial(self._goes_on, generation, ended)
                        if self._run(generation, current):
                            # Worker 0 may still be writing the last checkpoint: to
                            # register now would end its child before that.
                            while current():
                                time.sleep(LOOK_EVERY_S)
                        break
                    time.sleep(LOOK_EVERY_S)
        finally:
            with contextlib.suppress(PoetsError):
                self._folder.remove(_registration(me))

    def _gather(self, key: str, step: int) -> dict[str, Any]:
        """Publishes and returns the next generation, once every worker has registered.

        Raises PoetsError if a worker does not register within WAIT_S, or if nothing can
        be written meanwhile.
        """
        before = self._folder.read_json(GENERATION) or {"number": 0, "nonces": []}
        self._register()
        began = logged = time.monotonic()
        while True:
            found = [
                self._folder.read_json(_registration(worker))
                for worker in range(self._cluster.num_workers)
            ]
            missing = ", ".join(
                f"worker {worker}"
                for worker, registration in enumerate(found)
                if not registration or registration["nonce"] in before["nonces"]
            )
            if not missing:
                break
            now = time.monotonic()
            if now - began > WAIT_S:
                raise PoetsError(
                    f"fine-tuning waits for {missing} of {self._cluster.num_workers} "
                    f"workers, which did not register in {self._folder.url!r} within "
                    f"{WAIT_S:g} s; see their logs, or run with fewer workers"
                )
            if now - logged > LOG_EVERY_S:
                logged = now
                logger.info("fine-tuning waits for %s", missing)
                # Raises if the storage takes no more, which may be why they are gone.
                self._register()
            time.sleep(POLL_S)
        generation = {
            "number": before["number"] + 1,
            "key": key,
            "step": step,
            "nonces": [registration["nonce"] for registration in found],
            "addresses": [registration["address"] for registration in found],
        }
        self._folder.write_json(GENERATION, generation)
        return generation

    def _register(self) -> str:
        """Writes a new registration of this worker and returns its nonce."""
        nonce = uuid.uuid4().hex
        with socket.socket() as free:  # its port is free once it is closed
            free.bind(("", 0))
            address = f"{self._cluster.host or '127.0.0.1'}:{free.getsockname()[1]}"
        registration = {"nonce": nonce, "address": address}
        name = _registration(self._cluster.worker_index)
        self._folder.write_json(name, registration)
        return nonce

    def _is_current(self, generation: dict[str, Any]) -> bool:
        """Returns whether no worker has registered again since."""
        for worker, nonce in enumerate(generation["nonces"]):
            registration = self._folder.read_json(_registration(worker))
            if registration and registration["nonce"] != nonce:
                self._death = f"worker {worker} has restarted"
                return False
        return True

    def _goes_on(self, generation: dict[str, Any], ended: Callable[[], bool]) -> bool:
        """Returns whether a generation is the newest, and the job has not ended."""
        newest = self._folder.read_json(GENERATION)
        is_newest = bool(newest) and newest["number"] == generation["number"]
        return is_newest and not ended() and self._is_current(generation)

    def _run(self, generation: dict[str, Any], current: Callable[[], bool]) -> bool:
        """Runs a child until it ends; kills it if it hangs or its generation is old.

        Returns whether the child has done all its steps. Raises PoetsError if the child
        reports that trying again would not help.
        """
        order = {
            "folder": self._folder.url,
            "key": generation["key"],
            "step": generation["step"],
            "worker": self._cluster.worker_index,
            "workers": self._cluster.num_workers,
            "checkpoint_every_s": CHECKPOINT_EVERY_S,
        }
        with _Tuner(order, generation["addresses"]) as child:
            heard = looked = time.monotonic()
            allowed_s = START_S
            while not child.ended():
                reply = child.reply(POLL_S)
                now = time.monotonic()
                if reply is not None:
                    heard, allowed_s = now, SILENT_S
                    if "failed" in reply:
                        raise PoetsError(reply["failed"])
                    if "done" in reply:
                        return True
                    _log(reply)
                elif now - heard > allowed_s:
                    self._death = f"a process reported nothing for {allowed_s:g} s"
                    return False
                if now - looked > LOOK_EVERY_S:
                    looked = now
                    if not current():
                        return False
            self._death = f"a process ended: {child.death()}"
        return False


class _Tuner(Child):
    """A running `poets.fine_tuning.process`."""

    def __init__(self, order: dict[str, Any], addresses: list[str]) -> None:
        place = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": order["worker"]},
        }
        config = json.dumps(place) if order["workers"] > 1 else None
        super().__init__("poets.fine_tuning.process", {VARIABLE: config})
        self._replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with contextlib.suppress(ChildDiedError):  # `death` returns the reason
            self.send(order)

    def stop(self) -> None:
        """Kills the process, and waits until it has ended."""
        self.kill()
        self._reader.join()
        super().stop()

    def ended(self) -> bool:
        """Returns whether it has ended and all its replies are read."""
        return not self._reader.is_alive() and self._replies.empty()

    def reply(self, timeout_s: float) -> dict[str, Any] | None:
        """Returns the next reply, or None after `timeout_s` seconds."""
        with contextlib.suppress(queue.Empty):
            return self._replies.get(timeout=timeout_s)
        return None

    def _read(self) -> None:
        with contextlib.suppress(ChildDiedError):
            while True:
                self._replies.put(self.receive())


def _log(reply: dict[str, Any]) -> None:
    if "n" in reply:
        logger.info(
            "fine-tuning step %d: cross entropy = %f, validation accuracy = %.1f%% "
            "(N=%d)",
            reply["step"],
            reply["cross_entropy"],
            reply["validation_accuracy"] * 100,
            reply["n"],
        )


def _registration(worker: int) -> str:
    return f"reg-{worker}.json"
