"""Object stores through pyarrow's clients: `s3://bucket/key` and `gs://bucket/key`.

    open_storage("s3://photos/flowers") ──> PyFileSystem ──> ObjectHandler
                                                                  │ calls.call
       variables of the environment ──> S3FileSystem, GcsFileSystem <── ObjectBackend

    S3      see `poets.storage.objects.s3_settings`
    Google  GOOGLE_APPLICATION_CREDENTIALS, else what Google's client finds; anonymous
            with CLOUDSDK_AUTH_DISABLE_CREDENTIALS=1 or an emulator at
            STORAGE_EMULATOR_HOST

Object keys are taken verbatim: "#", "?", "%" and blanks are ordinary characters.
"""

import json
import os
from datetime import timedelta
from functools import lru_cache
from urllib.parse import quote

import pyarrow
import pyarrow.fs

from poets.errors import ConfigError, StorageError
from poets.storage import invalid_character
from poets.storage.calls import call, deadline
from poets.storage.objects.backend import file_system
from poets.storage.objects.errors import translate_errors
from poets.storage.objects.s3_settings import S3Settings, s3_settings

GOOGLE = "storage.googleapis.com"
CONNECT_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 60
IN_FLIGHT = 32
"""Connections to a store; the client opens one per I/O thread of Arrow."""


def connect(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Returns the file system of a store, and the path "bucket/key" in it.

    Raises:
      ConfigError: if the variables for the store are wrong or missing.
      StorageError: if the URL names no bucket, or its key is invalid.
    """
    scheme, _, path = url.partition("://")
    scheme = scheme.lower()
    path = _checked(path, scheme)
    if scheme == "gs":
        return _google(os.getpid(), *_google_settings()), path
    settings = s3_settings()
    if settings.proxy and not settings.region:
        raise ConfigError(
            f"cannot open {url!r}: the bucket's region is not known, and AWS is not "
            "asked for it through a proxy; set AWS_REGION"
        )
    region = settings.region or _region_of(path.partition("/")[0])
    return _s3(os.getpid(), settings, region), path


@lru_cache(maxsize=8)
def _s3(pid: int, settings: S3Settings, region: str) -> pyarrow.fs.PyFileSystem:
    """Returns the client for these settings, one in each process."""
    if pyarrow.io_thread_count() < IN_FLIGHT:
        pyarrow.set_io_thread_count(IN_FLIGHT)
    if settings.address:  # few stores besides AWS support the SDK's checksums
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    scheme = "https" if settings.uses_https else "http"
    if settings.verifies or not settings.uses_https:
        store = pyarrow.fs.S3FileSystem(
            access_key=settings.access_key or None,
            secret_key=settings.secret_key or None,
            session_token=settings.session_token or None,
            region=region,
            scheme=scheme,
            endpoint_override=settings.address or None,
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=REQUEST_TIMEOUT_S,
            allow_delayed_open=True,  # a small object is one request
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1),
            tls_ca_file_path=settings.ca_file or None,
            proxy_options=settings.proxy or None,
        )
    else:  # only a URL can turn this off; keys are from the environment
        options = f"region={quote(region)}&scheme=https&tls_verify_certificates=false"
        if settings.address:
            options += f"&endpoint_override={quote(settings.address)}"
        store, _ = pyarrow.fs.FileSystem.from_uri(
            f"s3://bucket?{options}&allow_delayed_open=true"
        )
    return file_system(store, "s3")


@lru_cache(maxsize=64)
def _region_of(bucket: str) -> str:
    """Returns the region of a bucket on AWS, which anyone may ask for."""
    url = f"s3://{bucket}"
    ask = translate_errors("s3", bucket)(pyarrow.fs.resolve_s3_region)
    try:
        with deadline(CONNECT_TIMEOUT_S):
            return call(ask, bucket, what="asking for the bucket's region", url=url)
    except OSError as error:
        raise StorageError(
            f"cannot open {url!r}: AWS does not report the bucket's region: "
            f"{error.strerror}; set AWS_REGION, or S3_ENDPOINT for another store"
        ) from error


@lru_cache(maxsize=8)
def _google(
    pid: int, address: str, scheme: str, anonymous: bool
) -> pyarrow.fs.PyFileSystem:
    """Returns the client for these settings, one in each process."""
    store = pyarrow.fs.GcsFileSystem(
        anonymous=anonymous,
        scheme=scheme,
        endpoint_override=address or None,
        retry_time_limit=timedelta(seconds=CONNECT_TIMEOUT_S),  # then `calls` retries
    )
    return file_system(store, "gs")


def google_url() -> str:
    """Returns the address of Google's store, as "https://host"."""
    address, scheme, _ = _google_settings()
    return f"{scheme}://{address or GOOGLE}"


def _google_settings() -> tuple[str, str, bool]:
    """Returns the address, the scheme, and whether access is anonymous."""
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        scheme, separator, address = emulator.rstrip("/").rpartition("://")
        if scheme not in ("", "http", "https") or not address or "/" in address:
            raise ConfigError(
                f"cannot use Google Cloud Storage: STORAGE_EMULATOR_HOST={emulator!r} "
                "is not an address; write http://host:port"
            )
        return address, scheme or "http", True
    if os.environ.get("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "").lower() in ("1", "true"):
        return "", "https", True
    name = "GOOGLE_APPLICATION_CREDENTIALS"
    if path := os.environ.get(name):
        try:
            with open(path, encoding="utf-8") as file:
                has_type = isinstance(json.load(file).get("type"), str)
            found = "" if has_type else " has no 'type'"
        except (OSError, ValueError, AttributeError) as error:
            found = f": {getattr(error, 'strerror', '') or 'it is not a JSON object'}"
        if found:
            raise ConfigError(
                f"cannot use Google Cloud Storage: {name}={path!r}{found}; name the "
                "JSON file of a service account"
            )
    return "", "https", False


def _checked(path: str, scheme: str) -> str:
    """Returns "bucket/key" without trailing slashes, if pyarrow takes it."""
    path = path.rstrip("/")
    bucket = path.partition("/")[0]
    if ":" in bucket or "@" in bucket:  # not shown: it may be a key
        raise StorageError(
            f"cannot open a URL of {scheme}://: found ':' or '@' where the bucket's "
            "name ends; keys and addresses do not belong in URLs, set the variables of "
            "the environment"
        )
    found = invalid_character(path)
    if not bucket:
        found = "no bucket"
    elif "//" in path:
        found = "an empty folder name"
    if found:
        raise StorageError(
            f"cannot open {f'{scheme}://{path}'!r}: found {found}; name "
            f"{scheme}://bucket/key"
        )
    return path
