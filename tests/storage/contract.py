"""What every storage promises, as tests; a backend adds the fixtures.

    class TestLocal(StorageContract):
        folder_url      an empty folder, as a URL
        refused_url     a folder that cannot be made or written
        as_seen         returns a URL's bytes, read behind the storage's back

and says where it differs: `quoted` returns the URL of a name, where URLs must be
quoted; see also `tests.storage.at_once`.
"""

import errno
import posixpath
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pyarrow.fs
import pytest

from poets.errors import StorageError
from poets.storage import (
    exists,
    join,
    kind_of,
    open_storage,
    read_bytes,
    read_url,
    rename,
)
from poets.storage.parts import PART_SUFFIX
from poets.storage.publish import Publication, check_writable, write_atomically
from tests.storage.at_once import AtOnceContract, names_below

NAMES = ["a", "a b", "a#b?c", "100%", "%41", "käse-花", "it's", 'a"b', "a\\b", ".a"]


def parts_below(url: str) -> list[str]:
    return [name for name in names_below(url) if PART_SUFFIX in name]


@pytest.fixture
def model(tmp_path):
    """A local folder to publish: two files, one of them in a folder of its own."""
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "index").write_bytes(b"")
    return folder


class StorageContract(AtOnceContract):
    """Tests that hold for every backend."""

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
    def test_what_is_written_is_read(self, folder_url, as_seen, data):
        url = join(folder_url, "out", "graph.pb")
        write_atomically(url, data)
        assert read_url(url) == as_seen(url) == data
        assert read_bytes(*open_storage(url)) == data
        assert names_below(folder_url) == ["out/graph.pb"]

    @pytest.mark.parametrize("name", NAMES)
    def test_any_name_is_a_file(self, folder_url, name):
        url = self.quoted(folder_url, name)
        write_atomically(url, name.encode())
        assert read_url(url) == name.encode()
        assert names_below(folder_url) == [name]

    def quoted(self, folder_url, name):
        """Returns the URL of a name; where a URL must be quoted this is overridden."""
        return join(folder_url, name)

    def test_a_file_replaces_an_earlier_one(self, folder_url):
        url = join(folder_url, "labels.txt")
        for data in (b"long before", b"after"):
            write_atomically(url, data)
            assert read_url(url) == data
        assert names_below(folder_url) == ["labels.txt"]

    def test_files_folders_and_nothing_are_distinguished(self, folder_url):
        write_atomically(join(folder_url, "folder", "file"), b"")
        kinds = {
            name: kind_of(join(folder_url, *name.split("/")))
            for name in ("folder", "folder/file", "nothing", "folder/file/below")
        }
        assert kinds == {
            "folder": pyarrow.fs.FileType.Directory,
            "folder/file": pyarrow.fs.FileType.File,
            "nothing": pyarrow.fs.FileType.NotFound,
            "folder/file/below": pyarrow.fs.FileType.NotFound,
        }
        assert exists(join(folder_url, "folder"))
        assert not exists(join(folder_url, "nothing"))

    def test_nothing_is_seen_before_commit(self, folder_url, model):
        graph, saved = join(folder_url, "graph"), join(folder_url, "saved", "1")
        with Publication() as publication:
            publication.add_file(graph, b"new")
            publication.add_folder(saved, str(model))
            assert not exists(graph)
            assert not exists(saved)
            publication.commit()
            assert read_url(graph) == b"new"
        assert names_below(folder_url) == [
            "graph",
            "saved/1/saved_model.pb",
            "saved/1/variables/index",
        ]

    def test_an_exception_before_commit_leaves_what_was_there(self, folder_url, model):
        graph, saved = join(folder_url, "graph"), join(folder_url, "saved")
        write_atomically(graph, b"old")
        with (  # noqa: PT012, the block is what is tested
            pytest.raises(KeyboardInterrupt),
            Publication() as publication,
        ):
            publication.add_file(graph, b"new")
            publication.add_folder(saved, str(model))
            raise KeyboardInterrupt
        assert read_url(graph) == b"old"
        assert names_below(folder_url) == ["graph"]

    def test_a_folder_is_replaced_whole(self, folder_url, model):
        url = join(folder_url, "saved", "1")
        for stale in ("stale.pb", "variables/stale"):
            write_atomically(join(url, *stale.split("/")), b"stale")
        with Publication() as publication:
            publication.add_folder(url + "/", str(model))
            publication.commit()
        assert names_below(folder_url) == [
            "saved/1/saved_model.pb",
            "saved/1/variables/index",
        ]

    def test_a_file_does_not_take_the_place_of_a_folder(self, folder_url):
        write_atomically(join(folder_url, "flowers", "daisy.jpg"), b"precious")
        with pytest.raises(StorageError, match="cannot write .*: is a directory"):
            write_atomically(join(folder_url, "flowers"), b"graph")
        assert names_below(folder_url) == ["flowers/daisy.jpg"]

    def test_a_folder_does_not_take_the_place_of_a_file(self, folder_url, model):
        write_atomically(join(folder_url, "file"), b"precious")
        with (  # noqa: PT012, discarding is part of it
            pytest.raises(StorageError, match="cannot publish .*/file'"),
            Publication() as publication,
        ):
            publication.add_folder(join(folder_url, "file"), str(model))
            publication.commit()
        assert read_url(join(folder_url, "file")) == b"precious"
        assert names_below(folder_url) == ["file"]

    def test_a_rerun_gives_the_same_files(self, folder_url, model):
        for _ in range(3):
            with Publication() as publication:
                publication.add_folder(join(folder_url, "saved"), str(model))
                publication.add_file(join(folder_url, "labels.txt"), b"daisy\n")
                publication.commit()
        assert names_below(folder_url) == [
            "labels.txt",
            "saved/saved_model.pb",
            "saved/variables/index",
        ]

    def test_what_a_killed_writer_left_disturbs_nobody(self, folder_url, model):
        killed = Publication()
        killed.add_file(join(folder_url, "graph"), b"half")
        killed.add_folder(join(folder_url, "saved"), str(model))
        left = parts_below(folder_url)
        assert len(left) == 3
        write_atomically(join(folder_url, "graph"), b"whole")
        with Publication() as publication:
            publication.add_folder(join(folder_url, "saved"), str(model))
            publication.commit()
        assert read_url(join(folder_url, "graph")) == b"whole"
        assert parts_below(folder_url) == left  # of somebody who may still be writing
        killed.discard()
        assert parts_below(folder_url) == []

    def test_parts_are_hidden_files(self, folder_url):
        publication = Publication()
        publication.add_file(join(folder_url, "graph.pb"), b"")
        (part,) = names_below(folder_url)
        assert part.startswith(".graph.pb.")
        publication.discard()

    def test_a_missing_file_is_reported(self, folder_url):
        url = join(folder_url, "nothing")
        with pytest.raises(StorageError, match="^cannot read ") as caught:
            read_url(url)
        assert repr(url) in str(caught.value)
        assert isinstance(caught.value.__cause__, FileNotFoundError)
        filesystem, path = open_storage(url)
        for act in (
            lambda: read_bytes(filesystem, path),
            lambda: filesystem.open_input_stream(path),
            lambda: filesystem.open_input_file(path),
            lambda: filesystem.delete_file(path),
            lambda: filesystem.get_file_info(pyarrow.fs.FileSelector(path)),
            lambda: rename(filesystem, path, path + "2", overwrite=False),
            lambda: rename(filesystem, path, path + "2", overwrite=True),
        ):
            with pytest.raises(FileNotFoundError):
                act()

    def test_a_folder_is_no_file(self, folder_url):
        write_atomically(join(folder_url, "folder", "file"), b"")
        with pytest.raises(StorageError, match="cannot read .*/folder'"):
            read_url(join(folder_url, "folder"))

    def test_a_place_that_can_be_written_is_left_as_it_was(self, folder_url):
        check_writable(join(folder_url, "deep", "er"))
        assert names_below(folder_url) == []
        assert exists(join(folder_url, "deep", "er"))

    def test_a_place_that_cannot_be_written_is_reported(self, refused_url):
        for act in (
            lambda: check_writable(refused_url),
            lambda: write_atomically(join(refused_url, "graph"), b"x"),
        ):
            with pytest.raises(StorageError, match="cannot write ") as caught:
                act()
            text = str(caught.value)
            assert refused_url in text
            assert "what was there before is unchanged" in text
            assert "Detail" not in text
            assert caught.value.__cause__ is not None
            assert caught.value.exit_code == 1

    def test_a_recursive_listing_is_what_was_written(self, folder_url):
        sizes = {
            f"{label}/{number}/{i}.jpg": 10 * number + i
            for label in ("daisy", "käse 花", "roses")
            for number in range(3)
            for i in range(5)
        }
        filesystem, root = open_storage(folder_url)
        before = datetime.now(timezone.utc) - timedelta(minutes=5)
        for name, size in sizes.items():
            path = posixpath.join(root, name)
            filesystem.create_dir(posixpath.dirname(path), recursive=True)
            with filesystem.open_output_stream(path) as stream:
                stream.write(bytes(size))
        infos = filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
        files = [info for info in infos if info.type == pyarrow.fs.FileType.File]
        folders = [info for info in infos if info.type != pyarrow.fs.FileType.File]
        assert {info.path[len(root) + 1 :]: info.size for info in files} == sizes
        assert all(info.mtime > before for info in files)
        assert {info.type for info in folders} <= {pyarrow.fs.FileType.Directory}
        assert {info.base_name for info in folders} <= {
            *("daisy", "käse 花", "roses"),
            *("0", "1", "2"),
        }
        shallow = filesystem.get_file_info(pyarrow.fs.FileSelector(root))
        assert sorted(info.base_name for info in shallow) == [
            *("daisy", "käse 花", "roses")
        ]

    def test_a_folder_that_was_made_is_there_and_empty(self, folder_url):
        filesystem, root = open_storage(join(folder_url, "deep", "er"))
        for _ in range(2):
            filesystem.create_dir(root, recursive=True)
            for path in (root, posixpath.dirname(root)):
                found = filesystem.get_file_info(path).type
                assert found == pyarrow.fs.FileType.Directory
            assert filesystem.get_file_info(pyarrow.fs.FileSelector(root)) == []
        filesystem.delete_dir(root)
        assert not exists(join(folder_url, "deep", "er"))

    def test_32_threads_read(self, folder_url):
        names = [f"{i:02}.jpg" for i in range(32)]
        with ThreadPoolExecutor(8) as pool:
            urls = [join(folder_url, name) for name in names]
            written = [name.encode() * 1000 for name in names]
            list(pool.map(write_atomically, urls, written))
        filesystem, root = open_storage(folder_url)
        paths = [posixpath.join(root, name) for name in names] * 2
        with ThreadPoolExecutor(32) as pool:
            read = list(pool.map(lambda path: read_bytes(filesystem, path), paths))
        assert read == written * 2

    def test_a_rename_without_overwriting_refuses(self, folder_url, model):
        filesystem, root = open_storage(folder_url)
        for name in ("one", "other", "folder/file", "more/file"):
            write_atomically(join(folder_url, *name.split("/")), name.encode())
        for source, target in (
            ("one", "other"),
            ("one", "folder"),
            ("folder", "more"),
            ("folder", "one"),
        ):
            with pytest.raises(FileExistsError):
                rename(filesystem, f"{root}/{source}", f"{root}/{target}", False)
        assert names_below(folder_url) == ["folder/file", "more/file", "one", "other"]
        assert read_url(join(folder_url, "other")) == b"other"
        rename(filesystem, f"{root}/one", f"{root}/new", overwrite=False)
        rename(filesystem, f"{root}/folder", f"{root}/new folder", overwrite=False)
        assert read_url(join(folder_url, "new")) == b"one"
        assert names_below(folder_url) == [
            *("more/file", "new", "new folder/file", "other")
        ]

    def test_a_rename_with_overwriting_replaces_a_file(self, folder_url):
        filesystem, root = open_storage(folder_url)
        for name in ("one", "other"):
            write_atomically(join(folder_url, name), name.encode())
        for target in ("other", "new"):
            write_atomically(join(folder_url, "one"), b"one")
            rename(filesystem, f"{root}/one", f"{root}/{target}", overwrite=True)
            assert read_url(join(folder_url, target)) == b"one"
        assert names_below(folder_url) == ["new", "other"]


def is_disk_full(error: BaseException) -> bool:
    """Returns whether a full disk is what an error comes from."""
    return getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EFBIG)
