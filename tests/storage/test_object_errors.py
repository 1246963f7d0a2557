"""What the clients of object stores say becomes the built-in a caller expects."""

import pyarrow
import pytest

from poets.errors import NotAuthenticatedError
from poets.storage.objects.errors import translate_errors, translated

AWS = "When getting information for key 'k' in bucket 'b': AWS Error {} operation: {}"
GOOGLE = "google::cloud::Status({}: {} error_info={{reason=x}})"


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (
            AWS.format("ACCESS_DENIED during HeadObject", "No response body."),
            PermissionError,
            "permission denied by the store: the keys are wrong, or ",
        ),
        (
            AWS.format("UNKNOWN (HTTP status 403) during PutObject", "No."),
            PermissionError,
            "permission denied by the store: the keys are wrong, or ",
        ),
        (
            AWS.format("EXPIRED_TOKEN during GetObject", "The token has expired"),
            NotAuthenticatedError,
            "the session token has expired; see AWS_ACCESS_KEY_ID, ",
        ),
        (
            AWS.format("REQUEST_TIME_TOO_SKEWED during GetObject", "Too large."),
            NotAuthenticatedError,
            "the clocks of this machine and of the store differ; see AWS_",
        ),
        (
            AWS.format("NO_SUCH_BUCKET during PutObject", "None (Request ID: 7)"),
            FileNotFoundError,
            "the bucket 'b' does not exist; make it, or name another",
        ),
        (
            AWS.format("NO_SUCH_KEY during CopyObject", "The key does not exist"),
            FileNotFoundError,
            "No such file or directory",
        ),
        (
            AWS.format("SLOW_DOWN during PutObject", "Please reduce (Request ID: 7)"),
            ConnectionError,
            "the store is not ready: it answered SLOW_DOWN: Please reduce",
        ),
        (
            AWS.format("UNKNOWN (HTTP status 502) during PutObject", "Bad Gateway"),
            ConnectionError,
            "the store is not ready: it answered UNKNOWN 502: Bad Gateway",
        ),
        (
            AWS.format("UNKNOWN (HTTP status 301) during HeadObject", "No body"),
            OSError,
            "the store answered UNKNOWN 301: the bucket is in another region; set ",
        ),
        (
            AWS.format(
                "UNKNOWN (HTTP status 400) during GetObject",
                "Unable to parse ExceptionName: ExpiredToken Message: It has expired.",
            ),
            NotAuthenticatedError,
            "the session token has expired; see AWS_ACCESS_KEY_ID, ",
        ),
        (
            AWS.format(
                "UNKNOWN (HTTP status 403) during GetObject",
                "Unable to parse ExceptionName: KMS.DisabledException Message: Off.",
            ),
            OSError,
            "the store answered KMS.DISABLED_EXCEPTION 403: Off",
        ),
        (
            AWS.format("UNKNOWN (HTTP status 400) during HeadObject", "No response b"),
            OSError,
            "the store answered UNKNOWN 400: No response b",
        ),
        (
            AWS.format("[code 136] during GetObject", "Not valid for its class."),
            OSError,
            "the object is archived (Not valid for its class); restore it, or ",
        ),
        (
            GOOGLE.format("FAILED_PRECONDITION", "Nobody knows this."),
            OSError,
            "the store answered FAILED_PRECONDITION: Nobody knows this",
        ),
        (
            AWS.format("NETWORK_CONNECTION during HeadObject", "curlCode: 28, Timeout"),
            TimeoutError,
            "the store does not answer; check whether it is up",
        ),
        (
            AWS.format(
                "NETWORK_CONNECTION during HeadObject", "curlCode: 6, Could not"
            ),
            ConnectionError,
            "the store's host name is unknown",
        ),
        (
            GOOGLE.format("PERMISSION_DENIED", "does not have access."),
            PermissionError,
            "permission denied by the store: the keys are wrong, or ",
        ),
        (
            GOOGLE.format("UNAUTHENTICATED", "Invalid Credentials"),
            NotAuthenticatedError,
            "the store does not accept the credentials; see ",
        ),
        (
            GOOGLE.format("UNAVAILABLE", "Retry policy exhausted"),
            ConnectionError,
            "the store is not ready: it answered UNAVAILABLE: Retry policy exhausted",
        ),
        (
            GOOGLE.format("NOT_FOUND", "No such object"),
            FileNotFoundError,
            "No such file or directory",
        ),
        ("something else\nmore of it", OSError, "something else"),
    ],
)
def test_a_clients_text_becomes_a_built_in(said, kind, text):
    scheme = "gs" if "google" in said else "s3"
    error = translated(OSError(said), scheme, "b/k")
    assert type(error) is kind
    assert error.strerror.startswith(text)
    assert error.filename == f"{scheme}://b/k"
    assert "Request ID" not in str(error)


def test_what_is_no_error_of_the_system_is_made_one():
    with (
        pytest.raises(OSError, match="Empty path component; name another path"),
        translate_errors("s3", "b//k"),
    ):
        raise pyarrow.ArrowInvalid("Empty path component")


def test_errors_of_our_own_pass():
    own = FileExistsError(17, "File exists", "s3://b/k")
    with pytest.raises(FileExistsError) as caught, translate_errors("s3", "b/other"):
        raise own
    assert caught.value is own
