"""`poets doctor`: finds out, step by step, why a storage cannot be used.

    poets doctor hdfs://default/flowers --write hdfs://default/results
    poets doctor --options demo/poets.json --secrets secrets
    poets doctor flower_packs --all

stdout has one line per step, then what is wrong and what to do; or all of it as JSON.
"""

import argparse
import contextlib
import itertools
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poets.cli.options_flags import (
    add_overrides,
    add_secrets,
    add_spark,
    positive,
)
from poets.config import RetrainConfig
from poets.dcos.environment import task_environment
from poets.dcos.options import Options, parse_context, read_options
from poets.dcos.secrets import KERBEROS, PLACE
from poets.dcos.tasks import tasks_of
from poets.doctor import FAILED, NOT_REACHED, TIMEOUT_S, StepResult
from poets.doctor.report import as_json, format_end, format_line
from poets.errors import ConfigError
from poets.flags import FIELDS
from poets.storage import ADAPTERS, open_storage, scheme_of

DEFAULT_STORAGE = "hdfs://default/"
"""Checked if nothing else is named: the `fs.defaultFS` of the configuration."""

ACCESS = [name for name, field in FIELDS.items() if "variable" in field.metadata]
"""The flags of access to HDFS, as of a job."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Checks step by step that a storage can be used: libraries, "
        "configuration, Kerberos, network, rights. It stops at the first step that "
        "fails and shows what to do. Without a URL it checks the folders of --options, "
        "or the default HDFS of the Hadoop configuration. It leaves no files behind."
    )
    parser.add_argument("url", metavar="URL", nargs="?", help="folder or file to read")
    parser.add_argument(
        "--write",
        metavar="URL",
        action="append",
        default=[],
        help="folder for results, checked for writing; repeatable",
    )
    parser.add_argument(
        "--timeout_s",
        type=positive,
        default=TIMEOUT_S,
        metavar="S",
        help="time limit for a step (default: %(default)g)",
    )
    parser.add_argument(
        "--job_minutes",
        type=positive,
        default=60.0,
        metavar="M",
        help="how long the job's ticket must last (default: %(default)g)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="of packs: read every picture, and compare every digest",
    )
    parser.add_argument("--json", action="store_true", help="print the data as JSON")
    group = parser.add_argument_group("access to HDFS")
    for name in ACCESS:
        group.add_argument(f"--{name}", metavar="X", help=FIELDS[name].metadata["help"])
    group = parser.add_argument_group("the environment of a DC/OS job's tasks")
    group.add_argument("--options", metavar="FILE", help="the options file")
    add_overrides(group)
    add_secrets(group)
    group = parser.add_argument_group("a Spark application of --options")
    group.add_argument(
        "--spark",
        action="store_true",
        help="check Spark, YARN and an executor, too; starts an application",
    )
    add_spark(group)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Runs the checklist and prints it; returns the exit code."""
    from poets.doctor.checklist import checklist, checkups
    from poets.doctor.diagnosis import diagnose
    from poets.doctor.packs import are_packs, check_packs

    options = _read_options(args)
    with _job_environment(args, options) as (reads, writes):
        for url in (*reads, *writes):
            if scheme_of(url) not in ADAPTERS:
                open_storage(url)  # raises ConfigError: this is the user's mistake
        found = checkups(reads, writes, args.job_minutes * 60)
        plan = [(checkup, checklist(checkup)) for checkup in found]
        results: list[StepResult] = []
        for result in itertools.chain(
            diagnose(plan, args.timeout_s), _on_spark(args, options, reads, results)
        ):
            if not args.json:
                _print(result, results)
            results.append(result)
        if all(result.status != FAILED for result in results):
            for url in filter(are_packs, reads):
                results.append(check_packs(url, args.all))
                if not args.json:
                    print(format_line(results[-1]), flush=True)
    if args.json:
        print(json.dumps(as_json(results), indent=1))
    else:
        print(f"\n{format_end(results)}")
    return 1 if any(result.status == FAILED for result in results) else 0


