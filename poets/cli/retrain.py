"""`poets retrain`: runs the retraining job from the command line.

On Kubernetes, TF_CONFIG defines which of the job's tasks this process is.
"""

import argparse

from poets.cluster import cluster_of
from poets.flags import add_flags, config_from_args, flags_of
from poets.system.logs import log_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.description = (
        "Retrains an image classifier on a folder of labelled images. "
        "The flags are those of TensorFlow's retrain.py and a few more."
    )
    add_flags(parser)
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    config = config_from_args(*flags_of(args))
    from poets import job  # takes most of a second, which --help does not need

    log_to_stderr()
    job.run(config, cluster=cluster_of(None))
    return 0
