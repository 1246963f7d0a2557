"""Principals files: what counts, and that all mistakes are reported by line."""

from pathlib import Path

import pytest

from poets.errors import ConfigError
from tools.kdc.principals import read_principals

ROOT = Path(__file__).parents[2]


def read(tmp_path, text: str | bytes) -> list[str]:
    path = tmp_path / "principals.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_principals(path, "LOCAL")


def told(tmp_path, text) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(tmp_path), "DIR")


def test_comments_and_blank_lines_do_not_count(tmp_path):
    text = (
        "# the demo\n\ntensorflow@LOCAL\n   \n\talice@LOCAL  # somebody else\n"
        "hdfs/localhost@LOCAL# no blank"
    )
    principals = ["tensorflow@LOCAL", "alice@LOCAL", "hdfs/localhost@LOCAL"]
    assert read(tmp_path, text) == principals


def test_the_realm_is_added(tmp_path):
    assert read(tmp_path, "alice\nHTTP/a.b-c_1.d\n") == [
        "alice@LOCAL",
        "HTTP/a.b-c_1.d@LOCAL",
    ]


def test_line_ends_and_marks_of_windows_are_taken(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfalice@LOCAL\r\nbob\r\n") == [
        "alice@LOCAL",
        "bob@LOCAL",
    ]


def test_all_mistakes_are_named_with_their_lines(tmp_path):
    text = (
        "alice\n"
        "# fine\n"
        "al ice\n"
        "alice@LOCAL\n"
        "bob@OTHER\n"
        "@LOCAL\n"
        "hdfs/\n"
        "krbtgt/LOCAL\n"
        "bob@LOCAL@LOCAL\n"
        "-randkey\n"
    )
    assert told(tmp_path, text) == (
        "principals file 'DIR/principals.txt': 8 problems\n"
        "  - line 3: 'al ice' is not a principal; write name@LOCAL or "
        "service/host@LOCAL\n"
        "  - line 4: 'alice@LOCAL' again, first in line 1; keep one of them\n"
        "  - line 5: 'bob@OTHER' is of realm 'OTHER'; this KDC's is 'LOCAL'\n"
        "  - line 6: '@LOCAL' is not a principal; write name@LOCAL or "
        "service/host@LOCAL\n"
        "  - line 7: 'hdfs/' is not a principal; write name@LOCAL or "
        "service/host@LOCAL\n"
        "  - line 8: 'krbtgt/LOCAL' belongs to the KDC itself; leave it out\n"
        "  - line 9: 'bob@LOCAL@LOCAL' is of realm 'LOCAL@LOCAL'; this KDC's is "
        "'LOCAL'\n"
        "  - line 10: '-randkey' is not a principal; write name@LOCAL or "
        "service/host@LOCAL"
    )


@pytest.mark.parametrize(
    "name", ["a;b", "$(reboot)", "a`b`", "a'b", 'a"b', "a\\b", "*", "ü", "a\0b"]
)
def test_nothing_that_a_shell_would_read_is_a_principal(name, tmp_path):
    assert "is not a principal" in told(tmp_path, f"{name}@LOCAL\n")


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n  # comments\n"])
def test_a_file_without_principals_is_reported(text, tmp_path):
    assert told(tmp_path, text) == (
        "no principal in 'DIR/principals.txt'; write one per line, like 'alice@LOCAL'"
    )


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_principals(tmp_path / "absent", "LOCAL")
    assert str(caught.value) == (
        f"cannot read principals file {str(tmp_path / 'absent')!r}: no such file or "
        "directory; give a text file with one principal per line"
    )


def test_a_keytab_in_its_place_is_reported(tmp_path):
    assert "it is not UTF-8 text" in told(tmp_path, b"\x05\x02\0\0\0\x41\xff")


def test_the_demos_file_is_the_principal_of_its_options():
    path = ROOT / "demo" / "tensorflow-principals.txt"
    assert read_principals(path, "LOCAL") == ["tensorflow@LOCAL"]
