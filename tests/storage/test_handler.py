"""What all file systems made in Python share, over a backend that loses answers."""

import errno
import os
import posixpath
import threading

import pyarrow.fs
import pytest

from poets.storage import calls
from poets.storage.backend import Backend, Status
from poets.storage.calls import deadline
from poets.storage.handler import WHOLE_BYTES, file_system


class Memory(Backend):
    """Files and folders (None) in memory.

    `faults` are raised by the next requests, before they are carried out or, where
    `late` is set, after.
    """

    type_name, root = "memory", "memory://there"

    def __init__(self) -> None:
        self.content: dict[str, bytes | None] = {"/": None, "/folder": None}
        self.faults: list[OSError] = []
        self.late = False
        self.requests: list[str] = []

    def carry_out(self, name, act):
        self.requests.append(name)
        if self.faults and not self.late:
            raise self.faults.pop(0)
        result = act()
        if self.faults:
            raise self.faults.pop(0)
        return result

    def found(self, path: str) -> bytes | None:
        if path not in self.content:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.content[path]

    def status(self, path):
        data = self.found(path)
        owner = ("me", "us", 0o644, 1)
        return Status(path, data is None, len(data or b""), 0, *owner)

    def listing(self, folder):
        def listed():
            self.found(folder)
            return [
                self.status(path)
                for path in list(self.content)
                if path != "/" and posixpath.dirname(path) == folder
            ]

        return self.carry_out("listing", listed)

    def read(self, path):
        return self.carry_out("read", lambda: self.found(path))

    def reader(self, path):
        return self.carry_out("reader", lambda: Open(self, path))

    def writer(self, path):
        return self.carry_out("writer", lambda: Open(self, path))

    def make_folder(self, path, parents):
        self.carry_out("make_folder", lambda: self.content.setdefault(path, None))

    def delete(self, path, recursive):
        self.carry_out("delete", lambda: (self.found(path), self.content.pop(path)))

    def rename(self, source, target, overwrite):
        def renamed():
            self.found(source)
            if target in self.content and not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
            self.content[target] = self.content.pop(source)

        self.carry_out("rename", renamed)


class Open:
    """A file that is read or written."""

    def __init__(self, memory: Memory, path: str) -> None:
        self.memory, self.path, self.parts = memory, path, []
        self.size = len(memory.content.get(path) or b"")

    def read_range(self, offset, length):
        data = self.memory.found(self.path)
        return self.memory.carry_out("range", lambda: data[offset : offset + length])

    def write(self, data):
        assert type(data) is bytes
        self.memory.carry_out("write", lambda: self.parts.append(data))

    def close(self):
        def closed():
            self.memory.content[self.path] = b"".join(self.parts)

        self.memory.carry_out("close", closed)

    def abort(self):
        self.memory.requests.append("abort")
        self.memory.content.pop(self.path, None)


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.001)
    return Memory()


@pytest.fixture
def files(memory):
    return file_system(memory)


def lost() -> OSError:
    return ConnectionError(errno.ECONNRESET, "it broke", "memory://there")


def refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "nobody", "memory://there")


# Answers that are lost.


@pytest.mark.parametrize("late", [True, False])
def test_a_rename_whose_answer_was_lost_is_done_once(memory, files, late):
    memory.content["/a"] = b"x"
    memory.faults, memory.late = [lost()], late
    files.handler.rename("/a", "/b", overwrite=False)
    assert memory.content == {"/": None, "/folder": None, "/b": b"x"}
    assert memory.requests == ["rename", "rename"]


def test_a_rename_of_nothing_is_reported_also_after_a_refusal(memory, files):
    memory.faults = [refused()]
    with pytest.raises(FileNotFoundError):
        files.handler.rename("/nothing", "/b", overwrite=False)


def test_a_rename_is_not_ours_if_the_target_is_missing(memory, files):
    memory.faults = [lost()]
    with pytest.raises(FileNotFoundError):
        files.handler.rename("/nothing", "/b", overwrite=False)


def test_a_rename_onto_something_is_reported(memory, files):
    memory.content |= {"/a": b"x", "/b": b"y"}
    with pytest.raises(FileExistsError):
        files.move("/a", "/b")
    files.handler.rename("/a", "/b", overwrite=True)
    assert memory.content["/b"] == b"x"


@pytest.mark.parametrize("late", [True, False])
def test_a_deletion_whose_answer_was_lost_is_done_once(memory, files, late):
    memory.content["/a"] = b"x"
    memory.faults, memory.late = [lost()], late
    files.delete_file("/a")
    assert "/a" not in memory.content
    with pytest.raises(FileNotFoundError):
        files.delete_file("/a")


# Whole files.


def test_a_file_is_written_again_after_a_fault(memory, files):
    memory.faults, memory.late = [lost()], True
    files.handler.write_bytes("/folder/a", b"x")
    assert memory.content["/folder/a"] == b"x"
    assert files.handler.read_bytes("/folder/a") == b"x"


