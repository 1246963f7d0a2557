"""What is below a folder: each real folder once, whatever links to it."""

import os
import posixpath
import threading
import time

import pytest
from pyarrow.fs import FileType

from poets.storage import open_storage
from poets.storage.backend import Status
from poets.storage.handler import file_system
from poets.storage.tree import Entry, walk


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "flowers"
    for path in ("rose/1", "tulip/2", "tulip/deep/3"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"12345")
    return root


def entries(root, **more):
    return list(walk(*open_storage(str(root)), **more))


def files(root):
    return sorted(entry.path for entry in entries(root) if entry.kind == FileType.File)


def test_files_have_their_length_and_time_and_folders_are_listed_too(root):
    os.utime(root / "rose" / "1", ns=(1, 1_700_000_000_123_456_789))
    found = {entry.path: entry for entry in entries(root)}
    assert set(found) == {
        *("rose", "rose/1", "tulip", "tulip/2", "tulip/deep", "tulip/deep/3")
    }
    mtime_ns = 1_700_000_000_123_456_789
    assert found["rose/1"] == Entry("rose/1", FileType.File, 5, mtime_ns)
    assert found["tulip/deep"] == Entry("tulip/deep", FileType.Directory)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        *(("rose/all", ".."), ("all", "."), ("tulip/deep/up", "../../..")),
        *(("a", "tulip"), ("rose/z", "../tulip/deep"), ("root", "/"), ("a", "rose/.")),
    ],
)
def test_a_link_to_a_folder_that_is_listed_or_above_changes_nothing(root, link, target):
    before = files(root)
    (root / link).symlink_to(target)
    (root / "rose" / "again").symlink_to(root)  # with several, there would be no end
    assert files(root) == before
    leads_to = {entry.path: entry.leads_to for entry in entries(root)}
    assert leads_to[link] == os.path.realpath(root / link)


def test_pictures_keep_the_name_of_their_real_folder(root):
    """Also where the link comes first in the listing and in the alphabet."""
    (root / "rose" / "a").symlink_to("../tulip")
    (root / "A").symlink_to("tulip")
    assert files(root) == ["rose/1", "tulip/2", "tulip/deep/3"]


def test_a_folder_elsewhere_has_the_name_of_the_first_link_to_it(root, tmp_path):
    (tmp_path / "lily" / "deep").mkdir(parents=True)
    (tmp_path / "lily" / "deep" / "4").touch()
    (tmp_path / "lily" / "back").symlink_to(root)
    for name in ("z", "b", "c"):
        (root / name).symlink_to(tmp_path / "lily")
    assert files(root)[0] == "b/deep/4"
    assert len(files(root)) == 4


def test_a_folder_that_is_itself_a_link_is_listed(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert files(tmp_path / "link") == files(root)
    assert files(f"{tmp_path}/link/") == files(root)


def test_what_is_no_file_and_leads_nowhere_has_its_kind(root):
    os.mkfifo(root / "pipe")
    (root / "broken").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "below").symlink_to("rose/1/file")
    found = {entry.path: entry for entry in entries(root)}
    assert found["pipe"].kind == FileType.Unknown
    for name, target in (
        *(("broken", "nowhere"), ("loop", "loop"), ("below", "rose/1/file")),
    ):
        assert found[name].kind == FileType.NotFound
        assert found[name].leads_to == target


def test_a_folder_that_is_not_entered_need_not_be_readable(unprivileged):
    (unprivileged / "lost+found").mkdir(mode=0)
    (unprivileged / "a").mkdir()
    found = entries(unprivileged, enters=lambda path: path == "a")
    assert sorted(entry.path for entry in found) == ["a", "lost+found"]


def test_a_forbidden_folder_is_named_or_passed_over(unprivileged):
    (unprivileged / "a").mkdir(mode=0)
    (unprivileged / "b").touch()
    with pytest.raises(PermissionError) as caught:
        entries(unprivileged)
    assert caught.value.filename == f"{unprivileged}/a"
    refused = []
    found = entries(unprivileged, forbidden=lambda path, error: refused.append(path))
    assert (refused, sorted(entry.path for entry in found)) == (["a"], ["a", "b"])


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError):
        entries(tmp_path / "absent")


class Tree:
    """A backend whose folders are local, and may be forbidden or silent."""

    type_name, root = "tree", "tree://there"

    def __init__(self):
        self.forbidden = self.silent = ""
        self.listed = []
        self.end = threading.Event()

    def listing(self, folder):
        self.listed.append(folder)
        if self.forbidden and folder.endswith(self.forbidden):
            raise PermissionError(13, "Permission denied", self.root + folder)
        if self.silent and folder.endswith(self.silent):
            self.end.wait()
        return [
            Status(
                *(posixpath.join(folder, name.name), name.is_dir(), 5, 1),
                *("", "", 0, 0),
            )
            for name in sorted(os.scandir(folder), key=lambda name: name.name)
        ]


@pytest.fixture
def tree():
    tree = Tree()
    yield tree
    tree.end.set()


def test_a_storage_lists_only_folders_that_are_entered(root, tree):
    def enters(path):
        return path != "tulip"

    found = walk(file_system(tree), f"{root}/", enters)
    assert sorted(entry.path for entry in found) == ["rose", "rose/1", "tulip"]
    assert tree.listed == [str(root), f"{root}/rose"]


def test_a_forbidden_folder_of_a_storage_is_named_or_passed_over(root, tree):
    tree.forbidden = "tulip"
    with pytest.raises(PermissionError) as caught:
        list(walk(file_system(tree), str(root)))
    assert caught.value.filename == f"tree://there{root}/tulip"
    refused = []
    found = walk(
        *(file_system(tree), str(root)),
        forbidden=lambda path, error: refused.append(path),
    )
    assert sorted(entry.path for entry in found) == ["rose", "rose/1", "tulip"]
    assert refused == ["tulip"]


def test_who_stops_listing_does_not_wait_for_a_silent_server(root, tree):
    """As Ctrl-C does: it ends the generator while requests are on their way."""
    tree.silent = "tulip"
    found = walk(file_system(tree), str(root))
    start = time.monotonic()
    while next(found).path != "rose/1":
        pass
    found.close()
    assert time.monotonic() - start < 60  # the request has 120 s
