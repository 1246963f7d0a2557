"""HDFS's old rename made safe, for HttpFS, which has no other.

It moves a source into a folder that has the target's name, and replaces nothing:

    rename(out/.saved.0f3a52c7d1e9.part, out/saved)
        out/saved is not there     it is the source now
        out/saved is a folder      out/saved/.saved.0f3a52c7d1e9.part: is brought back
        out/saved is a file        false; it must be deleted first

So a file is replaced in two steps, between which there is none.
"""

import errno
import os
import posixpath
from collections.abc import Callable

from poets.storage.backend import Backend

Move = Callable[[str, str], object]


def refuse_target(backend: Backend, source: str, target: str, overwrite: bool) -> bool:
    """Returns whether a file is in the way that is to be replaced.

    Raises:
      FileExistsError: if something is in the way that is not.
      FileNotFoundError: if there is no source, or no folder to hold the target.
    """
    from_folder = backend.status(source).is_folder
    try:
        to_folder = backend.status(target).is_folder
    except FileNotFoundError:
        backend.status(posixpath.dirname(target))
        return False
    if from_folder or to_folder or not overwrite:
        raise FileExistsError(
            errno.EEXIST, os.strerror(errno.EEXIST), backend.root + target
        )
    return True


def bring_back(backend: Backend, move: Move, source: str, target: str) -> None:
    """Undoes a rename that went into a folder.

    Raises:
      FileExistsError: if it did.
    """
    inside = posixpath.join(target, posixpath.basename(source))
    try:
        backend.status(inside)
    except (FileNotFoundError, NotADirectoryError):
        return
    move(inside, source)
    raise FileExistsError(
        errno.EEXIST, os.strerror(errno.EEXIST), backend.root + target
    )
