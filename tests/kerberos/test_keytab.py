"""Keytabs: read as MIT reads them; damaged ones are reported, keys are never shown."""

import base64
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from poets.kerberos.keytab import (
    KeytabError,
    keys_of,
    mode_open_to_others,
    read_keytab,
)


def klist(keytab: Path, *options: str) -> list[tuple[str, ...]]:
    """Returns what MIT's klist prints of each key."""
    done = subprocess.run(
        ["klist", "-k", "-e", *options, keytab],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    rows = re.findall(r"^ *(\d+) (\S+) \(([^)]+)\) *(.*)$", done.stdout, re.MULTILINE)
    return [(int(kvno), *rest) for kvno, *rest in rows]


def ours(keytab: Path) -> list[tuple[str, ...]]:
    return [(entry.kvno, entry.principal) for entry in read_keytab(str(keytab))]


def test_it_is_read_as_klist_reads_it(keytab):
    listed = [row[:2] for row in klist(keytab)]
    assert len(listed) == 6
    assert ours(keytab) == listed


def test_the_prefix_of_mit_may_stand_before_the_path(keytab):
    assert read_keytab(f"FILE:{keytab}") == read_keytab(str(keytab))


def test_a_key_version_above_255_is_read(kdc):
    kdc.kadmin("addprinc", "-randkey", "-kvno", "300", "often@LOCAL")
    keytab = kdc.keytab("often", ["often@LOCAL"])
    assert {kvno for kvno, *_ in ours(keytab)} == {300}
    assert ours(keytab) == [row[:2] for row in klist(keytab)]


def test_removed_keys_leave_holes_that_are_skipped(kdc, keytab, tmp_path):
    holed = tmp_path / "holed"
    holed.write_bytes(keytab.read_bytes())
    kdc.kadmin("ktremove", "-k", str(holed), "alice@LOCAL", "all")
    assert holed.stat().st_size == keytab.stat().st_size
    held = {entry.principal for entry in read_keytab(str(holed))}
    assert held == {"tensorflow@LOCAL", "hdfs/localhost@LOCAL"}
    assert ours(holed) == [row[:2] for row in klist(holed)]


def test_no_key_is_shown(keytab):
    keys = re.findall(r"\(0x([0-9a-f]{32,})\)", str(klist(keytab, "-K")))
    assert len(keys) == 6
    raw = [bytes.fromhex(key) for key in keys]
    assert all(key in keytab.read_bytes() for key in raw)
    shown = repr(read_keytab(str(keytab)))
    for key in raw:
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a keytab: it begins with '', not with '05 02'"),
        (b"\x05\x01\0\0", "is not a keytab: it begins with '05 01', not with '05 02'"),
        (b"PK\x03\x04", "is not a keytab: it begins with '50 4b', not with '05 02'"),
        (b"\x05\x02\0\0\1\0ab", "is not a keytab: it ends inside an entry"),
        (b"\x05\x02\0\0", "is not a keytab: it ends too early"),
        (
            b"\x05\x02\0\0\0\4\0\1\0\x99",
            "is not a keytab: a name ends outside its entry",
        ),
    ],
)
def test_what_is_no_keytab_is_said(content, says, tmp_path):
    path = tmp_path / "x.keytab"
    path.write_bytes(content)
    with pytest.raises(KeytabError) as caught:
        read_keytab(str(path))
    assert str(caught.value) == (
        f"{str(path)!r} {says}; export it again (kadmin ktadd), and copy it as a "
        "binary file"
    )


def test_a_secret_that_nobody_decoded_is_recognised(keytab, tmp_path):
    path = tmp_path / "hdfs.keytab"
    path.write_bytes(base64.b64encode(keytab.read_bytes()))
    with pytest.raises(
        KeytabError, match="it is encoded in base64; decode it; DC/OS does so if the"
    ):
        read_keytab(str(path))


