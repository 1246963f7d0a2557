"""Reads principals files, which list one principal per line for the KDC to create.

    # the demo's job
    tensorflow@LOCAL
    hdfs/namenode.example.com      the realm is added

All problems of a file are reported together, with their lines.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from poets.errors import ConfigError, format_problems

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
OF_THE_KDC = ("K", "krbtgt", "kadmin")
"""First parts of the KDC's own principals."""


def read_principals(path: Path, realm: str) -> list[str]:
    """Returns the principals of a file, with their realm, in its order.

    Raises:
      ConfigError: if the file cannot be read or is empty, or for malformed and
        duplicate principals; lists all of these with their lines.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = "it is not UTF-8 text"
        if isinstance(error, OSError):
            found = os.strerror(error.errno or 0).lower()
        raise ConfigError(
            f"cannot read principals file {str(path)!r}: {found}; give a text file "
            "with one principal per line"
        ) from error
    lines = enumerate(text.splitlines(), start=1)
    named = [(f"line {i}", line.partition("#")[0].strip()) for i, line in lines]
    named = [(where, principal) for where, principal in named if principal]
    if not named:
        raise ConfigError(
            f"no principal in {str(path)!r}; write one per line, like 'alice@{realm}'"
        )
    return check_principals(named, realm, f"principals file {str(path)!r}")


def check_principals(
    named: Iterable[tuple[str, str]], realm: str, title: str
) -> list[str]:
    """Returns principals with their realm.

    Args:
      named: pairs of place and principal.
      realm: the KDC's realm, added to names without one.
      title: start of the error message, such as "principals file 'x'".

    Raises:
      ConfigError: lists all malformed and duplicate principals.
    """
    first: dict[str, str] = {}
    problems = []
    for where, text in named:
        name, at, of = text.partition("@")
        parts = name.split("/")
        principal = f"{name}@{realm}"
        if not all(PART.fullmatch(part) for part in parts):
            problems.append(
                f"{where}: {text!r} is not a principal; write name@{realm} or "
                f"service/host@{realm}"
            )
        elif at and of != realm:
            problems.append(
                f"{where}: {text!r} is of realm {of!r}; this KDC's is {realm!r}"
            )
        elif parts[0] in OF_THE_KDC:
            problems.append(
                f"{where}: {text!r} belongs to the KDC itself; leave it out"
            )
        elif principal in first:
            problems.append(
                f"{where}: {principal!r} again, first in {first[principal]}; "
                "keep one of them"
            )
        else:
            first[principal] = where
    if problems:
        raise ConfigError(format_problems(title, problems))
    return list(first)
