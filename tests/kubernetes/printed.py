"""What `poets kubernetes manifests` prints, taken apart."""

from pathlib import Path

from poets.dcos.options import read_options
from poets.kubernetes.manifests import Target, manifests
from tests.kubernetes.schemas import pod_specs

DEMO = str(Path(__file__).resolve().parents[2] / "demo" / "poets.json")


def options_of(settings=(), args=()):
    """Returns the options of demo/poets.json, with other settings and flags."""
    return read_options(DEMO, settings, args)


def items_of(options, kind="tfjob", **target):
    """Returns the objects of a job."""
    return manifests(options, Target(kind, **target))["items"]


def worker_of(item):
    """Returns the first container of a job's pods."""
    (spec,) = pod_specs(item)
    return spec["containers"][0]


def flags_of(item):
    """Returns flag -> text in the arguments of a job's worker."""
    pairs = (argument[2:].split("=", 1) for argument in worker_of(item)["args"])
    return dict(pairs)
