"""Makes HDFS's old rename safe, for HttpFS, which has no other.

The old rename replaces nothing, and moves the source into a folder at the target:

    rename(out/.saved.0f3a52c7d1e9.part, out/saved)
        out/saved is absent        renamed
        out/saved is a folder      out/saved/.saved.0f3a52c7d1e9.part: moved back here
        out/saved is a file        returns false; it must be deleted first

So a file is replaced in two steps, and is absent between them.
"""

import errno
import posixpath
from collections.abc import Callable

from poets.storage import system_error
from poets.storage.backend import Backend

Move = Callable[[str, str], object]


def refuse_target(backend: Backend, source: str, target: str, overwrite: bool) -> bool:
    """Returns whether there is a file at the target, which is to be replaced.

    Raises:
      FileExistsError: if something is there that must not be replaced.
      FileNotFoundError: if the source or the target's folder does not exist.
    """
    from_folder = backend.status(source).is_folder
    try:
        to_folder = backend.status(target).is_folder
    except FileNotFoundError:
        backend.status(posixpath.dirname(target))
        return False
    if from_folder or to_folder or not overwrite:
        raise system_error(errno.EEXIST, backend.root + target)
    return True


def bring_back(backend: Backend, move: Move, source: str, target: str) -> None:
    """Undoes a rename that moved the source into a folder.

    Raises:
      FileExistsError: if it did.
    """
    inside = posixpath.join(target, posixpath.basename(source))
    try:
        backend.status(inside)
    except (FileNotFoundError, NotADirectoryError):
        return
    move(inside, source)
    raise system_error(errno.EEXIST, backend.root + target)
