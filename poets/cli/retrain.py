"""`poets retrain`: the job from the command line, with every flag.

On Kubernetes TF_CONFIG says which of the job's tasks this is.
"""

import argparse

from poets.cluster import cluster_of
from poets.flags import add_flags, config_from_args
from poets.job import log_to_stderr, run_as


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "retrain",
        help="retrain a classifier on labelled folders",
        description="Retrains an image classifier on a folder of labelled images. "
        "The flags are those of TensorFlow's retrain.py, and a few more.",
        allow_abbrev=False,
    )
    add_flags(parser)
    parser.set_defaults(func=_run, problems=())


def _run(args: argparse.Namespace) -> int:
    given = {
        name: value
        for name, value in vars(args).items()
        if name not in ("verb", "func", "problems")
    }
    config = config_from_args(given, args.problems)
    log_to_stderr()
    run_as(cluster_of(None), config)
    return 0
