"""What other platforms take from an options file: the context's flags, and what not."""

from collections.abc import Iterable
from typing import Any

from poets import job
from poets.config import RetrainConfig
from poets.dcos.options import Options, parse_context
from poets.flags import FIELDS
from poets.system.command_line import bare

NO_EFFECT = (0, "", "[]", "ROOT")
"""Values of options that ask for nothing."""


def flags_of(
    options: Options, log_dir: str | None, changes: dict[str, Any] | None = None
) -> tuple[RetrainConfig, list[str]]:
    """Returns the checked config of the job, and its flags for a command line.

    `log_dir` replaces the placeholders, `changes` replaces flags of the context.

    Raises:
      ConfigError: if a flag is wrong.
    """
    args = parse_context(options["service.job_context"]).get("args") or {}
    if changes and isinstance(args, dict):
        kept = {flag: args[flag] for flag in args if bare(flag) not in changes}
        args = {**kept, **changes}
    config = job.config_from_context({"args": args}, log_dir)
    given = {bare(flag) for flag, value in args.items() if value is not None}
    flags = [f"--{name}={getattr(config, name)}" for name in FIELDS if name in given]
    return config, flags


def left_out(options: Options, without_counterpart: Iterable[str]) -> list[str]:
    """Returns the options that ask for what a platform lacks, of those it lacks."""
    given = options.given
    return [p for p in without_counterpart if given.get(p, 0) not in NO_EFFECT]
