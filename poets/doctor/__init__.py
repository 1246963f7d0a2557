"""Checks step by step whether a job can use a storage.

    Checkup("hdfs://default", reads, writes)
        │
        ▼
    client library ─> configuration ─> … ─> ticket ─> … ─> NameNode ─> list ─> read ─> …
        ok               ok                  FAILED         not reached

Each step is a small function that takes the checkup and returns a `Finding`, or raises.
The first failure ends the checkup, since later steps would fail for the same reason. A
failure names the file, the host or the principal, what was found, and one thing to do.
No step exceeds its deadline or leaves anything behind.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from poets.errors import StorageError
from poets.storage import reason, scheme_of

TIMEOUT_S = 10.0
"""Deadline of a step: long for a healthy cluster, short for a waiting user."""

OK, FAILED, LEFT_OUT, NOT_REACHED = "ok", "failed", "left out", "not reached"


@dataclass(frozen=True)
class Checkup:
    """A storage, and how a job uses it.

    Attributes:
      storage: scheme and authority, as "hdfs://default"; "" for local paths.
      reads: URLs of folders or files that are read.
      writes: URLs of folders for results.
      job_s: how long the job may take, in seconds.
    """

    storage: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    job_s: float = 3600.0

    @property
    def scheme(self) -> str:
        """The scheme, lower case; "" for local paths."""
        return scheme_of(self.storage)

    @property
    def url(self) -> str:
        """The first URL that is used."""
        return (*self.reads, *self.writes)[0]


@dataclass(frozen=True)
class Finding:
    """The result of a step that passed.

    Attributes:
      text: one line.
      details: more lines: which values are used, and where they are from.
      applies: False if there was nothing to check; `text` is the reason.
    """

    text: str
    details: tuple[str, ...] = ()
    applies: bool = True


class StepError(StorageError):
    """What a step found wrong, and the one thing to do about it."""

    def __init__(self, found: str, cure: str = ""):
        super().__init__(f"{found}; {cure}" if cure else found)
        self.found = found
        self.cure = cure

    @classmethod
    def of(cls, error: BaseException, what: str = "", cure: str = "") -> "StepError":
        """Returns the failure for an error whose text is "what was found; what to do".

        Args:
          error: of a call to a storage, or PoetsError.
          what: what failed, such as "cannot list 'a/b'"; "" if the error includes it.
          cure: what to do, if the error does not include it.
        """
        text = reason(error) if isinstance(error, OSError) else str(error)
        found, own_cure = _halves(text)
        failure = cls(f"{what}: {found}" if what else found, own_cure or cure)
        failure.exit_code = getattr(error, "exit_code", cls.exit_code)
        return failure


def _halves(text: str) -> tuple[str, str]:
    """Returns what was found and what to do, split at a "; " outside brackets."""
    for match in re.finditer("; ", text):
        found = text[: match.start()]
        if found.count("(") == found.count(")"):
            return found, text[match.end() :]
    found, _, cure = text.partition("; ")
    return found, cure


Check = Callable[[Checkup], Finding]


@dataclass(frozen=True)
class Step:
    """One step of a checklist.

    Attributes:
      name: a few words.
      checks: what is true if it passes.
      check: does the check; raises PoetsError or OSError if it fails.
    """

    name: str
    checks: str
    check: Check


def step(name: str, checks: str) -> Callable[[Check], Step]:
    """Makes a step of the decorated function; `name` and `checks` are those of Step."""
    return lambda check: Step(name, checks, check)


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step.

    Attributes:
      storage, name, checks: of the checkup and the step.
      status: `ok`, `failed`, `left out` or `not reached`.
      found: one line; for a failure, what is wrong.
      cure: the one thing to do, if it failed.
      principal: our principal, if it failed and that is known.
      details: more lines.
      seconds: how long it took.
      timeout_s: its deadline.
    """

    storage: str
    name: str
    checks: str
    status: str
    found: str = ""
    cure: str = ""
    principal: str = ""
    details: tuple[str, ...] = ()
    seconds: float = 0.0
    timeout_s: float = TIMEOUT_S
