"""Checks an options file for the verbs of `poets kubernetes`."""

import logging

from poets.dcos.options import Options
from poets.errors import ConfigError
from poets.kubernetes.pods import KEYTAB, keytab_secret_of

log = logging.getLogger(__name__)


def check_options(options: Options) -> None:
    """Raises ConfigError for all errors in the options; logs the warnings."""
    from poets.dcos.validate import CODE, require_valid

    what = f"cannot print {options.source!r}"
    warnings = require_valid(options, what, ignored=CODE)
    if (name := options["service.job_name"]) != "poets":
        raise ConfigError(
            f"{what}: service.job_name: is {name!r}, but the image contains poets; "
            "only that job can be printed"
        )
    for problem in warnings:
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
