"""An S3 server in a namespace of the cluster, for tests that ask.

    bucket         the endpoint; the bucket `photos` is a folder of the namespace's disk

Its objects are files, so tests put pictures there and see the results.
"""

import shutil

import pytest

from poets.kubernetes.pods import AWS_SECRET, USER
from tests.kubernetes.nodes import CLAIM
from tools.kubernetes.images import tag_of

ENDPOINT = "s3:9000"
KEY, SECRET = "flowers", "not-a-secret"
SETTINGS = {
    "S3_ENDPOINT": ENDPOINT,
    "S3_USE_HTTPS": "0",
    "S3_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def bucket(namespace, flowers):
    """The folder of the bucket `photos`, with pictures below `images`."""
    folder = namespace.folder / "s3" / "photos"
    shutil.copytree(flowers, folder / "images")
    namespace.own_files()
    namespace.apply({"apiVersion": "v1", "kind": "List", "items": _objects()})
    namespace.wait_for("deployment", "s3", "Available")
    return folder


def _objects():
    labels = {"app": "s3"}
    container = {
        "name": "s3",
        "image": tag_of("versitygw"),
        "command": ["versitygw", "--port=:9000", "posix", "--nometa", "/data"],
        "env": [
            {"name": "ROOT_ACCESS_KEY", "value": KEY},
            {"name": "ROOT_SECRET_KEY", "value": SECRET},
        ],
        "readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "s3"}],
    }
    pod = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    keys = {"awsAccessKeyID": KEY, "awsSecretAccessKey": SECRET}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": AWS_SECRET},
            "stringData": keys,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s3"},
            "spec": {"selector": labels, "ports": [{"port": 9000}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "s3"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
    ]
