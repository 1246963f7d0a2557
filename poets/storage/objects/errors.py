"""Translates errors of object stores into the built-ins that a caller expects.

    OSError("When reading information for key 'k' in bucket 'b': AWS Error ACCESS_DENIED
             during HeadObject operation: No response body.")   ->  PermissionError
    OSError("google::cloud::Status(UNAVAILABLE: ...)")          ->  ConnectionError

pyarrow raises OSError for everything but a missing object, so its text must be parsed.
Only this module does that.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow

from poets.errors import NotAuthenticatedError
from poets.storage import system_error

_AWS = re.compile(
    r"AWS Error (?P<code>\w+|\[code \d+\])(?: \(HTTP status (?P<status>\d+)\))?"
    r" during \w+ operation: (?P<text>.*)",
    re.DOTALL,
)
_UNNAMED = re.compile(r"Unable to parse ExceptionName: (?P<code>\S+) Message: ?")
_GOOGLE = re.compile(r"google::cloud::Status\((?P<code>\w+): (?P<text>.*)", re.DOTALL)
_CURL = re.compile(r"curlCode: (\d+)")
_NO_REASON = re.compile(r" operation: (?:No response body\.)?\s*$")


class _Answer(NamedTuple):
    """The built-in for a store's answer: what it means and what to do.

    Attributes:
      kind, number: the error; only FileNotFoundError and PermissionError concern a
        single file, see `poets.storage.reading`.
      text: may contain {answer}, the store's code; {said}, its text; {keys}, the
        variables with the credentials.
    """

    kind: type[OSError]
    number: int
    text: str


def _keys(found: str) -> _Answer:
    return _Answer(NotAuthenticatedError, errno.EACCES, f"{found}; see {{keys}}")


_NO_KEY = _keys("the store does not know this access key")
_OTHER_SECRET = _keys("the secret key does not belong to the access key")
_EXPIRED = _keys("the session token has expired")
_WRONG_TOKEN = _keys("the session token is wrong")
_CLOCKS = _keys("the clocks of this machine and of the store differ")
_CLOSED = _keys("the account that the keys belong to is closed or suspended")
_FORBIDDEN = _Answer(
    PermissionError,
    errno.EACCES,
    "permission denied by the store: the keys are wrong, or what they belong to may "
    "not do this; see {keys} and the bucket's policy",
)
_GONE = _Answer(FileNotFoundError, errno.ENOENT, os.strerror(errno.ENOENT))
_BUSY = _Answer(
    ConnectionError,
    errno.EAGAIN,
    "the store is not ready: it answered {answer}: {said}",
)
_ELSEWHERE = _Answer(
    OSError,
    errno.EIO,
    "the store answered {answer}: the bucket is in another region; set AWS_REGION to "
    "it",
)
_ARCHIVED = _Answer(
    OSError,
    errno.EIO,
    "the object is archived ({said}); restore it, or take it out of the folder",
)
_OTHER = _Answer(OSError, errno.EIO, "the store answered {answer}: {said}")

_ANSWERS = {  # code of S3 or Google -> what it means; others are _OTHER
    "INVALID_ACCESS_KEY_ID": _NO_KEY,
    "INVALID_CLIENT_TOKEN_ID": _NO_KEY,
    "UNRECOGNIZED_CLIENT": _NO_KEY,
    "SIGNATURE_DOES_NOT_MATCH": _OTHER_SECRET,
    "INVALID_SIGNATURE": _OTHER_SECRET,
    "MISSING_AUTHENTICATION_TOKEN": _keys("no keys were given"),
    "EXPIRED_TOKEN": _EXPIRED,
    "EXPIRED_TOKEN_EXCEPTION": _EXPIRED,
    "TOKEN_REFRESH_REQUIRED": _EXPIRED,
    "INVALID_TOKEN": _WRONG_TOKEN,
    "REQUEST_EXPIRED": _CLOCKS,
    "REQUEST_TIME_TOO_SKEWED": _CLOCKS,
    "ACCOUNT_PROBLEM": _CLOSED,
    "ALL_ACCESS_DISABLED": _CLOSED,
    "UNAUTHENTICATED": _keys("the store does not accept the credentials"),
    "ACCESS_DENIED": _FORBIDDEN,
    "PERMISSION_DENIED": _FORBIDDEN,
    "FORBIDDEN": _FORBIDDEN,
    "NO_SUCH_KEY": _GONE,
    "RESOURCE_NOT_FOUND": _GONE,
    "NOT_FOUND": _GONE,
    "INTERNAL_FAILURE": _BUSY,
    "SERVICE_UNAVAILABLE": _BUSY,
    "SLOW_DOWN": _BUSY,
    "THROTTLING": _BUSY,
    "TOO_MANY_REQUESTS": _BUSY,
    "REQUEST_TIMEOUT": _BUSY,
    "UNAVAILABLE": _BUSY,
    "RESOURCE_EXHAUSTED": _BUSY,
    "INTERNAL": _BUSY,
    "ABORTED": _BUSY,
    "PERMANENT_REDIRECT": _ELSEWHERE,
    "INVALID_OBJECT_STATE": _ARCHIVED,
    "[code 133]": _ARCHIVED,  # the same, in the SDK of pyarrow 25, for Python 3.10
    "[code 136]": _ARCHIVED,  # and of pyarrow 26
    "DEADLINE_EXCEEDED": _Answer(
        TimeoutError, errno.ETIMEDOUT, "the store did not answer: {said}"
    ),
}
_STATUSES = {"301": _ELSEWHERE, "401": _FORBIDDEN, "403": _FORBIDDEN, "429": _BUSY}
"""What answers without a code mean, such as those to HEAD requests."""

_TLS = ("35", "51", "53", "54", "58", "59", "60", "66", "77", "80", "82", "83", "91")
KEYS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


@contextlib.contextmanager
def translate_errors(scheme: str, path: str) -> Iterator[None]:
    """Translates errors of its body into built-ins, with the URL and what to do.

    Raises:
      FileNotFoundError, PermissionError, NotAuthenticatedError, TimeoutError,
      ConnectionError, OSError.
    """
    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # already translated
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
        return system_error(errno.ENOENT, url)
    if isinstance(error, pyarrow.ArrowInvalid):
        return OSError(errno.EINVAL, f"{_short(text)}; name another path", url)
    match = _AWS.search(text) or _GOOGLE.search(text)
    if not match:
        return OSError(errno.EIO, _short(text), url)
    code, status = match["code"], match.groupdict().get("status") or ""
    if code == "NO_SUCH_BUCKET":
        return no_bucket(scheme, path)
    if code == "NETWORK_CONNECTION":
        return _network(match["text"], url)
    said = match["text"]
    if unnamed := _UNNAMED.match(said):  # the SDK does not know it
        code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", unnamed["code"]).upper()
        said = said[unnamed.end() :]
    found = _ANSWERS.get(code)
    if not found and not unnamed:
        found = _STATUSES.get(status)
    if not found:
        found = _BUSY if status.startswith("5") else _OTHER
    text = found.text.format(
        answer=f"{code} {status}".rstrip(), said=_short(said), keys=KEYS[scheme]
    )
    return found.kind(found.number, text.rstrip(": "), url)


def has_no_reason(error: OSError) -> bool:
    """Returns whether a store refused a request without a reason."""
    refused = isinstance(error, PermissionError) or error.errno == errno.EIO
    return refused and bool(_NO_REASON.search(str(error.__cause__)))


def _network(text: str, url: str) -> OSError:
    """Returns the error for a connection that failed, by curl's code."""
    match = _CURL.search(text)
    code = match[1] if match else ""
    if code == "28":
        found = "the store does not answer; check whether it is up"
        return TimeoutError(errno.ETIMEDOUT, found, url)
    if code == "7":
        found = "nothing listens at the store's address; see the endpoint's variables"
        return ConnectionRefusedError(errno.ECONNREFUSED, found, url)
    if code in _TLS:
        found = (
            f"no encrypted connection: {_short(text)}; give the store's certificates "
            "by AWS_CA_BUNDLE, or S3_USE_HTTPS=0 if it has none"
        )
        return OSError(errno.EPROTO, found, url)
    found = f"the connection to the store failed: {_short(text)}"
    if code == "6":
        found = "the store's host name is unknown"
    return ConnectionError(errno.ECONNABORTED, found, url)


def _short(text: str) -> str:
    """Returns the first line of a server's text, without its request ids."""
    line = text.strip().partition("\n")[0]
    line = re.sub(r"\s*\((?:Request ID|RequestId)[^)]*\)", "", line)
    return line[:300].rstrip(" .")
