"""Whether a storage can be used, found out step by step.

    Checkup("hdfs://default", reads, writes)
        │
        ▼
    client library ─> configuration ─> … ─> ticket ─> … ─> NameNode ─> list ─> read ─> …
        ok               ok                  FAILED         not reached

Each step is a small function: it takes the checkup and returns a `Finding`, or raises.
The first failure ends it, since the steps behind it would fail for the same reason.
It names the file, the host or the principal, what was found, and one thing to do. No
step takes longer than its deadline, and none leaves anything behind.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from poets.errors import StorageError
from poets.storage import reason, scheme_of

TIMEOUT_S = 10.0
"""What a step may take: long for a healthy cluster, short for a waiting user."""

OK, FAILED, LEFT_OUT, NOT_REACHED = "ok", "failed", "left out", "not reached"


@dataclass(frozen=True)
class Checkup:
    """One storage, and what a job does there.

    Attributes:
      storage: scheme and authority, as "hdfs://default"; "" for local paths.
      reads: URLs of folders or files that are read.
      writes: URLs of folders that take results.
      job_s: how long the job may take.
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
        """What is asked for first."""
        return (*self.reads, *self.writes)[0]


@dataclass(frozen=True)
class Finding:
    """What a step found.

    Attributes:
      text: one line.
      details: more lines that help to see what is used, and where it comes from.
      applies: False if there was nothing to check; `text` says why.
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
        """Returns the failure that an error tells of: "what was found; what to do".

        Args:
          error: of a call to a storage, or PoetsError.
          what: what could not be done, as "cannot list 'a/b'"; the error may say it.
          cure: what to do, if the error does not say it.
        """
        text = reason(error) if isinstance(error, OSError) else str(error)
        found, told = _halves(text)
        failure = cls(f"{what}: {found}" if what else found, told or cure)
        failure.exit_code = getattr(error, "exit_code", cls.exit_code)
        return failure


def _halves(text: str) -> tuple[str, str]:
    """Returns what was found and what to do, parted at a "; " outside brackets."""
    for match in re.finditer("; ", text):
        found = text[: match.start()]
        if found.count("(") == found.count(")"):
            return found, text[match.end() :]
    found, _, told = text.partition("; ")
    return found, told


@dataclass(frozen=True)
class Step:
    """One step of a checklist.

    Attributes:
      name: a few words.
      checks: what holds when it passes.
      check: does it; raises PoetsError or OSError if it fails.
    """

    name: str
    checks: str
    check: Callable[[Checkup], Finding]


@dataclass(frozen=True)
class StepResult:
    """How a step went.

    Attributes:
      storage: the checkup's.
      name: the step's.
      checks: the step's.
      status: `ok`, `failed`, `left out` or `not reached`.
      found: one line; for a failure, what is wrong.
      cure: the one thing to do, if it failed.
      principal: who we are, if it failed and that is known.
      details: more lines.
      seconds: what it took.
      timeout_s: what it could have taken at most.
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
