"""HDFS's old rename made safe: what is in the way, and what went into a folder."""

import pytest

from poets.storage.backend import Backend, Status
from poets.storage.hadoop.old_rename import bring_back, refuse_target


class OldHdfs(Backend):
    """Paths in memory, renamed as HDFS's old call does: into a folder in its way."""

    root, type_name = "old:/", "old"
    listing = read = reader = writer = make_folder = delete = rename = None

    def __init__(self, files: set[str], folders: set[str]) -> None:
        self.files, self.folders = files, folders

    def status(self, path: str) -> Status:
        if path not in self.files | self.folders:
            raise FileNotFoundError
        return Status(path, path in self.folders, 0, 0, "", "", 0, 0)

    def move(self, source: str, target: str) -> None:
        if target in self.folders:
            target += f"/{source.rpartition('/')[2]}"
        for kind in (self.files, self.folders):
            if source in kind:
                kind.remove(source)
                kind.add(target)


@pytest.mark.parametrize(
    ("source", "target", "overwrite", "is_in_the_way"),
    [
        ("/file", "/new", False, False),
        ("/folder", "/new", True, False),
        ("/file", "/other", True, True),
        ("/file", "/other", False, FileExistsError),
        ("/file", "/folder", True, FileExistsError),
        ("/folder", "/other", True, FileExistsError),
        ("/folder", "/more", True, FileExistsError),
        ("/none", "/new", False, FileNotFoundError),
        ("/file", "/none/new", False, FileNotFoundError),
    ],
)
def test_what_is_in_the_way_is_found(source, target, overwrite, is_in_the_way):
    backend = OldHdfs({"/file", "/other"}, {"/", "/folder", "/more"})
    if isinstance(is_in_the_way, bool):
        assert refuse_target(backend, source, target, overwrite) == is_in_the_way
        return
    with pytest.raises(is_in_the_way):
        refuse_target(backend, source, target, overwrite)


def test_what_went_into_a_folder_is_brought_back():
    backend = OldHdfs(set(), {"/part", "/saved"})
    backend.move("/part", "/saved")
    assert backend.folders == {"/saved", "/saved/part"}
    with pytest.raises(FileExistsError):
        bring_back(backend, backend.move, "/part", "/saved")
    assert backend.folders == {"/part", "/saved"}


def test_what_went_to_its_place_stays():
    backend = OldHdfs({"/part"}, {"/"})
    backend.move("/part", "/graph")
    bring_back(backend, backend.move, "/part", "/graph")
    assert backend.files == {"/graph"}
