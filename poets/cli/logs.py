"""`poets logs FILE...`: shows worker logs as a table, a curve and a list of problems.

stdout has the review (or, with --json, the data); a plot goes to --plot.
"""

import argparse
import contextlib
import io
import json
import posixpath
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from poets.errors import ConfigError, StorageError, format_problems
from poets.storage import is_local, kind_of, open_storage, storage_errors
from poets.system.progress import track

if TYPE_CHECKING:
    from poets.report.worker_log import WorkerLog

TRACKED_BYTES = 64 << 20  # takes 2 s to read; longer logs show a progress bar
PIECE_BYTES = 1 << 20
STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a log, or - for the standard input"
    )
    parser.add_argument(
        "--all", action="store_true", help="show every step, warning and error"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw the runs as a PNG")
    parser.add_argument("--json", action="store_true", help="print the data as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Prints the review of the logs; returns the exit code."""
    from poets.report.curve import plot_png  # not for --help, as they need NumPy
    from poets.report.review import format_log, log_data, named_runs
    from poets.report.worker_log import MAX_STEPS
    from poets.storage.publish import write_atomically

    if args.plot is not None:
        _check_plot(args.plot)
    _check_files(args.files)
    logs = []
    for name in args.files:
        logs.append(_read(name, None if args.all else MAX_STEPS))
        if not args.json:
            blank = "\n" if len(logs) > 1 else ""
            print(f"{blank}{format_log(logs[-1], show_all=args.all)}")
    if args.json:
        print(json.dumps({"logs": [log_data(log) for log in logs]}, indent=1))
    if args.plot is not None:
        write_atomically(args.plot, plot_png(named_runs(logs)))
        print(f"plot: {args.plot}", file=sys.stderr if args.json else sys.stdout)
    return 0


def _check_plot(plot: str) -> None:
    """Raises an error if the plot could not be drawn or written at the end."""
    from poets.report.curve import require_matplotlib
    from poets.storage.publish import check_writable

    if not plot.lower().endswith(".png"):
        raise ConfigError(f"cannot draw {plot!r}: a plot is a PNG; name it FILE.png")
    require_matplotlib()
    check_writable(posixpath.dirname(plot) or ".")


def _check_files(names: list[str]) -> None:
    """Raises one error for all logs that do not exist."""
    problems = []
    for name in names:
        if name == STDIN:
            continue
        try:
            kind = kind_of(name)
        except StorageError as error:
            problems.append(str(error))
            continue
        if kind.name == "Directory":
            problems.append(f"{name!r} is a folder; give the files in it")
        elif kind.name == "NotFound":
            problems.append(f"{name!r} does not exist; give log files, or - for stdin")
    if problems:
        raise StorageError(format_problems("cannot read the logs", problems))


def _read(name: str, max_steps: int | None) -> "WorkerLog":
    from poets.report.worker_log import read_log

    with storage_errors(f"read {name!r}"), _open(name) as stream:
        return read_log(stream, name, max_steps)


@contextlib.contextmanager
def _open(name: str) -> Iterator[BinaryIO]:
    """Opens a log for reading; a long one shows a progress bar."""
    if name == STDIN:
        yield sys.stdin.buffer
        return
    filesystem, path = open_storage(name)
    size = filesystem.get_file_info(path).size or 0
    stream: Any = (
        open(path, "rb", buffering=0)  # noqa: SIM115 - closed below
        if is_local(filesystem)
        else filesystem.open_input_stream(path)
    )
    with stream, contextlib.ExitStack() as stack:
        if size >= TRACKED_BYTES:
            advance = stack.enter_context(track(size, f"reading {name}", "bytes"))
            stream = _Counted(stream, advance)
        yield io.BufferedReader(stream, PIECE_BYTES)


class _Counted(io.RawIOBase):
    """A file that reports how many bytes were read from it."""

    def __init__(self, file: Any, advance: Callable[[int], None]):
        self.file = file  # a local one, or pyarrow's
        self.advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.file.readinto(buffer) or 0
        self.advance(count)
        return count
