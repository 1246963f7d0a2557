"""Archives: what is unpacked, and what is refused without a trace."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from poets.dcos.unpack import unpack
from poets.errors import ConfigError

TAR_MODES = {".tar": "w", ".tgz": "w:gz", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2"}


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for member in members:
            info = tarfile.TarInfo(member["name"])
            content = member.get("content", b"")
            info.size = len(content)
            info.type = member.get("type", tarfile.REGTYPE)
            info.linkname = member.get("target", "")
            info.mode = member.get("mode", 0o644)
            archive.addfile(info, io.BytesIO(content))
    return path


def tree(folder):
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


GITHUB = {"repo-master/": b"", "repo-master/poets/job.py": b"x = 1\n"}


def test_a_zip_of_a_github_archive_keeps_its_layout(tmp_path):
    unpack(make_zip(tmp_path / "master.zip", GITHUB), tmp_path / "out")
    assert tree(tmp_path / "out") == ["repo-master/poets/job.py"]


@pytest.mark.parametrize("ending", TAR_MODES)
def test_tars_are_unpacked_by_their_ending(tmp_path, ending):
    archive = make_tar(
        tmp_path / f"job{ending}",
        [{"name": "job/a.py", "content": b"a"}, {"name": "job/b", "mode": 0o755}],
        TAR_MODES[ending],
    )
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == ["job/a.py", "job/b"]
    assert not (tmp_path / "out/job/a.py").stat().st_mode & stat.S_IXUSR
    assert (tmp_path / "out/job/b").stat().st_mode & stat.S_IXUSR


def test_what_is_in_the_folder_stays(tmp_path):
    (tmp_path / "out/job").mkdir(parents=True)
    (tmp_path / "out/job/kept").write_text("kept")
    (tmp_path / "out/job/a").write_text("old")
    unpack(make_zip(tmp_path / "j.zip", {"job/a": b"new"}), tmp_path / "out")
    assert tree(tmp_path / "out") == ["job/a", "job/kept"]
    assert (tmp_path / "out/job/a").read_text() == "new"


def test_links_inside_the_folder_work(tmp_path):
    archive = make_tar(
        tmp_path / "j.tgz",
        [
            {"name": "job/v1/a", "content": b"a"},
            {"name": "job/now", "type": tarfile.SYMTYPE, "target": "v1"},
            {"name": "job/twin", "type": tarfile.LNKTYPE, "target": "job/v1/a"},
        ],
    )
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/job/now/a").read_bytes() == b"a"
    assert (tmp_path / "out/job/twin").read_bytes() == b"a"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "job/../../evil",
        "/evil",
        "..\\evil",
        "C:\\evil",
        "\\\\host\\share\\evil",
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_no_name_leads_out(tmp_path, name, kind):
    if kind == "zip":
        archive = make_zip(tmp_path / "j.zip", {"good": b"1", name: b"2"})
    else:
        members = [{"name": "good", "content": b"1"}, {"name": name, "content": b"2"}]
        archive = make_tar(tmp_path / "j.tgz", members)
    with pytest.raises(ConfigError, match=r"cannot unpack 'j\..*would leave the sand"):
        unpack(archive, tmp_path / "a/out")
    assert os.listdir(tmp_path / "a/out") == []
    assert sorted(os.listdir(tmp_path)) == ["a", archive.name]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [{"name": "l", "type": tarfile.SYMTYPE, "target": "/etc"}],
            "link 'l' points to '/etc', outside the sandbox",
        ),
        (
            [{"name": "l", "type": tarfile.SYMTYPE, "target": "../.."}],
            "link 'l' points to '../..', outside",
        ),
        (
            [
                {"name": "l", "type": tarfile.SYMTYPE, "target": ".."},
                {"name": "l/evil", "content": b"x"},
            ],
            "'l' occurs twice, once as a link",
        ),
        (
            [
                {"name": "a", "type": tarfile.SYMTYPE, "target": "b/.."},
                {"name": "b", "type": tarfile.SYMTYPE, "target": "."},
            ],
            "link 'a' points to 'b/..', outside",
        ),
        (
            [{"name": "h", "type": tarfile.LNKTYPE, "target": "/etc/passwd"}],
            "the archive is broken",
        ),
        ([{"name": "d", "type": tarfile.CHRTYPE}], "'d' is a device or a pipe"),
        ([{"name": "p", "type": tarfile.FIFOTYPE}], "'p' is a device or a pipe"),
    ],
)
def test_no_link_or_device_leads_out(tmp_path, members, message):
    archive = make_tar(tmp_path / "j.tgz", members)
    with pytest.raises(ConfigError, match=message):
        unpack(archive, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_link_in_a_zip_is_checked_too(tmp_path):
    info = zipfile.ZipInfo("l")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "j.zip", "w") as archive:
        archive.writestr(info, "../outside")
    with pytest.raises(ConfigError, match=r"link 'l' points to '\.\./outside'"):
        unpack(tmp_path / "j.zip", tmp_path / "out")


def test_a_bomb_is_refused_by_what_really_comes_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "j.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(600_000))
        archive.writestr("b", bytes(600_000))
    with pytest.raises(ConfigError, match="unpacks to more than 1,000,000 bytes"):
        unpack(tmp_path / "j.zip", tmp_path / "out", max_bytes=1_000_000)
    assert os.listdir(tmp_path / "out") == []


def test_a_flood_of_entries_is_refused(tmp_path):
    archive = make_zip(tmp_path / "j.zip", {str(n): b"" for n in range(11)})
    with pytest.raises(ConfigError, match="more than 10 entries"):
        unpack(archive, tmp_path / "out", max_members=10)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("j.zip", b"", "'j.zip': it is empty"),
        ("j.zip", b"\n<!DOCTYPE html><title>Log in", "it is a web page, found"),
        ("j.zip", b"PK\x03\x04 and no more", "the archive is broken"),
        ("j.tgz", b"\x1f\x8b\x08\x00 and no more", "the archive is broken"),
        ("j.tar", b"neither", "the archive is broken"),
    ],
)
def test_what_is_not_an_archive_is_reported(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("ending", [".zip", ".tgz"])
def test_a_torn_archive_leaves_nothing(tmp_path, ending):
    whole = tmp_path / f"whole{ending}"
    content = os.urandom(100_000)
    if ending == ".zip":
        make_zip(whole, {"a": b"1", "b": content})
    else:
        make_tar(whole, [{"name": "a"}, {"name": "b", "content": content}])
    torn = tmp_path / f"torn{ending}"
    torn.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(ConfigError, match="cannot unpack 'torn.*archive is broken"):
        unpack(torn, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