def test_a_long_file_is_written_in_parts_and_gone_after_a_fault(memory, files):
    data = bytes(WHOLE_BYTES + 1)
    files.handler.write_bytes("/folder/a", data)
    assert memory.requests == ["writer", "write", "write", "close"]
    assert memory.content["/folder/a"] == data

    def writer(path):
        opened = Memory.writer(memory, path)
        memory.faults = [lost()]  # of the first write
        return opened

    memory.writer = writer
    with pytest.raises(ConnectionError, match="it broke"):
        files.handler.write_bytes("/folder/b", data)
    assert memory.requests[-1] == "abort"
    assert "/folder/b" not in memory.content


# Streams.


def test_a_file_is_opened_again_where_a_server_is_lost(memory, files):
    memory.content["/a"] = b"0123456789"
    with files.open_input_file("/a") as file:
        memory.faults = [lost()]
        assert file.read(4) == b"0123"
        memory.faults = [lost()]
        assert file.read_at(3, 6) == b"678"
    assert memory.requests == ["reader", "range", "reader", "range"] + [
        *("range", "reader", "range"),
    ]


def test_another_file_in_its_place_is_reported(memory, files):
    memory.content["/a"] = b"0123456789"
    with files.open_input_file("/a") as file:
        assert file.read(4) == b"0123"
        memory.content["/a"] = b"short"
        memory.faults = [lost()]
        with pytest.raises(OSError, match="had 10 bytes and has 5 now") as caught:
            file.read()
    assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize("size", [0, 1, 10])
def test_positions_are_within_the_file(memory, files, size):
    memory.content["/a"] = data = bytes(range(size))
    with files.open_input_file("/a") as file:
        assert file.size() == size
        assert file.read(100) == data
        assert file.read(100) == b""
        assert file.seek(size + 5) == size
        assert file.read() == b""
        assert file.read_at(100, size // 2) == data[size // 2 :]


def test_what_is_written_in_pieces_is_a_file_at_the_end(memory, files):
    with files.open_output_stream("/folder/a") as file:
        file.write(b"0")
        file.write(memoryview(b"123"))
        assert file.tell() == 4
        assert "/folder/a" not in memory.content
    assert memory.content["/folder/a"] == b"0123"


def test_a_file_whose_block_or_server_fails_is_removed(memory, files):
    with (  # noqa: PT012, the block is what is tested
        pytest.raises(KeyboardInterrupt),
        files.open_output_stream("/folder/a") as file,
    ):
        file.write(b"0")
        raise KeyboardInterrupt
    assert memory.requests[-1] == "abort"
    memory.requests.clear()
    with (  # noqa: PT012, likewise
        pytest.raises(ConnectionError),
        files.open_output_stream("/folder/a") as file,
    ):
        memory.faults = [lost()]
        file.write(b"0")
    assert memory.requests == ["writer", "write", "abort"]


# Listings.


def test_a_tree_is_listed_by_many_threads(memory, files):
    at_once = threading.Barrier(4)

    def listing(folder):
        if posixpath.dirname(folder) == "/folder":
            at_once.wait(timeout=10)
        return Memory.listing(memory, folder)

    memory.listing = listing
    for i in range(4):
        memory.content |= {f"/folder/{i}": None, f"/folder/{i}/a": b"x"}
    selector = pyarrow.fs.FileSelector("/folder", recursive=True)
    found = {info.path: info.type for info in files.get_file_info(selector)}
    assert found == {
        path: pyarrow.fs.FileType.Directory
        if data is None
        else pyarrow.fs.FileType.File
        for path, data in memory.content.items()
        if path.startswith("/folder/")
    }
    walked = files.handler.walk("/folder")
    assert sum(not status.is_folder for status in walked) == 4


def test_a_folder_that_goes_while_a_tree_is_listed_is_left_out(memory, files):
    def listing(folder):
        found = Memory.listing(memory, folder)
        memory.content.pop("/folder/gone", None)
        return found

    memory.listing = listing
    memory.content |= {"/folder/gone": None, "/folder/a": b"x"}
    walked = files.handler.walk("/folder")
    assert [status.path for status in walked if not status.is_folder] == ["/folder/a"]


def test_a_missing_folder_is_reported_unless_it_may_be_missing(files):
    with pytest.raises(FileNotFoundError):
        files.get_file_info(pyarrow.fs.FileSelector("/nothing"))
    selector = pyarrow.fs.FileSelector("/nothing", allow_not_found=True, recursive=True)
    assert files.get_file_info(selector) == []


def test_only_what_is_missing_is_not_found(memory, files):
    def status(path):
        raise PermissionError(errno.EACCES, "not you", path)

    assert files.get_file_info("/nothing").type == pyarrow.fs.FileType.NotFound
    memory.status = status
    with pytest.raises(PermissionError):
        files.get_file_info("/nothing")


def test_every_request_has_the_deadline_of_its_block(memory, files):
    never = threading.Event()

    def listing(folder):
        if folder == "/folder/silent":
            never.wait()
        return Memory.listing(memory, folder)

    memory.content["/folder/silent"] = None
    memory.listing = listing
    memory.read = lambda path: never.wait()
    with deadline(0.05):
        with pytest.raises(TimeoutError, match="reading the file took"):
            files.handler.read_bytes("/a")
        with pytest.raises(TimeoutError, match="listing the folder took") as caught:
            list(files.handler.walk("/folder"))
    assert caught.value.filename == "memory://there/folder/silent"
    never.set()
