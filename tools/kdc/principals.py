"""Principals files: one principal a line, for the KDC to make.

    # the demo's job
    tensorflow@LOCAL
    hdfs/namenode.example.com      the realm is added

All that is wrong in a file is told at once, each with its line.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from poets.errors import ConfigError, format_problems

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
OF_THE_KDC = ("K", "krbtgt", "kadmin")
"""First parts of the principals that a KDC makes for itself."""


def read_principals(path: Path, realm: str) -> list[str]:
    """Returns the principals of a file, with their realm, in its order.

    Raises:
      ConfigError: if the file cannot be read, holds none, or holds malformed ones or
        one twice; all of these at once, with their lines.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = "it is no UTF-8 text"
        if isinstance(error, OSError):
            found = os.strerror(error.errno or 0).lower()
        raise ConfigError(
            f"cannot read principals file {str(path)!r}: {found}; give a text file "
            "with one principal a line"
        ) from error
    lines = enumerate(text.splitlines(), start=1)
    named = [(f"line {i}", line.partition("#")[0].strip()) for i, line in lines]
    named = [(where, principal) for where, principal in named if principal]
    if not named:
        raise ConfigError(
            f"no principal in {str(path)!r}; write one a line, like 'alice@{realm}'"
        )
    return check_principals(named, realm, f"principals file {str(path)!r}")


def check_principals(
    named: Iterable[tuple[str, str]], realm: str, title: str
) -> list[str]:
    """Returns principals with their realm.

    Args:
      named: (where it was found, principal) of each.
      realm: the KDC's, which is added where there is none.
      title: begins the message, as "principals file 'x'".

    Raises:
      ConfigError: if there are malformed ones or one comes twice; all at once.
    """
    first: dict[str, str] = {}
    problems = []
    for where, text in named:
        name, at, of = text.partition("@")
        parts = name.split("/")
        principal = f"{name}@{realm}"
        if not all(PART.fullmatch(part) for part in parts):
            problems.append(
                f"{where}: {text!r} is no principal; write name@{realm} or "
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
