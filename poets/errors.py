"""The exceptions that poets raises for reasons the caller can act on.

* PoetsError
  + ConfigError            the flags, the context or the options are wrong
  + DatasetError           the labelled folders cannot train a classifier
  + ModelError             a backbone or an exported model is not what it should be
  + StorageError           a path cannot be listed, read or written
    - UnknownSchemeError   no storage for this kind of URL
  + NotAuthenticatedError  a storage does not accept our identity
    - KerberosError        there is no Kerberos ticket

File-system calls raise the built-in that a Python reader expects (FileNotFoundError,
FileExistsError, PermissionError, TimeoutError, ConnectionError, OSError with an errno),
made as `Kind(errno, "what was found; what to do", url)`; of the above, they raise only
NotAuthenticatedError. Only after a ConnectionError may a retry help.

Messages have three parts: what failed on which value, what was found, what to do.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

A_FEW = 20
"""The most lines of one kind in a log, or names in a sentence; others are counted."""


class PoetsError(Exception):
    """Base of all errors that are reported as one clear message."""

    exit_code = 1


class ConfigError(PoetsError, ValueError):
    """The flags, the context or the options are wrong."""

    exit_code = 2


class DatasetError(PoetsError, ValueError):
    """The labelled folders cannot train a classifier."""

    exit_code = 2


class ModelError(PoetsError):
    """A backbone or an exported model is not what it should be."""


class StorageError(PoetsError, OSError):
    """A path cannot be listed, read or written."""


class UnknownSchemeError(StorageError):
    """No storage is known for this kind of URL."""

    exit_code = 2


class NotAuthenticatedError(PoetsError, PermissionError):
    """A storage does not accept our identity."""


class KerberosError(NotAuthenticatedError):
    """There is no Kerberos ticket."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns " (did you mean 'x'?)" for the known name nearest to `name`, or ""."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def format_problems(title: str, problems: list[str]) -> str:
    """Returns one message for all problems found at once."""
    if len(problems) == 1:
        return f"{title}: {problems[0]}"
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return f"{title}: {len(problems)} problems{lines}"


def json_kind(value: object) -> str:
    """Describes the type of a JSON value."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", str: "text", dict: "an object"}
    more = {list: "a list", tuple: "a list"}
    return (kinds | more).get(type(value), "a number")


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, or its kind if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def listed(names: Sequence[str]) -> str:
    """Returns names for a sentence, as "'daisy', 'roses' and 17 more"."""
    shown = ", ".join(map(repr, names[:A_FEW]))
    more = len(names) - A_FEW
    return f"{shown} and {more} more" if more > 0 else shown
