"""What the verbs of `poets kubernetes` share: checks of an options file."""

import logging

from poets.dcos.options import Options
from poets.errors import ConfigError, format_problems
from poets.kubernetes.pods import KEYTAB, keytab_secret_of

log = logging.getLogger(__name__)

NOT_NEEDED = ("service.job_url", "service.job_path")
"""Options that name the job's code, which is part of the image."""


def check_options(options: Options) -> None:
    """Raises ConfigError for all errors in the options; logs the warnings."""
    from poets.dcos.validate import find_problems

    problems = [
        problem
        for problem in find_problems(options)
        if problem.path not in NOT_NEEDED and not problem.on_cluster_only
    ]
    errors = [
        f"{problem.path}: {problem.text}"
        for problem in problems
        if problem.severity == "error"
    ]
    if not errors and options["service.job_name"] != "poets":
        errors = [
            f"service.job_name: is {options['service.job_name']!r}, but the image "
            "contains poets; only that job can be printed"
        ]
    if errors:
        raise ConfigError(format_problems(f"cannot print {options.source!r}", errors))
    for problem in problems:
        log.warning("%s: %s", problem.path, problem.text)


def log_keytab_secret(options: Options) -> None:
    """Logs how to create the Secret with the keytab, if the options need one."""
    if secret := keytab_secret_of(options):
        log.info(
            "the pods read their keytab from a Secret, which you create: kubectl "
            "create secret generic %s --from-file=%s=FILE",
            secret,
            KEYTAB,
        )
