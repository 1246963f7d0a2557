"""`poets kubernetes`: prints a DC/OS options file, or a model server, as objects.

    poets kubernetes manifests demo/poets.json | kubectl apply -f -
    poets kubernetes serving s3://models/flowers --image IMAGE | kubectl apply -f -

The output is JSON, which is also YAML: kubectl, kustomize and jq all take it.
The TensorBoard pod runs `poets kubernetes follow` beside TensorBoard.
"""

import argparse
import json
import logging
import time

from poets.cli import Verbs, kubernetes_serving
from poets.cli.kubernetes_options import check_options, log_keytab_secret
from poets.cli.options_flags import add_overrides, positive
from poets.dcos.options import read_options
from poets.errors import StorageError
from poets.kubernetes.objects import KINDS
from poets.sweeps.grid import parse_axis
from poets.system.logs import log_to_stderr

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    steps = parser.add_subparsers(required=True, metavar="VERB")
    _add_manifests(steps)
    kubernetes_serving.add_verb(steps)
    following = steps.add_parser(
        "follow",
        help="keep a copy of a folder for TensorBoard",
        description="Copies a folder from any storage to a local one, and keeps "
        "copying additions until it is stopped.",
    )
    following.set_defaults(func=follow)
    following.add_argument("source", metavar="FOLDER", help="in any storage")
    following.add_argument("target", metavar="COPY", help="a local folder")
    following.add_argument(
        "--every",
        metavar="SECONDS",
        type=positive,
        default=15.0,
        help="pause between two updates (default: 15)",
    )
    following.add_argument("--once", action="store_true", help="copy once, then exit")


def _add_manifests(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "manifests",
        help="print the job as a List for kubectl",
        description="Prints the job of an options file as Kubernetes objects: one "
        "List, for kubectl apply -f -.",
    )
    parser.set_defaults(func=print_manifests)
    parser.add_argument("options", metavar="OPTIONS", help="the options file")
    add_overrides(parser)
    parser.add_argument(
        "--grid",
        metavar="FLAG=V1,V2,...",
        action="append",
        default=[],
        help="one job per value, as learning_rate=0.01,0.1; repeated, one job per "
        "combination",
    )
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default=KINDS[0],
        help="Job and Service (default), or TFJob of the training operator",
    )
    parser.add_argument(
        "--image",
        help="image that contains poets, built from deploy/kubernetes/Dockerfile "
        "(default: service.tf_image)",
    )
    parser.add_argument("--namespace", help="(default: kubectl's own)")
    parser.add_argument(
        "--storage",
        metavar="PLACE",
        default="none",
        help="volume for results: pvc:NAME, hostpath:/FOLDER or none (the default, if "
        "shared_filesystem is an hdfs:// or s3:// folder)",
    )


def print_manifests(args: argparse.Namespace) -> int:
    """Prints the objects; returns the exit code."""
    from poets.dcos.context import left_out
    from poets.kubernetes.manifests import WITHOUT_COUNTERPART, Target, manifests

    log_to_stderr()
    options = read_options(args.options, args.settings, args.args)
    axes = tuple(parse_axis(text) for text in args.grid)
    check_options(options)
    target = Target(args.kind, args.storage, args.image, args.namespace, axes)
    printed = manifests(options, target)
    for path in left_out(options, WITHOUT_COUNTERPART):
        log.warning("%s: left out, Kubernetes has no counterpart", path)
    log_keytab_secret(options)
    print(json.dumps(printed, indent=2))
    return 0


def follow(args: argparse.Namespace) -> int:
    """Copies a folder once or repeatedly until stopped; returns the exit code."""
    from poets.storage.follow import Follower

    log_to_stderr()
    copy = Follower(args.source, args.target)
    while True:
        try:
            copied = copy.update()
        except StorageError as error:
            if args.once:
                raise
            log.warning("%s; trying again in %g s", error, args.every)
        else:
            if copied or args.once:
                log.info("copied %d bytes from %s", copied, args.source)
        if args.once:
            return 0
        time.sleep(args.every)
