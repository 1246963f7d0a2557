"""Finds all problems of an options file before anything starts.

An error stops the job, here or on DC/OS. A warning is about a value that the package
accepts but that probably does not do what was meant.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from poets.config import RetrainConfig
from poets.dcos.options import Options, is_kind, nearest_option, parse_context
from poets.dcos.schema import SCHEMA, Option
from poets.dcos.tasks import GPU_WORKER, PODS, WORKER
from poets.dcos.unpack import ARCHIVES, is_archive
from poets.errors import ConfigError, PoetsError, format_problems, json_kind, nearest
from poets.storage import misspelling, without_keys

TENSORFLOW_MEM_MB = 630
"""Resident memory of a process that has TensorFlow 2.21 and its server running."""

WORKER_MEM_MB = 1024
"""Minimum memory of a worker: TensorFlow, and some for images."""

VARIABLE_BYTES = 131_071
"""Linux's limit for `NAME=value` in an environment (MAX_ARG_STRLEN, 32 pages)."""

KEYTAB_PREFIX = "__dcos_base64__"

CheckContext = Callable[[dict[str, Any], str], RetrainConfig]
"""Called with the job's context and log_dir; raises PoetsError if it would not run."""

PLACES = ("service.job_url", "service.shared_filesystem", "service.hdfs.config_uri")
"""The options whose values are URLs or paths."""

CODE = ("service.job_url", "service.job_path")
"""The options that name the job's code; elsewhere it is installed, or in an image."""

VOLUME = "tf-volume"
"""The folder in the sandbox that is log_dir without a shared file system."""


@dataclass(frozen=True)
class Problem:
    """A problem of one option.

    Attributes:
      severity: `error` or `warning`.
      path: the option.
      text: what is wrong, and what to do.
      on_cluster_only: whether local runs may ignore it.
    """

    severity: str
    path: str
    text: str
    on_cluster_only: bool = False

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.text}"


def find_problems(
    options: Options, check_context: CheckContext | None = None
) -> list[Problem]:
    """Returns all problems of the options, errors first, with those of its context."""
    problems = [*_shape(options), *_values(options)]
    wrong = {problem.path for problem in problems if problem.severity == "error"}
    # Later checks see the default in place of a wrong value, and report nothing on it.
    given = {path: value for path, value in options.given.items() if path not in wrong}
    options = replace(options, given=given)
    more = [*_job(options), *_context(options), *_hdfs_and_kerberos(options)]
    more += _resources(options, wrong)
    if check_context and not any(
        problem.severity == "error" and problem.path == "service.job_context"
        for problem in (*problems, *more)
    ):
        more += _args(options, check_context)
    problems += [problem for problem in more if problem.path not in wrong]
    return sorted(problems, key=lambda problem: problem.severity)


def require_valid(
    options: Options,
    what: str,
    check_context: CheckContext | None = None,
    ignored: Collection[str] = (),
) -> list[Problem]:
    """Returns the warnings of the options, without those for DC/OS alone.

    Args:
      options: as read.
      what: for the message, such as "cannot run 'poets.json'".
      check_context: as for `find_problems`.
      ignored: options that do not matter here, such as CODE.

    Raises:
      ConfigError: lists every error.
    """
    problems = find_problems(options, check_context)
    problems = [problem for problem in problems if problem.path not in ignored]
    errors = [f"{p.path}: {p.text}" for p in problems if p.severity == "error"]
    if errors:
        raise ConfigError(format_problems(what, errors))
    return [problem for problem in problems if not problem.on_cluster_only]


def _shape(options: Options) -> Iterator[Problem]:
    for path in options.unknown:
        hint = nearest_option(path)
        yield _warning(path, f"unknown option, the package ignores it{hint}")
    for path, text in options.misshapen.items():
        yield _error(path, text)


def _values(options: Options) -> Iterator[Problem]:
    for path, value in options.given.items():
        option = SCHEMA[path]
        if not is_kind(value, option.kind):
            yield _error(path, _wrong_kind(option, value))
        elif option.choices and value not in option.choices:
            hint = nearest(value.upper(), option.choices)
            known = ", ".join(option.choices)
            yield _error(path, f"{value!r} is none of {known}{hint}")
        elif path in PLACES and (problem := misspelling(str(value))):
            yield _error(path, f"is {without_keys(str(value))!r}: {problem}")
        elif isinstance(value, str) and "\0" in value:
            yield _error(path, "holds a NUL character, which no environment can carry")
        elif isinstance(value, int | float) and value < 0:
            yield _error(path, f"is {value:g}; give 0 or more")
        elif path.endswith(".port") and value > 65_535:
            yield _error(path, f"is {value}; a port is at most 65535")


def _wrong_kind(option: Option, value: object) -> str:
    kinds = {
        "string": "text",
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
    }
    if option.path == "service.job_context":
        return _refusal(value)
    text = f"takes {kinds[option.kind]}, found {json_kind(value)}"
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text += f" {value!r}"
    return text


def _refusal(context: object) -> str:
    try:
        parse_context(context)
    except ConfigError as error:
        return str(error)
    return ""


def _job(options: Options) -> Iterator[Problem]:
    yield from _job_url(options["service.job_url"])
    path, name = options["service.job_path"], options["service.job_name"]
    if path.startswith("/") or ".." in path.split("/"):
        yield _error(
            "service.job_path",
            f"{path!r} leaves the sandbox; name a folder of what job_url unpacks to",
        )
    if name.endswith(".py"):
        yield _error(
            "service.job_name",
            f"{name!r} is a file; give the module's name, {name.removesuffix('.py')!r}",
        )
    elif not all(part.isidentifier() for part in name.split(".")):
        yield _error(
            "service.job_name",
            f"{name!r} is not a module name; give one, such as 'poets'",
        )