def _on_spark(
    args: argparse.Namespace,
    options: Options | None,
    reads: list[str],
    earlier: list[StepResult],
) -> Iterator[StepResult]:
    """Yields the outcome of Spark's steps, unless an earlier step failed."""
    if not (args.spark and options) or any(one.status == FAILED for one in earlier):
        return
    from poets.cli.spark import target_of
    from poets.doctor import Checkup
    from poets.doctor.diagnosis import diagnose
    from poets.spark.submit import command

    try:
        from poets.spark import checks
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed; pip install 'poets[spark]'"
        ) from error
    target = target_of(args, options)
    words = command(options, target)
    words = words[words.index(target.program) + 1 : words.index(target.main)]
    with checks.SparkSteps(words, target) as steps:
        yield from diagnose([(Checkup("spark", tuple(reads)), steps)], checks.TIMEOUT_S)


def _print(result: StepResult, earlier: list[StepResult]) -> None:
    if result.status == NOT_REACHED:
        return  # the last line lists them together
    if not earlier or earlier[-1].storage != result.storage:
        print(result.storage or "this machine")
    print(format_line(result), flush=True)


@contextlib.contextmanager
def _job_environment(
    args: argparse.Namespace, options: Options | None
) -> Iterator[tuple[list[str], list[str]]]:
    """Yields the URLs to read and to write, inside the job's environment."""
    from poets import job  # takes most of a second, which --help does not need
    from poets.dcos.secrets import keytab_of, placed
    from poets.dcos.validate import VOLUME
    from poets.kerberos.login import close

    reads, writes = [args.url] if args.url else [], list(args.write)
    given = _access(**{name: getattr(args, name) or "" for name in ACCESS})
    logger = logging.getLogger("poets")
    with contextlib.ExitStack() as stack:
        if options:
            folder = tempfile.TemporaryDirectory(prefix="poets-doctor-")
            sandbox = Path(stack.enter_context(folder))
            context = parse_context(options["service.job_context"])
            shared = options["service.shared_filesystem"] or f"{sandbox}/{VOLUME}"
            config = job.config_from_context(context, shared)
            if not reads and not writes:
                reads, writes = _folders(config, sandbox)
            keytab = None
            if not args.kerberos_keytab:
                keytab = keytab_of(options, args.secrets)
            stack.enter_context(placed(keytab, [sandbox]))
            task = next(task for task in tasks_of(options) if not task.serves)
            of_task = task_environment(options, task, {}, str(sandbox))
            if args.spark:  # a site's own krb5.conf and HADOOP_CONF_DIR
                user, realm = (options[f"{KERBEROS}.{n}"] for n in ("primary", "realm"))
                login = {
                    "kerberos_principal": f"{user}@{realm}",
                    "kerberos_keytab": str(sandbox / PLACE),
                }
                of_task = _access(**login) if keytab else {}
            given = of_task | config.environment | given
        stack.enter_context(job.environment(given))
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)  # the steps report what would be warned of
        stack.callback(close)
        yield (reads, writes) if reads or writes else ([DEFAULT_STORAGE], [])


def _access(**flags: Any) -> dict[str, str]:
    """Returns the environment variables of some flags of ACCESS."""
    return RetrainConfig(**flags).environment


def _read_options(args: argparse.Namespace) -> Options | None:
    from poets import job
    from poets.dcos.validate import CODE, require_valid

    if args.options:
        options = read_options(args.options, args.settings, args.args)
        ignored = CODE if args.spark else ()  # it may be in an environment
        what = f"cannot take {args.options!r}"
        require_valid(options, what, job.config_from_context, ignored)
        return options
    if args.settings or args.args or args.secrets:
        raise ConfigError(
            "--set, --arg and --secrets need --options, which they change; add it"
        )
    if args.spark:
        raise ConfigError("--spark needs --options, the application's; add it")
    return None


def _folders(config: RetrainConfig, sandbox: Path) -> tuple[list[str], list[str]]:
    """Returns the URLs that the job reads and writes outside its sandboxes."""
    from poets.preflight import output_folders

    def is_outside(url: str) -> bool:
        return bool(scheme_of(url)) or not (sandbox / url).is_relative_to(sandbox)

    reads = filter(is_outside, [config.image_dir])
    return list(reads), list(filter(is_outside, output_folders(config)))
