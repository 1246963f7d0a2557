"""Why a request is refused: a code of gRPC, and a message for its sender."""

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""Codes of gRPC -> status of HTTP, as TensorFlow Serving maps them."""


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
      code: a key of `HTTP_STATUS`.
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code


class PictureError(RequestError):
    """A picture that cannot be classified; the message is the reason."""


class OverloadedError(RequestError):
    """Too many pictures wait."""

    code = "RESOURCE_EXHAUSTED"


def not_found(what: str) -> RequestError:
    """Returns TensorFlow Serving's error for a version that does not serve."""
    return RequestError(f"Servable not found for request: {what}", "NOT_FOUND")