def _job_url(url: str) -> Iterator[Problem]:
    path = "service.job_url"
    if not url:
        yield _error(
            path,
            "is empty, which starts the package's own examples and not this job; give "
            "the address of a zip (python build_zip.py builds one)",
        )
        return
    parts = urlsplit(url)
    if not is_archive(parts.path) and not parts.path.endswith(".py"):
        yield _error(
            path,
            f"the name {parts.path.rpartition('/')[2]!r} has no known suffix; use "
            f"{', '.join(ARCHIVES)} or .py",
        )
    elif parts.query:
        yield _warning(
            path,
            "ends in a query; the Mesos fetcher checks the end of the address and "
            "would not unpack it",
            on_cluster_only=True,
        )
    if parts.scheme in ("", "file"):
        yield _warning(
            path,
            "is a local file, which only a run on this machine finds",
            on_cluster_only=True,
        )


def _context(options: Options) -> Iterator[Problem]:
    path = "service.job_context"
    text = options[path]
    if refusal := _refusal(text):
        yield _error(path, refusal)
        return
    size = len(f"JOB_CONTEXT={text}".encode())
    if size > VARIABLE_BYTES:
        yield _error(
            path,
            f"makes an environment variable of {size:,} bytes, Linux takes "
            f"{VARIABLE_BYTES:,}; put the values into a file",
        )
    if "'" in text:
        near = text[max(0, text.index("'") - 20) :][:40]
        yield _warning(
            path,
            f"has an apostrophe near {near!r}, which breaks the scheduler's YAML on a "
            r"real cluster; write it as \u0027 (in the options file \\u0027)",
            on_cluster_only=True,
        )


def _args(options: Options, check_context: CheckContext) -> Iterator[Problem]:
    if options["service.job_name"] != "poets":
        return
    context = parse_context(options["service.job_context"])
    shared = options["service.shared_filesystem"] or VOLUME
    try:
        config = check_context(context, shared)
    except PoetsError as error:
        yield _error("service.job_context", str(error))
        return
    count = sum(options[f"{pod.section}.count"] for pod in (WORKER, GPU_WORKER))
    local = [
        f"--{flag}"
        for flag in ("bottleneck_dir", "image_dir")
        if getattr(config, flag).partition("/")[0] == VOLUME
    ]
    if local and count > 1:
        yield _error(
            "service.shared_filesystem",
            f"is empty, so {' and '.join(local)} would be in the sandbox, which is "
            f"private to each of {count} workers; set it, for example to "
            "hdfs://default/job, or use one worker",
        )


def _resources(options: Options, wrong: set[str]) -> Iterator[Problem]:
    for pod in PODS:
        section = pod.section
        if f"{section}.count" in wrong:
            continue
        names = ("count", "mem", "cpus", "disk")
        count, mem_mb, cpus, disk_mb = (options[f"{section}.{name}"] for name in names)
        if count == 0:
            continue
        if mem_mb < TENSORFLOW_MEM_MB:
            yield _error(
                f"{section}.mem",
                f"is {mem_mb} MB; TensorFlow and its server alone take "
                f"{TENSORFLOW_MEM_MB} MB, give {WORKER_MEM_MB} or more",
            )
        elif mem_mb < WORKER_MEM_MB and pod.job != "ps":
            yield _warning(
                f"{section}.mem",
                f"is {mem_mb} MB, of which TensorFlow takes {TENSORFLOW_MEM_MB}; give "
                f"{WORKER_MEM_MB} or more",
            )
        if cpus == 0:
            yield _error(f"{section}.cpus", "is 0; give 1 or more")
        if disk_mb == 0:
            yield _error(f"{section}.disk", "is 0 MB; the job's files need some")
        if pod is GPU_WORKER and options["gpu_worker.gpus"] == 0:
            yield _warning("gpu_worker.gpus", "is 0; these tasks will see no GPU")
    counts = {f"{pod.section}.count" for pod in (WORKER, GPU_WORKER)}
    if not wrong & counts and not any(options[path] for path in counts):
        yield _error(
            "worker.count", "is 0, and gpu_worker.count too: nothing would run"
        )


def _hdfs_and_kerberos(options: Options) -> Iterator[Problem]:
    kerberos = "service.security.kerberos"
    if options[f"{kerberos}.enabled"]:
        for name in ("realm", "keytab_secret", "kdc.hostname", "kdc.port"):
            if not options[f"{kerberos}.{name}"]:
                text = "is not given, and Kerberos is enabled"
                yield _error(f"{kerberos}.{name}", text)
    secret = (options[f"{kerberos}.keytab_secret"] or "").rpartition("/")[2]
    if secret.startswith("__dcos_base64") and not secret.startswith(KEYTAB_PREFIX):
        yield _warning(
            f"{kerberos}.keytab_secret",
            f"{secret!r} is not decoded; DC/OS decodes names that begin with "
            f"{KEYTAB_PREFIX!r}, two underscores at its end",
        )
    shared = options["service.shared_filesystem"]
    config_uri = options["service.hdfs.config_uri"]
    if shared.lower().startswith(("hdfs:///", "hdfs://default/")) and not config_uri:
        yield _warning(
            "service.hdfs.config_uri",
            f"is not given, and {shared!r} names the default HDFS; give the address "
            "that serves core-site.xml and hdfs-site.xml",
        )
    if config_uri and urlsplit(config_uri).scheme not in ("http", "https"):
        yield _warning("service.hdfs.config_uri", f"{config_uri!r} is not an http URL")


def _error(path: str, text: str) -> Problem:
    return Problem("error", path, text)


def _warning(path: str, text: str, on_cluster_only: bool = False) -> Problem:
    return Problem("warning", path, text, on_cluster_only)