def test_a_missing_one_is_said(tmp_path):
    with pytest.raises(KeytabError) as caught:
        read_keytab(str(tmp_path / "none"))
    assert str(caught.value) == (
        f"cannot read keytab {str(tmp_path / 'none')!r}: no such file or directory; "
        "check the path, and that this user may read it"
    )


def test_a_folder_is_none(tmp_path):
    with pytest.raises(KeytabError, match="is a directory; check the path"):
        read_keytab(str(tmp_path))


def test_one_that_may_not_be_read_is_said(unprivileged):
    path = unprivileged / "x.keytab"
    path.write_bytes(b"\x05\x02")
    path.chmod(0)
    with pytest.raises(KeytabError, match="permission denied; check the path, and"):
        read_keytab(str(path))


def test_a_file_too_large_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "x.keytab"
    with path.open("wb") as file:
        file.write(b"\x05\x02")
        file.truncate(20_000_000_000)
    with pytest.raises(KeytabError, match="it has more than 10000000 bytes"):
        read_keytab(str(path))


def test_a_torn_one_gives_its_first_entries_or_an_error(keytab, tmp_path):
    data, whole = keytab.read_bytes(), read_keytab(str(keytab))
    path = tmp_path / "torn"
    reported = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            entries = read_keytab(str(path))
        except KeytabError as error:
            reported += str(path) in str(error)
        else:
            assert entries == whole[: len(entries)]
    assert len(data) - reported == len(whole)  # a cut between two entries is not seen


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_read_or_reported(seed, keytab, tmp_path):
    data = np.frombuffer(keytab.read_bytes(), np.uint8)
    path = tmp_path / "random"
    random = np.random.default_rng(seed)
    reads, said = 0, []
    for _ in range(500):
        changed = data.copy()
        at = random.integers(2, len(data), random.integers(1, 9))
        changed[at] = random.integers(0, 256, len(at))
        path.write_bytes(changed.tobytes()[: random.integers(2, len(data) + 1)])
        try:
            read_keytab(str(path))
        except KeytabError as error:
            said.append(str(error))
        else:
            reads += 1
    assert reads + len(said) == 500
    assert said
    assert all("is not a keytab: " in text for text in said)


def test_the_only_principal_need_not_be_named(kdc):
    alone = kdc.keytab("alone", ["alice@LOCAL"])
    assert {entry.principal for entry in keys_of(str(alone), None)} == {"alice@LOCAL"}


def test_of_several_principals_one_must_be_named(keytab):
    with pytest.raises(KeytabError) as caught:
        keys_of(str(keytab), None)
    assert str(caught.value) == (
        f"keytab {str(keytab)!r} has keys of tensorflow@LOCAL, alice@LOCAL, "
        "hdfs/localhost@LOCAL, and no principal is given; name the one to use "
        "(--kerberos_principal)"
    )


def test_a_principal_that_is_not_in_it_is_reported_with_those_that_are(keytab):
    with pytest.raises(KeytabError) as caught:
        keys_of(str(keytab), "bob@LOCAL")
    assert str(caught.value) == (
        f"keytab {str(keytab)!r} has no key of 'bob@LOCAL', but of tensorflow@LOCAL, "
        "alice@LOCAL, hdfs/localhost@LOCAL; give its own keytab (--kerberos_keytab), "
        "or another principal (--kerberos_principal)"
    )


@pytest.mark.parametrize(
    ("mode", "owner", "is_open"),
    [
        (0o600, "us", False),
        (0o640, "us", True),
        (0o604, "us", True),
        (0o440, "another", False),  # a Secret of Kubernetes
        (0o444, "another", True),
    ],
)
def test_a_keytab_is_open_if_others_than_us_may_read_it(
    tmp_path, require, mode, owner, is_open
):
    path = tmp_path / "keytab"
    path.touch()
    path.chmod(mode)
    if owner == "another":
        require("root", os.geteuid() == 0)
        os.chown(path, 65534, 65534)
    assert mode_open_to_others(str(path)) == (mode if is_open else 0)
