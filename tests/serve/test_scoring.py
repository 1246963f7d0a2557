"""Scoring processes: nothing is lost when one dies, or when the server stops."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poets.errors import ModelError
from poets.serve.server import scoring
from poets.serve.server.errors import OverloadedError, PictureError
from poets.serve.server.scoring import MAX_BATCH, Scorer
from tests.serving import TIMEOUT_S, serving

pytest_plugins = ["tests.finished", "tests.served"]


class Scripted:
    """A scorer whose process does what pictures say, see `tests.serve.scripted`.

    Attributes:
      scorer: has one process by default.
      batches: the size of each batch that was sent.
    """

    def __init__(self, folder: Path, processes: int = 1, max_queue: int = 100) -> None:
        self.folder, self.batches = folder, []
        self.scorer = Scorer(
            str(folder), None, processes, max_queue, self.batches.append
        )

    async def __aenter__(self) -> "Scripted":
        await self.scorer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go()
        await self.scorer.stop()

    def ask(self, *pictures: bytes) -> "asyncio.Task[list]":
        return asyncio.create_task(self.scorer.score(pictures))

    async def hold(self) -> "asyncio.Task[list]":
        """Has the process wait for `go`; returns the request."""
        held = self.ask(b"hold")
        await self.until(lambda: self.pid)
        return held

    @property
    def pid(self) -> int:
        """The process that holds, 0 before."""
        held = self.folder / "held"
        return int(held.read_text()) if held.exists() else 0

    def both_loaded(self) -> bool:
        return len(list(self.folder.glob("loaded-*"))) == 2

    def go(self) -> None:
        (self.folder / "go").touch()

    async def until(self, ready) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not ready():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    def seen(self) -> list[bytes]:
        return (self.folder / "seen").read_bytes().splitlines()


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """Makes a `Scripted`, and runs what uses it with a deadline."""
    monkeypatch.setattr(scoring, "PROCESS", "tests.serve.scripted")
    monkeypatch.setattr(scoring, "LOADS_AGAIN_S", 0.01)

    def run(use, folder=tmp_path, **settings):
        async def used():
            async with Scripted(folder, **settings) as made:
                return await use(made)

        return asyncio.run(asyncio.wait_for(used(), TIMEOUT_S))

    return run


def lengths(answers):
    return [None if isinstance(a, PictureError) else list(a) for a in answers]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


class TestAnswers:
    def test_each_picture_has_its_own_in_the_order_asked_for(self, scripted):
        async def use(made):
            return await made.ask(b"a", b"refuse", b"abc")

        one, refused, three = scripted(use)
        assert (list(one), list(three)) == ([1], [3])
        assert isinstance(refused, PictureError)
        assert str(refused) == "not a picture: ä"

    def test_what_waits_is_divided_among_processes(self, scripted):
        async def use(made):
            await made.until(made.both_loaded)
            await made.ask(*[b"x"] * 8)
            return made.batches

        batches = scripted(use, processes=2)
        assert sum(batches) == 8
        assert max(batches) == 4

    def test_a_busy_process_takes_nothing_while_another_is_idle(self, scripted):
        async def use(made):
            await made.until(made.both_loaded)
            held = await made.hold()
            answers = [await made.ask(b"a") for _ in range(4)]
            assert not held.done()
            return answers

        assert list(map(lengths, scripted(use, processes=2))) == [[[1]]] * 4

    def test_a_batch_has_a_limit(self, scripted):
        async def use(made):
            answers = await made.ask(*[b"x"] * (2 * MAX_BATCH + 1))
            return answers, made.batches

        answers, batches = scripted(use)
        assert lengths(answers) == [[1]] * (2 * MAX_BATCH + 1)
        assert batches == [MAX_BATCH, MAX_BATCH, 1]

    def test_many_and_large_pictures_fill_no_pipe(self, scripted):
        sizes = [1 << 20, 1, 70_000] * 6

        async def use(made):
            return await made.ask(*(bytes(size) for size in sizes))

        assert lengths(scripted(use)) == [[size] for size in sizes]


class TestDeath:
    def test_a_killed_process_loses_no_request(self, scripted):
        async def use(made):
            held = await made.hold()
            ahead = made.ask(b"a", b"ab")  # sent to it, too
            await made.until(lambda: len(made.batches) == 2)
            waiting = made.ask(b"abc")
            killed = made.pid
            os.kill(killed, signal.SIGKILL)
            await made.until(lambda: made.pid != killed)
            made.go()
            return [await each for each in (held, ahead, waiting)]

        assert list(map(lengths, scripted(use))) == [[[4]], [[1], [2]], [[3]]]

    def test_a_picture_that_kills_each_process_is_refused_and_no_other(self, scripted):
        async def use(made):
            held = await made.hold()
            together = [made.ask(picture) for picture in (b"a", b"die", b"abc", b"die")]
            made.go()
            return [lengths(await each)[0] for each in (held, *together)], made.seen()

        answers, seen = scripted(use)
        assert answers == [[4], [1], None, [3], None]
        assert seen.count(b"die") == 3  # in the batch, of which the first killed; alone

    def test_it_is_refused_with_a_reason(self, scripted):
        async def use(made):
            return (await made.ask(b"die"))[0]

        assert "the process that decoded it died" in str(scripted(use))

    def test_a_model_whose_process_dies_does_not_load(self, scripted, tmp_path):
        async def use(made):
            raise AssertionError

        (tmp_path / "hopeless").mkdir()
        with pytest.raises(ModelError, match="SIGKILL"):
            scripted(use, folder=tmp_path / "hopeless")


class TestQueue:
    def test_more_pictures_than_may_wait_are_refused(self, scripted):
        async def use(made):
            requests = [await made.hold(), made.ask(b"ahead")]
            await made.until(lambda: len(made.batches) == 2)
            requests.append(made.ask(b"a", b"b"))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match="room for 0 in a queue of 2"):
                await made.ask(b"c")
            made.go()
            return [lengths(await each) for each in requests]

        assert scripted(use, max_queue=2) == [[[4]], [[5]], [[1], [1]]]

    def test_pictures_of_cancelled_requests_are_not_computed(self, scripted):
        async def use(made):
            held, ahead = await made.hold(), made.ask(b"ahead")
            await made.until(lambda: len(made.batches) == 2)
            cancelled, wanted = made.ask(b"cancelled", b"too"), made.ask(b"wanted")
            await asyncio.sleep(0)
            cancelled.cancel()
            made.go()
            await asyncio.gather(held, ahead, wanted)
            return made.seen()

        assert scripted(use) == [b"hold", b"ahead", b"wanted"]

    def test_a_request_cancelled_while_it_is_computed_harms_no_other(self, scripted):
        async def use(made):
            held, ahead = await made.hold(), made.ask(b"ahead")
            held.cancel()
            made.go()
            return lengths(await ahead)

        assert scripted(use) == [[5]]


class TestEnd:
    def test_stopping_waits_for_the_answers_in_flight(self, scripted):
        async def use(made):
            held, ahead = await made.hold(), made.ask(b"ahead")
            await asyncio.sleep(0)
            stopping = asyncio.create_task(made.scorer.stop())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            made.go()
            await stopping
            return lengths([*held.result(), *ahead.result()]), runs(made.pid)

        assert scripted(use) == ([[4], [5]], False)

    def test_processes_end_with_a_server_that_is_killed(self, finished, wait_until):
        with serving(finished.folder, "--processes=2") as server:
            wait_until(lambda: len(children(server.process.pid)) == 2)
            found = children(server.process.pid)
            server.stop(signal.SIGKILL)
            wait_until(lambda: not any(map(runs, found)))

    @pytest.mark.parametrize("sent", [b"", b'{"model": "flow'])
    def test_a_process_whose_server_is_killed_before_it_asks_ends_without_a_word(
        self, sent
    ):
        ended = subprocess.run(
            [sys.executable, "-m", scoring.PROCESS],
            input=sent,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
