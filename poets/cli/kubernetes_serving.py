"""`poets kubernetes serving RESULTS`: prints a model server as Kubernetes objects."""

import argparse
import json
import logging
import re
from dataclasses import replace

from poets.cli import Verbs
from poets.cli.kubernetes_options import check_options, log_keytab_secret
from poets.cli.options_flags import add_overrides
from poets.dcos.options import flatten, read_options
from poets.errors import ConfigError, format_problems
from poets.kubernetes.pods import AWS_SECRET, object_name
from poets.kubernetes.serving import HDFS_SECRET, KINDS, Serving
from poets.system.logs import log_to_stderr

log = logging.getLogger(__name__)

SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
FOR_HDFS = (
    "--from-literal=HDFS_NAMENODE=http://HOST:9870 --from-literal=HDFS_ROOTPATH=/ "
    "--from-literal=KERBEROS_PRINCIPAL=USER --from-file=KERBEROS_KEYTAB=FILE"
)
FOR_S3 = (
    "--from-literal=AWS_ACCESS_KEY_ID=KEY --from-literal=AWS_SECRET_ACCESS_KEY=SECRET; "
    "for another server than Amazon's, annotate it with serving.kserve.io/s3-endpoint, "
    "s3-usehttps and s3-region"
)
"""Keys that KServe looks for in a Secret; those of S3 are other than the job's."""


def add_verb(verbs: Verbs) -> None:
    """Adds the verb."""
    parser = verbs.add_parser(
        "serving",
        help="print a model server as a List for kubectl",
        description="Prints the objects that serve a trained model in the cluster: one "
        "List, for kubectl apply -f -.",
    )
    parser.set_defaults(func=print_serving)
    add = parser.add_argument
    add(
        "results",
        metavar="RESULTS",
        help="results folder of a run, or any model of poets serve; for an "
        "inferenceservice, the SavedModel's folder of versions",
    )
    add(
        "--kind",
        choices=KINDS,
        default=KINDS[0],
        help="Deployment and Service of poets serve (default), or InferenceService of "
        "KServe with TensorFlow Serving",
    )
    add("--name", help="of the model and its objects (default: from RESULTS)")
    add("--image", help="image that contains poets (default: service.tf_image)")
    add("--namespace", help="(default: kubectl's own)")
    add(
        "--storage",
        metavar="PLACE",
        default="none",
        help="volume with the results: pvc:NAME, hostpath:/FOLDER or none (default)",
    )
    add("--replicas", type=int, default=1, metavar="N", help="pods (default: 1)")
    add(
        "--max_replicas",
        type=int,
        metavar="N",
        help="with a HorizontalPodAutoscaler, up to N pods",
    )
    add("--cpus", default="1", help="of each pod (default: 1)")
    add("--mem", type=int, default=2048, metavar="MB", help="likewise (default: 2048)")
    add(
        "--service_type",
        choices=SERVICE_TYPES,
        default=SERVICE_TYPES[0],
        help="(default: ClusterIP, for clients in the cluster)",
    )
    add(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="variable of the pods, as S3_ENDPOINT=minio:9000; may be repeated",
    )
    add(
        "--aws_secret",
        metavar="NAME",
        default=AWS_SECRET,
        help="Secret with awsAccessKeyID and awsSecretAccessKey, for s3:// (default: "
        f"{AWS_SECRET})",
    )
    add(
        "--options",
        metavar="FILE",
        help="options file of the job, for its HDFS, Kerberos and image",
    )
    add_overrides(parser)


def print_serving(args: argparse.Namespace) -> int:
    """Prints the objects; returns the exit code."""
    from poets.kubernetes.manifests import result_volume
    from poets.kubernetes.pods import surroundings_of
    from poets.kubernetes.serving import kserve_secret, serving

    log_to_stderr()
    options = flatten({})
    if args.options:
        options = read_options(args.options, args.settings, args.args)
        check_options(options)
    image = args.image or (args.options and options["service.tf_image"]) or ""
    name = args.name or _name_of(args.results)
    problems = _problems(args, name, image)
    if problems:
        raise ConfigError(format_problems("wrong flags", problems))
    volume = result_volume(options, args.storage, read_only=True)
    around = surroundings_of(options, volume, [args.results], args.aws_secret)
    given = dict(text.split("=", 1) for text in args.env)
    around = replace(around, environment={**around.environment, **given})
    wanted = Serving(
        args.results,
        name,
        image,
        args.replicas,
        args.max_replicas,
        args.cpus,
        args.mem,
        args.service_type,
        args.namespace,
        args.aws_secret,
    )
    printed = serving(args.kind, wanted, around, volume)
    if args.kind == "deployment":
        log_keytab_secret(options)
    elif secret := kserve_secret(args.results, args.aws_secret):
        log.info(
            "KServe copies the model with a Secret, which you create: kubectl create "
            "secret generic %s %s",
            secret,
            FOR_HDFS if secret == HDFS_SECRET else FOR_S3,
        )
    print(json.dumps(printed, indent=2))
    return 0


def _problems(args: argparse.Namespace, name: str, image: str) -> list[str]:
    """Returns what is wrong with the flags."""
    problems = []
    if not DNS_LABEL.fullmatch(name):
        problems.append(
            f"--name={name!r} is not a name for Kubernetes; give up to 63 lower-case "
            "letters, digits and '-', with a letter first"
        )
    if not image and args.kind == "deployment":
        problems.append("no image: give --image, or --options with service.tf_image")
    if args.replicas < 1:
        problems.append(f"--replicas={args.replicas}: must be 1 or more")
    if args.max_replicas is not None and args.max_replicas < args.replicas:
        problems.append(
            f"--max_replicas={args.max_replicas}: must be --replicas={args.replicas} "
            "or more"
        )
    if not re.fullmatch(r"[0-9]+m|[0-9]*\.?[0-9]+", args.cpus) or not args.cpus.strip(
        "0.m"
    ):
        problems.append(f"--cpus={args.cpus!r}: give a number above 0, as 2 or 500m")
    if args.mem < 1:
        problems.append(f"--mem={args.mem}: must be more than 0")
    if wrong := [text for text in args.env if not VARIABLE.match(text)]:
        problems.append(f"--env={wrong[0]!r}: give NAME=VALUE")
    if (args.settings or args.args) and not args.options:
        problems.append("--set and --arg change an options file; give --options")
    return problems


def _name_of(results: str) -> str:
    """Returns a name for a model, from the last meaningful part of its path.

    `models/flowers/saved_model/1` is `flowers`.
    """
    passed = ("saved_model", "saved_models")
    parts = [p for p in results.split("/") if p and not p.isdigit() and p not in passed]
    name = object_name(parts[-1].removesuffix(".tflite")) if parts else ""
    return name if name[:1].isalpha() else f"model-{name}".rstrip("-")
