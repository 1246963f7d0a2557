"""What every storage promises to several at once, and of those that are killed.

Part of `tests.storage.contract`; a backend says where it differs:

        renames_exclusively   of two renames to one name at once, exactly one wins
        keeps_folders         readers find a folder at all times while it is replaced
"""

import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow.fs
import pytest

from poets.storage import join, open_storage, parts, publish_lock, read_url, rename
from poets.storage.publish import check_writable, write_atomically
from poets.storage.publish_lock import PublishLock
from tests.seeds import seeds
from tests.storage.publisher import FILES, STALE_S, content, publish

ROOT = Path(__file__).parents[2]


def names_below(url: str) -> list[str]:
    """Returns the paths of all files below a folder, relative to it."""
    filesystem, root = open_storage(url)
    selector = pyarrow.fs.FileSelector(root, recursive=True)
    return sorted(
        info.path[len(root) + 1 :]
        for info in filesystem.get_file_info(selector)
        if info.type == pyarrow.fs.FileType.File
    )


@contextlib.contextmanager
def publisher(act: str, url: str, version: int = 0) -> Iterator[subprocess.Popen]:
    """Starts `tests.storage.publisher`; it is gone at the end in any case."""
    arguments = [sys.executable, "-m", "tests.storage.publisher", act, url]
    with subprocess.Popen(
        [*arguments, str(version)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def start_together(act: str, url: str, count: int) -> list[tuple[int, str]]:
    """Returns the exit code and stderr of publishers that act at the same time."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(publisher(act, url, version))
            for version in range(count)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.communicate()
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=300) for process in processes]
        return [
            (process.returncode, output[1])
            for process, output in zip(processes, outputs, strict=True)
        ]


def at_once(act: Callable[[int], object], count: int) -> list[OSError | None]:
    """Returns what each of several threads raised that acted at the same time."""
    barrier = threading.Barrier(count)

    def run(index: int) -> OSError | None:
        barrier.wait(300)
        try:
            act(index)
        except OSError as error:
            return error
        return None

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def version_of(url: str) -> set[int]:
    """Returns the versions of all published files; each must be whole."""
    found = set()
    for name in FILES[:3]:
        data = read_url(join(url, *name.split("/")))
        assert data == content(name, data[0])
        found.add(data[0])
    return found


class AtOnceContract:
    """Tests that hold for every backend."""

    renames_exclusively = True
    keeps_folders = False

    @pytest.mark.parametrize("kind", ["files", "folders"])
    def test_of_threads_that_rename_at_once_one_wins(self, folder_url, kind):
        if not self.renames_exclusively:
            return
        filesystem, root = open_storage(folder_url)
        below = ["file"] if kind == "folders" else []
        for i in range(8):
            write_atomically(join(folder_url, f"part{i}", *below), bytes([i]))
        raised = at_once(
            lambda i: rename(filesystem, f"{root}/part{i}", f"{root}/one", False), 8
        )
        (winner,) = (i for i, error in enumerate(raised) if error is None)
        assert all(isinstance(e, FileExistsError) for e in raised if e is not None)
        assert read_url(join(folder_url, "one", *below)) == bytes([winner])
        assert len(names_below(folder_url)) == 8

    def test_of_processes_that_rename_at_once_one_wins(self, folder_url):
        if not self.renames_exclusively:
            return
        ended = start_together("rename", folder_url, 2)
        assert sorted(code for code, _ in ended) == [0, 1]
        winner = [code for code, _ in ended].index(0)
        assert read_url(join(folder_url, "one")) == content("graph", winner)
        for code, text in ended:
            assert "FileExistsError" in text or code == 0

    def test_readers_never_see_half_a_file(self, folder_url):
        url = join(folder_url, "graph")
        with publisher("file", folder_url) as process:
            assert process.stdout.readline() == "0\n", process.communicate()
            seen = set()
            while len(seen) < 5:
                data = read_url(url)
                assert data == content("graph", data[0])
                seen.add(data[0])

    def test_readers_find_results_at_all_times(self, folder_url):
        """Also a folder, where the storage can replace one in one step."""
        check_writable(folder_url)
        with publisher("forever", folder_url) as process:
            assert process.stdout.readline() == "0\n", process.communicate()
            seen = set()
            while len(seen) < 4:
                for name in FILES[: 3 if self.keeps_folders else 1]:
                    data = read_url(join(folder_url, *name.split("/")))
                    assert data == content(name, data[0])
                seen.add(data[0])

    def test_of_jobs_that_publish_at_once_one_wins(self, folder_url):
        check_writable(folder_url)
        publish(folder_url, 9)
        ended = start_together("once", folder_url, 2)
        assert sorted(code for code, _ in ended) == [0, 1], ended
        winner = [code for code, _ in ended].index(0)
        assert version_of(folder_url) == {winner}
        assert names_below(folder_url) == sorted(FILES)
        for code, text in ended:
            assert code == 0 or text == (
                f"AlreadyPublishedError: cannot publish to {folder_url!r}: another job "
                f"published there at day {winner}, while this one ran; its results "
                "stay; run again, or name another folder\n"
            )

    def test_of_threads_that_publish_at_once_one_wins(self, folder_url):
        check_writable(folder_url)
        locks = [PublishLock(folder_url) for _ in range(4)]
        raised = at_once(lambda i: publish(folder_url, i, locks[i]), 4)
        (winner,) = (i for i, error in enumerate(raised) if error is None)
        assert version_of(folder_url) == {winner}
        assert names_below(folder_url) == sorted(FILES)
        for error in raised:
            assert error is None or "another job published there" in str(error)

    def test_jobs_one_after_the_other_publish(self, folder_url):
        check_writable(folder_url)
        for version in range(3):
            publish(folder_url, version)
            assert version_of(folder_url) == {version}
        made = PublishLock(folder_url)
        filesystem, root = open_storage(folder_url)
        filesystem.delete_file(f"{root}/metrics.json")  # by its owner, meanwhile
        publish(folder_url, 3, made)
        assert version_of(folder_url) == {3}
        assert names_below(folder_url) == sorted(FILES)

    @pytest.mark.parametrize("seed", seeds(3, always=[1]))
    def test_a_publisher_may_be_killed_at_any_moment(
        self, folder_url, seed, monkeypatch
    ):
        monkeypatch.setattr(publish_lock, "STALE_S", STALE_S)
        check_writable(folder_url)
        with publisher("forever", folder_url) as process:
            for _ in range(2):
                assert process.stdout.readline(), process.communicate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(random.Random(seed).uniform(0.0, 0.5))
            process.kill()
            last = int((process.stdout.read().split() or ["1"])[-1])
        there = names_below(folder_url)
        for name in FILES[:3]:
            if self.keeps_folders or name in there or name == "graph":
                data = read_url(join(folder_url, *name.split("/")))
                assert data in (content(name, last), content(name, last + 1))
        publish(folder_url, 200)
        assert version_of(folder_url) == {200}
        monkeypatch.setattr(
            parts, "ABANDONED_AFTER", timedelta(-1)
        )  # all are old enough
        with PublishLock(folder_url).held([], [folder_url, join(folder_url, "saved")]):
            pass
        assert names_below(folder_url) == sorted(FILES)


class AtOnceInSoak(AtOnceContract):
    """The costly ones wait for `make soak`: another client of this kind has them.

    To be named before the contract.
    """

    @pytest.mark.soak
    def test_of_jobs_that_publish_at_once_one_wins(self, folder_url):
        super().test_of_jobs_that_publish_at_once_one_wins(folder_url)

    @pytest.mark.soak
    def test_of_threads_that_publish_at_once_one_wins(self, folder_url):
        super().test_of_threads_that_publish_at_once_one_wins(folder_url)

    @pytest.mark.soak
    def test_jobs_one_after_the_other_publish(self, folder_url):
        super().test_jobs_one_after_the_other_publish(folder_url)

    @pytest.mark.soak
    @pytest.mark.parametrize("seed", range(3))
    def test_a_publisher_may_be_killed_at_any_moment(
        self, folder_url, seed, monkeypatch
    ):
        super().test_a_publisher_may_be_killed_at_any_moment(
            folder_url, seed, monkeypatch
        )
