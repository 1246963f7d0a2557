"""Puts a picture into an S3 store such as MinIO, with a URL that anyone may read."""

import argparse
import io
import mimetypes
import os
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import urllib3

try:
    from minio import Minio, S3Error
    from minio.error import MinioException
except ModuleNotFoundError:
    sys.exit("this program needs the package minio; install it: pip install minio")

VALID_FOR = timedelta(days=2)
FAILURES = (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError)


def build_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the flags of both programs."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--endpoint",
        default=os.environ.get("S3_ENDPOINT", "localhost:9000"),
        help="host:port, as the action calls the store: the URL is signed for this "
        "name; with https:// for TLS (default: S3_ENDPOINT, localhost:9000)",
    )
    keys = {
        "access_key": "AWS_ACCESS_KEY_ID",
        "secret_key": "AWS_SECRET_ACCESS_KEY",
    }
    for flag, variable in keys.items():
        help_ = f"default: the variable {variable}, which `ps` does not show"
        add(f"--{flag}", default=os.environ.get(variable), help=help_)
    add("--bucket_name", default="mnist", help="made if absent (default: mnist)")
    add("--file", type=Path, required=True, help="the picture")
    add("--object_name", help="default: a new name with the extension of the file")
    return parser


class Upload:
    """A picture and its place in the store."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Reads the picture; contacts no store."""
        self._data = args.file.read_bytes()
        self._kind = mimetypes.guess_type(args.file)[0] or "application/octet-stream"
        name = args.object_name or f"{uuid.uuid1()}{args.file.suffix}"
        self._place = {"bucket_name": args.bucket_name, "object_name": name}
        scheme, _, host = args.endpoint.rpartition("://")
        self._client = Minio(
            endpoint=host,
            access_key=args.access_key,
            secret_key=args.secret_key,
            secure=scheme == "https",
            # The client's own one tries for minutes.
            http_client=urllib3.PoolManager(timeout=30, retries=urllib3.Retry(2)),
        )

    def put(self) -> dict[str, str]:
        """Uploads the picture; returns its bucket, name and URL."""
        try:
            self._put()
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            self._client.make_bucket(bucket_name=self._place["bucket_name"])
            self._put()
        url = self._client.presigned_get_object(**self._place, expires=VALID_FOR)
        return {**self._place, "url": url}

    def delete(self) -> None:
        """Deletes the object, if there is one."""
        self._client.remove_object(**self._place)

    def _put(self) -> None:
        self._client.put_object(
            **self._place,
            data=io.BytesIO(self._data),
            length=len(self._data),
            content_type=self._kind,
        )
