"""The private folder for a job's tickets, shared by a process and its children.

    <temporary folder>/poets-kerberos-x7f3/      0700
        krb5.conf            if it was generated
        ccache.<process>     tickets of one process, since MIT's updates are not atomic

The process that created it holds a lock on it, and removes it at the end. A killed one
cannot: the next process that creates such a folder removes all that are not locked.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from poets.errors import ConfigError

VARIABLE = "POETS_KERBEROS_DIR"
PREFIX = "poets-kerberos-"

_log = logging.getLogger(__name__)


class PrivateFolder:
    """A folder that only this user can enter.

    Attributes:
      path: absolute.
      is_ours: whether this process created it, and removes it.
    """

    def __init__(self) -> None:
        """Uses the parent's folder, or creates one and passes it on to children.

        Raises:
          ConfigError: if it cannot be created.
        """
        given = os.environ.get(VARIABLE)
        self._maker = 0
        if given and _is_private(given):
            self.path = given
            return
        try:
            _remove_abandoned()
            made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))  # mode 0700
        except OSError as error:
            found = (error.strerror or str(error)).lower()
            raise ConfigError(
                f"no place for Kerberos tickets: {found}; set TMPDIR to a folder that "
                "this user may write to"
            ) from error
        self._maker = os.getpid()
        # Not inherited by started children. systemd-tmpfiles respects it, too.
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Only now under the name by which others look for folders without a lock.
        self.path = str(made.rename(made.with_name(made.name[1:])))
        os.environ[VARIABLE] = self.path
        atexit.register(self.remove)

    @property
    def is_ours(self) -> bool:
        """Whether this process created it; False in a forked child."""
        return self._maker == os.getpid()

    def holds(self, name: str | None) -> bool:
        """Returns whether a path, or a cache as "FILE:/path", is in it."""
        return (name or "").removeprefix("FILE:").startswith(f"{self.path}/")

    def remove(self) -> None:
        """Removes it with all tickets, if this process created it."""
        if not self.is_ours:
            return
        atexit.unregister(self.remove)
        self._maker = 0
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        if os.environ.get(VARIABLE) == self.path:
            del os.environ[VARIABLE]


def _is_private(path: str) -> bool:
    """Returns whether a path is a folder of this user, closed to all others."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    closed = not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and closed


def _remove_abandoned() -> None:
    """Removes the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not _is_private(str(folder)):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
            _log.info("removed the tickets that a killed process left in %s", folder)
