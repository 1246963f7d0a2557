"""`poets dcos validate` and `poets dcos run`: check or run a DC/OS options file.

The result (the problems, or the deploy plan) goes to stdout. The log goes to stderr,
and so does the output of the tasks, with the task's name before each line:

    worker-0 | a line of its stderr, which is where logs go
    worker-0 > a line of its stdout

The log also reports each change of state in the deploy plan.
"""

import argparse
import logging
import sys
import threading

from poets.cli.options_flags import add_overrides, add_secrets
from poets.dcos.options import Options, read_options
from poets.dcos.restarts import MAX_RESTARTS, parse_kills
from poets.dcos.tasks import Task, tasks_of
from poets.errors import ConfigError
from poets.system.logs import log_to_stderr

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C stopped (128 + SIGINT)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    steps = parser.add_subparsers(required=True, metavar="VERB")
    validating = steps.add_parser(
        "validate", help="report what is wrong with an options file"
    )
    validating.set_defaults(func=validate)
    running = steps.add_parser(
        "run",
        help="run an options file on this machine",
        description="Runs every task of an options file as a process. The tasks' "
        "output goes to stderr, as 'worker-0 | its stderr' and 'worker-0 > its "
        "stdout', and to files in their sandboxes; the deploy plan follows on stdout. "
        "A task that fails is restarted in its sandbox, unless its exit code is 2.",
    )
    running.set_defaults(func=run_here)
    running.add_argument(
        "--sandbox",
        metavar="DIR",
        help="empty folder for the tasks' sandboxes (default: a new temporary one)",
    )
    running.add_argument(
        "--max_restarts",
        metavar="N",
        type=_count,
        default=MAX_RESTARTS,
        help="restarts of a failing task, in a row, before the run fails (default: "
        f"{MAX_RESTARTS})",
    )
    running.add_argument(
        "--kill",
        dest="kills",
        metavar="TASK@SECONDSs",
        action="append",
        default=[],
        help="kill a task this long after all were started, as worker-1@30s, to test "
        "that the job survives it; repeatable",
    )
    add_secrets(running)
    for verb in (validating, running):
        verb.add_argument("options", metavar="OPTIONS", help="the options file")
        add_overrides(verb, "; tasks start in their sandbox, so give absolute paths")


def validate(args: argparse.Namespace) -> int:
    """Prints all problems of an options file; returns the exit code."""
    from poets import job  # takes most of a second, which --help does not need
    from poets.dcos.validate import find_problems

    options = read_options(args.options, args.settings, args.args)
    problems = find_problems(options, job.config_from_context)
    for problem in problems:
        print(problem)
    if any(problem.severity == "error" for problem in problems):
        return ConfigError.exit_code
    warned = f", {len(problems)} to look at" if problems else ""
    print(f"{args.options}: good{warned}: {_summary(options)}")
    return 0


def run_here(args: argparse.Namespace) -> int:
    """Runs the tasks of an options file and prints the plan; returns the exit code."""
    from poets import job
    from poets.dcos.run import open_work_dir, run
    from poets.dcos.validate import require_valid

    log_to_stderr()
    options = read_options(args.options, args.settings, args.args)
    what = f"cannot run {args.options!r}"
    for problem in require_valid(options, what, job.config_from_context):
        log.warning("%s: %s", problem.path, problem.text)
    tasks = tasks_of(options)
    kills = parse_kills(args.kills, tasks)
    work_dir = open_work_dir(args.sandbox)
    log.info("%s, in %s", _summary(options), work_dir)
    try:
        outcome = run(
            options,
            work_dir,
            _Lines(tasks),
            args.secrets,
            max_restarts=args.max_restarts,
            kills=kills,
        )
    except KeyboardInterrupt:
        log.error("stopped all tasks; their output is in %s", work_dir)
        return INTERRUPTED
    print(outcome.plan)
    return 0 if outcome.succeeded else 1


def _summary(options: Options) -> str:
    names = [task.name for task in tasks_of(options)]
    shown = [*names[:3], f"… {names[-1]}"] if len(names) > 4 else names
    return f"{len(names)} task{'s' * (len(names) != 1)} ({', '.join(shown)})"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


class _Lines:
    """Prints whole lines of the tasks' output on stderr, with the task's name."""

    def __init__(self, tasks: list[Task]):
        self._width = max(len(task.name) for task in tasks)
        self._lock = threading.Lock()

    def __call__(self, task: str, stream: str, text: str) -> None:
        mark = {"stdout": ">", "stderr": "|"}[stream]
        with self._lock:
            sys.stderr.write(f"{task:<{self._width}} {mark} {text}\n")
