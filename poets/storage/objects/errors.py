"""What the clients of object stores say, as the built-ins that a caller expects.

    OSError("When reading information for key 'k' in bucket 'b': AWS Error ACCESS_DENIED
             during HeadObject operation: No response body.")   ->  PermissionError
    OSError("google::cloud::Status(UNAVAILABLE: ...)")          ->  ConnectionError

pyarrow puts everything but a missing object into OSError, so its text is read, here and
nowhere else.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

import pyarrow

from poets.errors import NotAuthenticatedError

_AWS = re.compile(
    r"AWS Error (?P<code>\w+)(?: \(HTTP status (?P<status>\d+)\))? during \w+ "
    r"operation: (?P<text>.*)",
    re.DOTALL,
)
_GOOGLE = re.compile(r"google::cloud::Status\((?P<code>\w+): (?P<text>.*)", re.DOTALL)
_CURL = re.compile(r"curlCode: (\d+)")

_WRONG_KEYS = {
    "INVALID_ACCESS_KEY_ID": "the store knows no such access key",
    "INVALID_CLIENT_TOKEN_ID": "the store knows no such access key",
    "UNRECOGNIZED_CLIENT": "the store knows no such access key",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is not that of the access key",
    "INVALID_SIGNATURE": "the secret key is not that of the access key",
    "MISSING_AUTHENTICATION_TOKEN": "no keys were given",
    "EXPIRED_TOKEN": "the session token has expired",
    "INVALID_TOKEN": "the session token is wrong",
    "REQUEST_EXPIRED": "the clocks of this machine and of the store differ",
    "REQUEST_TIME_TOO_SKEWED": "the clocks of this machine and of the store differ",
    "UNAUTHENTICATED": "the store does not accept the credentials",
}
_MISSING = ("NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "NOT_FOUND")
_BUSY = (
    *("INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "THROTTLING"),
    *("REQUEST_TIMEOUT", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED"),
)
_TLS = ("35", "51", "53", "54", "58", "59", "60", "66", "77", "80", "82", "83", "91")
KEYS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


@contextlib.contextmanager
def told(scheme: str, path: str) -> Iterator[None]:
    """Raises what the body raises as built-ins, with the URL and what to do.

    Raises:
      FileNotFoundError, PermissionError, NotAuthenticatedError, TimeoutError,
      ConnectionError, OSError.
    """
    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # made here, or by a caller of the same kind
        raise translated(error, scheme, path) from error


def no_bucket(scheme: str, path: str) -> FileNotFoundError:
    """Returns the error for a path whose bucket does not exist."""
    bucket = path.partition("/")[0]
    return FileNotFoundError(
        errno.ENOENT,
        f"the bucket {bucket!r} does not exist; make it, or name another",
        f"{scheme}://{path}",
    )


def translated(error: Exception, scheme: str, path: str) -> OSError:
    """Returns the built-in for an error of pyarrow's client."""
    url = f"{scheme}://{path}"
    text = str(error)
    missing = text.startswith(("No such file", "No such dir"))  # Google's client
    if missing or isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    if isinstance(error, pyarrow.ArrowInvalid):
        return OSError(errno.EINVAL, f"{_short(text)}; name another path", url)
    match = _AWS.search(text) or _GOOGLE.search(text)
    if not match:
        return OSError(errno.EIO, _short(text), url)
    code, said = match["code"], _short(match["text"])
    status = match.groupdict().get("status") or ""
    if code in _WRONG_KEYS:
        cure = f"{_WRONG_KEYS[code]}; see {KEYS[scheme]}"
        return NotAuthenticatedError(errno.EACCES, cure, url)
    if code in ("ACCESS_DENIED", "PERMISSION_DENIED", "FORBIDDEN") or status == "403":
        return PermissionError(
            errno.EACCES,
            "permission denied by the store: the keys are wrong, or what they belong "
            f"to may not do this; see {KEYS[scheme]} and the bucket's policy",
            url,
        )
    if code == "NO_SUCH_BUCKET":
        return no_bucket(scheme, path)
    if code in _MISSING:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    if code == "NETWORK_CONNECTION":
        return _network(match["text"], url)
    if code == "DEADLINE_EXCEEDED":
        return TimeoutError(errno.ETIMEDOUT, f"the store did not answer: {said}", url)
    answer = f"{code} {status}".rstrip()
    if code in _BUSY or status.startswith("5"):
        not_ready = f"the store is not ready: it answered {answer}: {said}"
        return ConnectionError(errno.EAGAIN, not_ready, url)
    if status == "301" or "PermanentRedirect" in said:
        said = "the bucket is in another region; set AWS_REGION to it"
    return OSError(errno.EIO, f"the store answered {answer}: {said}", url)


def _network(text: str, url: str) -> OSError:
    """Returns the error for a connection that failed, by curl's code."""
    match = _CURL.search(text)
    code = match[1] if match else ""
    if code == "28":
        return TimeoutError(
            errno.ETIMEDOUT, "the store does not answer; see whether it is up", url
        )
    if code in _TLS:
        return OSError(
            errno.EPROTO,
            f"no encrypted connection: {_short(text)}; give the store's certificates "
            "by AWS_CA_BUNDLE, or S3_USE_HTTPS=0 if it has none",
            url,
        )
    if code == "6":
        found = "the store's host name is unknown"
    elif code == "7":
        refused = "nobody listens at the store's address; see the endpoint's variables"
        return ConnectionRefusedError(errno.ECONNREFUSED, refused, url)
    else:
        found = f"the connection to the store failed: {_short(text)}"
    return ConnectionError(errno.ECONNABORTED, found, url)


def _short(text: str) -> str:
    """Returns the first line of what a server said, without its request ids."""
    line = text.strip().partition("\n")[0]
    line = re.sub(r"\s*\((?:Request ID|RequestId)[^)]*\)", "", line)
    return line[:300].rstrip(" .")
