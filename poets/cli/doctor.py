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

from poets.cli.options_flags import add_overrides, add_secrets, add_spark
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

VARIABLES = {
    name: field.metadata["variable"]
    for name, field in FIELDS.items()
    if "variable" in field.metadata
}
"""Flag -> environment variable."""


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
        type=_positive,
        default=TIMEOUT_S,
        metavar="S",
        help="time limit for a step (default: %(default)g)",
    )
    parser.add_argument(
        "--job_minutes",
        type=_positive,
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
    for name in VARIABLES:
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
    """Runs the checklist and prints it; returns the exit code.

    Raises:
      ConfigError: if a flag, a URL or the options file is wrong.
    """
    from poets.doctor.checklist import checklist, checkups
    from poets.doctor.diagnosis import diagnose
    from poets.doctor.packs import are_packs, check_packs

    with _job_environment(args) as (reads, writes):
        for url in (*reads, *writes):
            if scheme_of(url) not in ADAPTERS:
                open_storage(url)  # raises ConfigError: this is the user's mistake
        found = checkups(reads, writes, args.job_minutes * 60)
        plan = [(checkup, checklist(checkup)) for checkup in found]
        results: list[StepResult] = []
        for result in itertools.chain(
            diagnose(plan, args.timeout_s), _on_spark(args, reads, results)
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
    args: argparse.Namespace, reads: list[str], earlier: list[StepResult]
) -> Iterator[StepResult]:
    """Yields the outcome of Spark's steps, unless an earlier step failed."""
    if not args.spark or any(result.status == FAILED for result in earlier):
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
    options = _read_options(args)
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
def _job_environment(args: argparse.Namespace) -> Iterator[tuple[list[str], list[str]]]:
    """Yields the URLs to read and to write, inside the job's environment."""
    from poets import job  # takes most of a second, which --help does not need
    from poets.dcos.secrets import keytab_of, placed
    from poets.kerberos.login import close

    reads, writes = [args.url] if args.url else [], list(args.write)
    given = {
        variable: getattr(args, name)
        for name, variable in VARIABLES.items()
        if getattr(args, name)
    }
    with contextlib.ExitStack() as stack:
        if args.options:
            sandbox = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="poets-doctor-"))
            )
            options = _read_options(args)
            config = _config(options, sandbox)
            if not reads and not writes:
                reads, writes = _folders(config, sandbox)
            keytab = None
            if not args.kerberos_keytab:
                keytab = keytab_of(options, args.secrets)
            stack.enter_context(placed(keytab, [sandbox]))
            task = next(task for task in tasks_of(options) if not task.serves)
            of_task = task_environment(options, task, {}, str(sandbox))
            if args.spark:  # a site's own krb5.conf and HADOOP_CONF_DIR
                of_task = _login(options, sandbox) if keytab else {}
            given = of_task | config.environment | given
        elif args.settings or args.args or args.secrets:
            raise ConfigError(
                "--set, --arg and --secrets need --options, which they change; add it"
            )
        elif args.spark:
            raise ConfigError("--spark needs --options, the application's; add it")
        stack.enter_context(job.environment(given))
        stack.enter_context(_quiet())
        stack.callback(close)
        yield (reads, writes) if reads or writes else ([DEFAULT_STORAGE], [])


def _login(options: Options, sandbox: Path) -> dict[str, str]:
    """Returns the variables of a login with the keytab in the sandbox."""
    user, realm = options[f"{KERBEROS}.primary"], options[f"{KERBEROS}.realm"]
    return {
        VARIABLES["kerberos_principal"]: f"{user}@{realm}",
        VARIABLES["kerberos_keytab"]: str(sandbox / PLACE),
    }


def _read_options(args: argparse.Namespace) -> Options:
    from poets import job
    from poets.dcos.validate import CODE, require_valid

    options = read_options(args.options, args.settings, args.args)
    ignored = CODE if args.spark else ()  # it may be in an environment
    what = f"cannot take {args.options!r}"
    require_valid(options, what, job.config_from_context, ignored)
    return options


def _config(options: Options, sandbox: Path) -> RetrainConfig:
    from poets import job

    context = parse_context(options["service.job_context"])
    shared = options["service.shared_filesystem"] or f"{sandbox}/tf-volume"
    return job.config_from_context(context, shared)


def _folders(config: RetrainConfig, sandbox: Path) -> tuple[list[str], list[str]]:
    """Returns the URLs that the job reads and writes outside its sandboxes."""
    from poets.preflight import output_folders

    def outside(urls: list[str]) -> list[str]:
        return [
            url
            for url in urls
            if scheme_of(url)
            or (url.startswith("/") and not url.startswith(f"{sandbox}/"))
        ]

    return outside([config.image_dir]), outside(output_folders(config))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Mutes warnings during its body: the steps report the same problems."""
    logger = logging.getLogger("poets")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
